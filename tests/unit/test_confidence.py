"""What breaks if this fails: the page vouches for a cluster that is chance."""

import numpy as np
import pytest

from feel_steps.cli.loop import rate as rate_step
from feel_steps.cluster import agreement, alike, cluster
from feel_steps.explore.confidence import clear, rate, share_of_videos, shrink
from feel_steps.tables import tables


def blobs(sizes, distance, seed=0, dimension=8):
    rng = np.random.default_rng(seed)
    centres = np.eye(len(sizes), dimension) * distance
    labels = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    return (centres[labels] + rng.standard_normal((len(labels), dimension))).astype(np.float32), labels


def refined(labels, distance=0.2, margin=0.6):
    N = len(labels)
    names = np.array([f"v{i}" for i in range(N)], object)
    return {"video_id": names, "cluster": labels, "distance": np.full(N, distance), "margin": np.full(N, margin)}


def test_agreement_is_the_mean_over_pairs():
    """Brute force over pairs, with the labels of the very same runs."""
    import feel_steps.cluster as module

    features, labels = blobs([6, 5, 1], 3)
    runs = []

    class Recorded:
        def __init__(self, fitted):
            self.fitted = fitted

        def predict(self, points):
            runs.append(self.fitted.predict(points))
            return runs[-1]

    fit = module._kmeans
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_kmeans", lambda *arguments: Recorded(fit(*arguments)))
        found = agreement([features, features[:, :3]], labels, 3, seed=1, runs=4)
    assert len(runs) == 8
    for i, k in enumerate(labels):
        others = [j for j in range(12) if labels[j] == k and j != i]
        expected = np.mean([[run[i] == run[j] for j in others] for run in runs]) if others else 0
        assert found[i] == pytest.approx(expected)


def test_clear_clusters_are_stable_and_chance_is_not():
    features, labels = blobs([30, 30, 30], 12)
    assert rate([features], refined(labels), 3)["stability"].min() > 0.9
    noise, _ = blobs([90], 0)
    halves, _, _ = cluster(noise, 3, 0)
    assert rate([noise], refined(halves), 3)["stability"].max() < 0.75
    shuffled = np.random.default_rng(0).permutation(labels)
    assert rate([features], refined(shuffled), 3)["stability"].max() < 0.5


def test_a_small_cluster_is_never_sure():
    """Three videos that always stay together still are three videos."""
    features, labels = blobs([20, 20, 20, 3], 40)
    table = rate([features], refined(labels, distance=0.0, margin=1.0), 4)
    assert table["agreement"][-3:] == pytest.approx(1)
    assert table["stability"][-3:] == pytest.approx((2 + 2 / 4) / 4) and table["confidence"].max() <= 1
    assert table["confidence"][-3:].max() < 0.9 < table["confidence"][0]
    assert shrink(np.ones(5), np.array([1, 2, 5, 10, 10**6]), 2)[[0, -1]] == pytest.approx([0.5, 1])


@pytest.mark.parametrize("clusters", [2, 5])
def test_pairs_and_videos_are_not_confused(clusters):
    """Videos that stray in a fifth of the runs part from each other in more than a third."""
    p = np.array([1 / clusters, 0.6, 0.8, 1])
    assert share_of_videos(p**2 + (1 - p) ** 2 / (clusters - 1), clusters) == pytest.approx(p)
    assert share_of_videos(np.array([0.0, 1.0]), 1) == pytest.approx([1, 1])


def test_clarity_is_relative_to_the_runner_up():
    distance, margin = np.array([0, 0, 1, 3, 1, 0.2]), np.array([2, 0, 1, 0, -0.5, np.nan])
    assert clear(distance, margin) == pytest.approx([1, 0, 0.5, 0, 0, np.nan], nan_ok=True)


def test_one_cluster_leaves_no_doubt_about_which():
    features, labels = blobs([12], 0)
    table = rate([features], refined(labels, margin=np.nan), 1)
    assert np.isnan(table["clarity"]).all() and (table["confidence"] == 1).all()


def test_fewer_videos_than_clusters_are_rated_too(tmp_path):
    """Studies with true labels cluster the annotated videos only, of which there may be few."""
    features, labels = blobs([2, 1, 3], 5)
    table = refined(labels, margin=np.nan)
    table |= {"jaccard": np.full(6, np.nan), "euclidean": np.zeros(6), "second": np.full(6, -1)}
    few = {name: values[1:4] for name, values in table.items()}
    tables.write(tmp_path / "p.parquet", "pooled", {"video_id": table["video_id"], "feature": features})
    tables.write(tmp_path / "r.parquet", "refined", few)
    rate_step(tmp_path / "p.parquet", tmp_path / "r.parquet", 4, tmp_path / "c.parquet", seed=0, runs=3)
    found = tables.read(tmp_path / "c.parquet", "confidence")
    assert found["video_id"].tolist() == ["v1", "v2", "v3"] and found["stability"].max() < 0.5


def test_the_same_seed_gives_the_same_numbers():
    features, labels = blobs([9, 9], 2)
    first, again = (rate([features], refined(labels), 2, seed=3) for _ in range(2))
    assert all((first[name] == again[name]).all() for name in first)


def test_alike_are_clusters_closer_than_their_spread():
    """Brute force: distance of the centres against the mean of both root mean square distances."""
    features, labels = blobs([20, 20, 2, 1], 3)
    centres = [features[labels == k].mean(0) for k in range(4)]
    spread = [np.sqrt(((features[labels == k] - centres[k]) ** 2).sum(1).mean()) for k in range(4)]
    pairs = [(i, j) for i in range(3) for j in range(i + 1, 3)]
    expected = [(i, j) for i, j in pairs if np.linalg.norm(centres[i] - centres[j]) < (spread[i] + spread[j]) / 2]
    assert alike(features, labels, 5) == expected
    half = np.random.default_rng(0).permutation(np.arange(20) % 2)
    assert alike(features[:20], half, 2) == [(0, 1)]
    assert alike(features[:1], np.array([0]), 1) == []
