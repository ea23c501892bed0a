"""k-means as the first guess of the classes."""

import numpy as np
import pytest

from feel_steps.cluster import cluster, keep_clusters
from feel_steps.errors import InputError


@pytest.fixture
def blobs() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    truth = np.repeat(np.arange(4), 10)
    return (10 * np.eye(4, 8)[truth] + generator.normal(size=(40, 8))).astype(np.float32), truth


def test_separate_groups_are_found_and_the_distances_are_euclidean(blobs):
    features, truth = blobs
    labels, distances, centres = cluster(features, 4, 0)
    assert (labels.dtype, distances.dtype, centres.dtype) == (np.int32, np.float64, np.float32)
    assert len(set(zip(labels.tolist(), truth.tolist(), strict=True))) == 4
    assert np.allclose(centres[labels[0]], features[truth == truth[0]].mean(0), atol=1e-5)
    assert np.allclose(distances, np.linalg.norm(features - centres[labels], axis=1))


def test_same_seed_same_bytes(blobs):
    """A rerun with one seed must not change any later artifact."""
    first, second = (cluster(blobs[0], 5, 3) for _ in range(2))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True))


def test_fewer_distinct_videos_than_clusters_keeps_the_empty_ones():
    features = np.repeat(np.eye(2, dtype=np.float32), 3, 0)
    with pytest.warns(UserWarning, match="only 2 of clusters=4"):
        labels, distances, centres = cluster(features, 4, 0)
    assert centres.shape == (4, 2) and not distances.any() and labels[0] != labels[-1]


def test_one_video():
    labels, distances, centres = cluster(np.ones((1, 3), np.float32), 1, 0)
    assert labels.tolist() == [0] and distances.tolist() == [0] and centres.tolist() == [[1, 1, 1]]


def test_kept_clusters_name_the_nearest_other_centre():
    features = np.array([[0, 0], [4, 0], [9, 0]], np.float32)
    columns = keep_clusters(features, np.array([[0, 0], [3, 0], [10, 0]], np.float32), np.array([0, 1, 2], np.int32))
    assert columns["second"].tolist() == [1, 0, 1] and columns["margin"].tolist() == [3, 3, 5]
    alone = keep_clusters(features, np.zeros((1, 2), np.float32), np.zeros(3, np.int32))
    assert alone["second"].tolist() == [-1] * 3 and np.isnan(alone["margin"]).all()


def test_what_is_wrong_is_named(blobs):
    features, _ = blobs
    with pytest.raises(InputError, match="clusters=41 but only 40 training videos"):
        cluster(features, 41, 0)
    with pytest.raises(InputError, match="clusters=0"):
        cluster(features, 0, 0)
    features[7, 2] = np.nan
    with pytest.raises(InputError, match="row 7: NaN"):
        cluster(features, 4, 0)
