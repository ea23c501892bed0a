"""Views of a video: what they keep and drop decides what becomes a cluster."""

import tracemalloc

import numpy as np
import pytest

from feel_steps import pool as views
from feel_steps.pool import describe, project, scale, standardize
from feel_steps.tables.snippets import Snippets
from tests.tiny import make_snippets

LENGTHS = (30, 12, 7, 45, 20, 16)


def square_root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return vectors @ np.diag(np.sqrt(values.clip(0))) @ vectors.T


def by_definition(snippets: Snippets, view: str, weights: np.ndarray) -> np.ndarray:
    """The formulas of the module's docstring, one video at a time."""
    directions, origin = project(snippets, views.COMPONENTS[view])
    z = (snippets.features @ directions.astype(np.float32) - origin).astype(np.float64)
    rows, means, within = [], [], []
    for a, b in zip(snippets.offsets[:-1], snippets.offsets[1:], strict=True):
        p = weights[a:b] / weights[a:b].sum()
        mean = p @ z[a:b]
        x = z[a:b] - mean
        means.append(mean)
        within.append(sum(p[t] * np.outer(x[t], x[t]) for t in range(len(x))))
        if view == "second":
            rows.append(square_root(within[-1])[np.triu_indices(len(mean))])
        elif view == "lag":
            q = np.sqrt(p[:-1] * p[1:])
            covariance = sum(q[t] / q.sum() * np.outer(x[t], x[t + 1]) for t in range(len(x) - 1))
            turning = ((covariance - covariance.T) / 2)[np.triu_indices(len(mean), 1)]
            rows.append(np.sign(turning) * np.sqrt(np.abs(turning)))
    if view != "whitened":
        return scale(standardize(np.array(rows)))
    C, d = np.mean(within, 0), len(mean)
    return scale(
        (np.array(means) - np.mean(means, 0)) @ np.linalg.inv(square_root(C + 0.01 * np.trace(C) / d * np.eye(d)))
    )


@pytest.mark.parametrize("view", views.COMPONENTS)
@pytest.mark.parametrize("weighted", [False, True])
def test_views_are_as_defined_wherever_chunks_end(view, weighted, monkeypatch):
    """A chunk that ends within a video must not lose a snippet of it, nor a pair."""
    snippets = make_snippets(LENGTHS)
    weights = np.random.default_rng(1).random(sum(LENGTHS)) + 0.05 if weighted else None
    monkeypatch.setattr(views, "CHUNK", 17)
    found = describe(snippets, [view], weights)[view]
    assert found.dtype == np.float32
    expected = by_definition(snippets, view, np.ones(sum(LENGTHS)) if weights is None else weights)
    assert np.allclose(found, expected, atol=1e-5)


def test_second_and_lag_do_not_see_who_or_where():
    """What is the same throughout a video, as a person or a place, moves none of the two views."""
    snippets = make_snippets(LENGTHS)
    before = describe(snippets, ["second", "lag"])
    scene = np.random.default_rng(2).normal(size=(len(LENGTHS), 6)).astype(np.float32) * 0.01
    moved = Snippets(snippets.video_ids, snippets.features + np.repeat(scene, LENGTHS, axis=0), snippets.offsets)
    for view, after in describe(moved, ["second", "lag"]).items():
        assert np.allclose(after, before[view], atol=0.05)


def test_lag_tells_forwards_from_backwards_and_second_does_not():
    snippets = make_snippets(LENGTHS)
    ends = zip(snippets.offsets[:-1], snippets.offsets[1:], strict=True)
    order = np.concatenate([np.arange(start, stop)[::-1] for start, stop in ends])
    reverse = Snippets(snippets.video_ids, snippets.features[order], snippets.offsets)
    before, after = (describe(own, ["second", "lag"]) for own in (snippets, reverse))
    assert np.allclose(before["second"], after["second"], atol=1e-4)
    same = np.einsum("nd,nd->n", before["lag"], after["lag"])
    assert (same < -0.5).all()


def test_whitened_finds_classes_that_differ_where_videos_vary_little():
    """Strong variation within videos hides a small difference between classes from the mean, not from this view."""
    rng = np.random.default_rng(0)
    N, T = 30, 20
    features = rng.normal(scale=[10, 10, 0.1], size=(N * T, 3))
    features[:, 2] += np.repeat(np.arange(N) % 2, T)
    snippets = Snippets([f"v{i}" for i in range(N)], features.astype(np.float32), np.arange(0, N * T + 1, T))
    whitened = describe(snippets, ["whitened"])["whitened"]
    likeness = whitened @ whitened.T
    same = (np.arange(N)[:, None] - np.arange(N)) % 2 == 0
    assert likeness[same].min() > likeness[~same].max()


