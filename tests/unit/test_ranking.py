"""The ranking against all distances in float64: a neighbour that rounding costs is missed without a word."""

import numpy as np
import pytest

from feel_steps.ranking import TILE, rank, rank_approximately
from feel_steps.runtime import progress


def ranked(x: np.ndarray, n: int) -> list[list[int]]:
    x = x.astype(np.float64)
    D = ((x[:, None] - x[None]) ** 2).sum(-1)
    return [sorted(range(len(x)), key=lambda j: (j != i, D[i, j], j))[:n] for i in range(len(x))]


@pytest.mark.parametrize("spread", [1, 1e-3, 1e-6, 0])
def test_ranking_is_exact_where_a_matrix_product_is_not(spread, monkeypatch):
    """Tight groups far apart: float32 products of norms near 1e6 know nothing of distances near 1e-6."""
    monkeypatch.setitem(TILE, "cpu", (16, 50))
    monkeypatch.setattr(progress, "LOG_EVERY", 0)  # a block of which nothing is certain must not upset the log
    generator = np.random.default_rng(2)
    features = 1000 * generator.normal(size=(3, 8))[np.arange(120) % 3]
    features = (features + spread * generator.normal(size=(120, 8))).astype(np.float32)
    features[100:] = features[:20]  # duplicates
    ranking = rank(features, 12)
    assert ranking.neighbours.tolist() == ranked(features, 12)
    D = ((features.astype(np.float64)[:, None] - features) ** 2).sum(-1)
    assert np.allclose(ranking.farthest, D.max(1), rtol=1e-6)
    assert np.allclose(ranking.distances, np.take_along_axis(D, ranking.neighbours, 1), rtol=1e-12)


@pytest.mark.parametrize("spread", [1, 1e-3, 0])
def test_torch_ranks_alike(spread, monkeypatch):
    """The path of a GPU, run on torch's CPU ("cpu" itself is numpy)."""
    monkeypatch.setitem(TILE, "device", (16, 50))
    generator = np.random.default_rng(3)
    features = 1000 * generator.normal(size=(3, 8))[np.arange(120) % 3]
    features = (features + spread * generator.normal(size=(120, 8))).astype(np.float32)
    ours, theirs = rank(features, 12), rank(features, 12, "cpu:0")
    for name in ("neighbours", "distances", "farthest"):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name))


def test_an_approximate_ranking_finds_nearly_all_neighbours_in_their_order():
    """What it lists must stand at its true distance; two calls must give the same bytes."""
    pytest.importorskip("faiss")
    generator = np.random.default_rng(4)
    features = (generator.normal(size=(5, 16))[np.arange(600) % 5] + generator.normal(size=(600, 16))).astype("f4")
    exact, found, again = rank(features, 21), rank_approximately(features, 21), rank_approximately(features, 21)
    assert found.neighbours.tobytes() == again.neighbours.tobytes()
    assert (found.neighbours[:, 0] == np.arange(600)).all()
    shared = [len(np.intersect1d(a, b)) for a, b in zip(exact.neighbours, found.neighbours, strict=True)]
    assert np.mean(shared) / 21 > 0.99
    whole = [len(row) == count for row, count in zip(exact.neighbours, shared, strict=True)]
    np.testing.assert_array_equal(found.neighbours[whole], exact.neighbours[whole])
    np.testing.assert_array_equal(found.distances[whole], exact.distances[whole])
    np.testing.assert_array_equal(found.farthest, exact.farthest)


def test_an_approximate_ranking_of_equal_points_lists_each_point_first():
    """A graph over duplicates may lead nowhere: such points are ranked exactly."""
    pytest.importorskip("faiss")
    features = np.repeat(np.eye(3, 4, dtype=np.float32), 40, axis=0)
    found = rank_approximately(features, 12)
    assert (found.neighbours[:, 0] == np.arange(120)).all() and (found.distances == 0).all()
    assert all(len(set(row)) == 12 for row in found.neighbours.tolist())
    assert rank_approximately(features[:5], 12).neighbours.shape == (5, 5)


def test_rounded_products_are_refused_on_a_device():
    """TF32 would propose wrong neighbours without a word."""
    torch = pytest.importorskip("torch")
    torch.set_float32_matmul_precision("high")
    try:
        with pytest.raises(ValueError, match="set_float32_matmul_precision"):
            rank(np.eye(4, dtype=np.float32), 2, "cpu:0")
    finally:
        torch.set_float32_matmul_precision("highest")
