"""k-means as the first guess of the classes."""

import numpy as np
import pytest

from feel_steps.cluster import _agreement, _link, cluster, consensus, keep_clusters
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
    with pytest.warns(UserWarning, match="only 2 of clusters=4"):
        columns, centres = consensus([features, features], 4, 0, starts=5)
    assert columns["cluster"].tolist() == [0, 0, 0, 1, 1, 1]  # copies of a video are not parted
    assert centres.shape == (4, 4) and np.isfinite(centres).all()


def test_one_video():
    labels, distances, centres = cluster(np.ones((1, 3), np.float32), 1, 0)
    assert labels.tolist() == [0] and distances.tolist() == [0] and centres.tolist() == [[1, 1, 1]]


def test_kept_clusters_name_the_nearest_other_centre():
    features = np.array([[0, 0], [4, 0], [9, 0]], np.float32)
    kmeans = {"cluster": np.array([0, 1, 2], np.int32), "distance": np.zeros(3)}
    columns = keep_clusters(features, np.array([[0, 0], [3, 0], [10, 0]], np.float32), kmeans)
    assert columns["second"].tolist() == [1, 0, 1] and columns["margin"].tolist() == [3, 3, 5]
    alone = keep_clusters(features, np.zeros((1, 2), np.float32), {"cluster": np.zeros(3, np.int32)})
    assert alone["second"].tolist() == [-1] * 3 and np.isnan(alone["margin"]).all()


def test_kept_clusters_of_a_consensus_keep_its_agreement(blobs):
    """Else the selection would go by distances to centres, which a consensus does not use."""
    columns, centres = consensus([blobs[0]], 4, 0, starts=5)
    kept = keep_clusters(blobs[0], centres, columns)
    assert all(np.array_equal(kept[name], columns[name]) for name in ("cluster", "distance", "margin", "second"))
    assert np.allclose(kept["euclidean"], np.linalg.norm(blobs[0] - centres[columns["cluster"]], axis=1), atol=1e-5)


def test_consensus_finds_what_each_view_sees_a_part_of():
    """One view tells two of four groups apart, the other the other two: only both together find all."""
    generator, truth = np.random.default_rng(1), np.repeat(np.arange(4), 15)
    one, two = (10 * np.eye(3, 6)[seen[truth]] for seen in (np.array([0, 1, 2, 2]), np.array([2, 2, 0, 1])))
    views = [(view + generator.normal(size=(60, 6))).astype(np.float32) for view in (one, two)]
    columns, centres = consensus(views, 4, 0)
    assert len(set(zip(columns["cluster"].tolist(), truth.tolist(), strict=True))) == 4
    assert columns["cluster"][0] == 0 and centres.shape == (4, 12)
    assert np.allclose(centres[0], np.concatenate(views, 1)[:15].mean(0), atol=1e-5)
    assert (columns["distance"] < columns["distance"] + columns["margin"]).all()


def test_agreement_is_the_mean_co_association():
    generator = np.random.default_rng(2)
    runs, labels = generator.integers(0, 4, (7, 12)), generator.integers(-1, 3, 12)
    together = (runs[:, :, None] == runs[:, None, :]).mean(0)
    expected = np.zeros((12, 3))
    for i in range(12):
        for k in range(3):
            others = [j for j in range(12) if labels[j] == k and j != i]
            expected[i, k] = np.mean(together[i, others]) if others else 0
    assert np.allclose(_agreement(runs, labels, 3), expected)


@pytest.mark.parametrize("clusters", [1, 3, 20])
def test_average_linkage_gives_exactly_k_clusters(clusters):
    """Also where many distances are equal: SciPy's own cut may then give fewer."""
    from scipy.cluster.hierarchy import average, cut_tree
    from scipy.spatial.distance import pdist

    runs = np.random.default_rng(3).integers(0, 3, (4, 20))
    labels = _link(runs, clusters)
    assert labels.max() + 1 == len(set(labels.tolist())) == clusters
    together = (runs[:, :, None] == runs[:, None, :]).mean(0)
    expected = cut_tree(average(pdist(together)), clusters)[:, 0]
    assert len(set(zip(labels.tolist(), expected.tolist(), strict=True))) == clusters


def test_landmarks_find_the_same_groups(blobs):
    """Beyond the landmarks, memory is bounded; the others must still end where they belong."""
    features, truth = blobs
    columns, _ = consensus([features], 4, 0, landmarks=16)
    assert len(set(zip(columns["cluster"].tolist(), truth.tolist(), strict=True))) == 4
    assert (columns["distance"] < 0.6).all()


def test_consensus_same_seed_same_bytes(blobs):
    first, second = (consensus([blobs[0], blobs[0][:, :3]], 5, 3, starts=9) for _ in range(2))
    assert all(first[0][name].tobytes() == second[0][name].tobytes() for name in first[0])
    assert first[1].tobytes() == second[1].tobytes()


def test_consensus_of_as_many_clusters_as_videos_and_of_one():
    features = np.eye(3, dtype=np.float32)
    columns, _ = consensus([features], 3, 0, starts=3)
    assert columns["cluster"].tolist() == [0, 1, 2] and columns["distance"].tolist() == [1, 1, 1]
    columns, _ = consensus([features], 1, 0, starts=3)
    assert columns["second"].tolist() == [-1] * 3 and np.isnan(columns["margin"]).all()


def test_what_is_wrong_is_named(blobs):
    features, _ = blobs
    with pytest.raises(InputError, match="clusters=41, but only 40 training videos"):
        cluster(features, 41, 0)
    with pytest.raises(InputError, match="clusters=0"):
        cluster(features, 0, 0)
    features[7, 2] = np.nan
    with pytest.raises(InputError, match="row 7: NaN"):
        cluster(features, 4, 0)
    with pytest.raises(InputError, match="row 7: NaN"):
        consensus([features], 4, 0)
    with pytest.raises(InputError, match="clusters=41, but only 40 training videos"):
        consensus([features], 41, 0)