def test_signs_of_the_components_do_not_depend_on_the_features_order():
    """Else a video's vector would change sign with the library version, and so would the lag view's."""
    features = np.random.default_rng(3).normal(size=(50, 5)).astype(np.float32) * [5, 4, 3, 2, 1]
    there, back = (Snippets(["v"], order, np.array([0, 50])) for order in (features, features[::-1]))
    assert np.allclose(project(there, 3)[0], project(back, 3)[0], atol=1e-4)


@pytest.mark.parametrize("view", views.COMPONENTS)
def test_numbers_that_only_repeat_others_change_nothing(view):
    """Joint positions that are sums of others, or a network's dead units: their rounding must not become features."""
    snippets = make_snippets(LENGTHS)
    few = snippets.features[:, :4].copy()
    mixing = np.linalg.qr(np.random.default_rng(2).standard_normal((64, 4)))[0]
    many = np.ascontiguousarray(few @ mixing.T, np.float32) + np.float32(3)
    own, repeated = (
        describe(Snippets(snippets.video_ids, features, snippets.offsets), [view])[view] for features in (few, many)
    )
    assert np.allclose(own @ own.T, repeated @ repeated.T, atol=1e-3)


def test_one_large_column_does_not_hide_the_others():
    """A frame number beside joint angles: five columns of normal size still tell videos apart."""
    snippets = make_snippets(LENGTHS)
    features = snippets.features[:, :6].copy()
    features[:, 0] *= 1e5
    assert describe(Snippets(snippets.video_ids, features, snippets.offsets), ["second"])["second"].shape[1] == 21


def test_features_along_one_line_have_every_view():
    snippets = make_snippets(LENGTHS)
    line = snippets.features[:, :1] * np.arange(1, 5, dtype=np.float32)
    found = describe(Snippets(snippets.video_ids, line, snippets.offsets), list(views.COMPONENTS))
    assert {view: own.shape[1] for view, own in found.items()} == {"second": 1, "lag": 1, "whitened": 1}
    assert not found["lag"].any()  # nothing turns


def test_a_constant_column_becomes_0_and_not_its_rounding():
    column = np.full((1000, 1), 0.1, np.float32)
    assert not standardize(column).any()
    assert not standardize(
        np.nextafter(column, np.float32(1), where=np.arange(1000)[:, None] % 3 == 0, out=column)
    ).any()


def test_one_snippet_and_videos_that_do_not_move_give_zeros_not_nan():
    snippets = make_snippets((1, 9, 1, 8))
    snippets.features[1:10] = snippets.features[1]
    found = describe(snippets, list(views.COMPONENTS))
    assert all(np.isfinite(vectors).all() for vectors in found.values())
    still = make_snippets((4, 5))
    still.features[:] = 1
    assert not any(vectors.any() for vectors in describe(still, list(views.COMPONENTS)).values())


def test_likeness_is_the_correlation_over_pairs():
    generator = np.random.default_rng(4)
    first = scale(generator.normal(size=(40, 5)))
    assert views.likeness(first, first @ np.linalg.qr(generator.normal(size=(5, 5)))[0]) == pytest.approx(1)
    assert abs(views.likeness(first, scale(generator.normal(size=(40, 5))))) < 0.2
    assert views.likeness(first[:1], first[:1]) == views.likeness(first[:0], first[:0]) == 0


def test_the_components_of_streamed_features_take_no_more_memory_than_they_are_fitted_on(monkeypatch):
    """Every block would stay in memory if a few of its rows were kept as a slice: 12 GB for 10,000 videos of I3D."""
    monkeypatch.setattr(views, "FITTED", 100)
    whole = make_snippets((50,) * 80, dimension=64)

    class Streamed:
        features = whole.features

        def blocks(self):
            for video in range(80):
                rows = slice(50 * video, 50 * video + 50)
                yield rows, Snippets([str(video)], self.features[rows].copy(), np.array([0, 50]))

    tracemalloc.start()
    directions, origin = project(Streamed(), 8)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < whole.features.nbytes / 2
    expected, at = project(whole, 8)
    assert np.array_equal(directions, expected) and np.array_equal(origin, at)
