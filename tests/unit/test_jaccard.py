"""The refined distance against docs/explanation/method.md, set by set: a wrong neighbour silently relabels videos."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feel_steps.errors import InputError
from feel_steps.jaccard import jaccard_distance, refine, refined_distances
from feel_steps.ranking import TILE
from tests.paths import find_golden


def definition(points: np.ndarray, k1: int, k2: int) -> tuple[np.ndarray, np.ndarray]:
    """d_J [P, P] and D^ [P, P] of P points, in float64, by docs/explanation/method.md; a centre is point 0."""
    x = points.astype(np.float64)
    P = len(x)
    D = ((x[:, None] - x[None]) ** 2).sum(-1)
    top = D.max(1, keepdims=True)
    scaled = D / np.where(top > 0, top, 1)
    ranking = [sorted(range(P), key=lambda j: (j != i, D[i, j], j)) for i in range(P)]

    def reciprocal(i: int, k: int) -> set[int]:
        return {j for j in ranking[i][: k + 1] if i in ranking[j][: k + 1]}

    V = np.zeros((P, P))
    for i in range(P):
        R = reciprocal(i, k1)
        expanded = set(R)
        for j in R:
            H = reciprocal(j, round(k1 / 2))
            if len(H & R) > 2 / 3 * len(H):
                expanded |= H
        for j in expanded:
            V[i, j] = math.exp(-scaled[i, j])
        V[i] /= V[i].sum()
    V = np.array([np.mean([V[j] for j in ranking[i][:k2]], axis=0) for i in range(P)])
    m = np.minimum(V[:, None], V[None]).sum(-1)
    return 1 - m / (2 - m), scaled


def refined(features, centres, k1, k2, lambda_value) -> np.ndarray:
    """d* [K, N] from the definition, one centre at a time."""
    rows = []
    for centre in centres:
        d_J, scaled = definition(np.vstack([centre, features]), k1, k2)
        rows.append((1 - lambda_value) * d_J[0, 1:] + lambda_value * scaled[0, 1:])
    return np.array(rows)


@st.composite
def cases(draw):
    """Small problems: scattered or grouped videos, grids full of ties and duplicates, constant ones; odd settings."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    N, D, K = draw(st.integers(1, 26)), draw(st.integers(1, 5)), draw(st.integers(1, 3))
    kind = draw(st.sampled_from(["scattered", "grouped", "grid", "constant"]))
    if kind == "scattered":
        features, centres = generator.normal(size=(N, D)), generator.normal(size=(K, D))
    elif kind == "grouped":
        centres = 3 * generator.normal(size=(K, D)) + 100
        features = centres[generator.integers(0, K, N)] + generator.normal(size=(N, D))
    elif kind == "grid":
        features, centres = generator.integers(0, 3, (N, D)), generator.integers(0, 3, (K, D)) / 2
    else:
        features, centres = np.ones((N, D)), np.ones((K, D))
    features, centres = features.astype(np.float32), centres.astype(np.float32)
    if draw(st.booleans()):
        centres[0] = features[generator.integers(0, N)]
    options = {
        "k1": draw(st.integers(1, 24)), "k2": draw(st.integers(1, 8)),
        "lambda_value": draw(st.sampled_from([0.0, 0.1, 0.3, 1.0])),
    }  # fmt: skip
    return features, centres, options


@pytest.mark.filterwarnings("ignore:.*refined clusters")
@settings(max_examples=200, deadline=None, derandomize=True)
@given(cases())
def test_agrees_with_the_definition(case):
    features, centres, options = case
    expected = refined(features, centres, **options)
    distances = refined_distances(features, centres, **options)
    assert distances.dtype == np.float32 and np.abs(distances - expected).max() <= 1e-5

    columns = refine(features, centres, **options)
    assert np.array_equal(columns["cluster"], distances.argmin(0))
    assert np.array_equal(columns["distance"], distances.min(0))
    weight = options["lambda_value"]
    parts = (1 - weight) * columns["jaccard"] + weight * columns["euclidean"]
    assert np.abs(parts - columns["distance"]).max() <= 1e-6
    if len(centres) == 1:
        assert np.isnan(columns["margin"]).all()
    else:
        first, second = np.sort(distances.astype(np.float64), 0)[:2]
        assert np.array_equal(columns["margin"], second - first)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(cases())
def test_all_pairs_agree_with_the_definition(case):
    features, _, options = case
    del options["lambda_value"]
    expected, _ = definition(features, **options)
    distances = jaccard_distance(features, **options)
    assert np.abs(distances - expected).max() <= 1e-5
    assert np.array_equal(distances, distances.T)
    similarities = jaccard_distance(features, **options, dense=False)
    assert np.abs(1 - similarities.toarray() - distances).max() <= 1e-6


@pytest.mark.parametrize("name", ["a", "b", "c", "d"])
def test_agrees_with_the_published_code(name):
    golden = np.load(find_golden(f"dev_rerank_{name}.npz"))
    k1, k2, lambda_value = golden["params"]
    for weight, key in ((0.0, "jaccard"), (lambda_value, "final")):
        distances = refined_distances(
            golden["features"], golden["centres"], k1=int(k1), k2=int(k2), lambda_value=weight
        )
        assert np.abs(distances - golden[key]).max() <= 4e-3


@pytest.fixture
def groups() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    centres = generator.normal(size=(5, 16)).astype(np.float32)
    truth = np.arange(200) % 5
    return (centres[truth] + 0.5 * generator.normal(size=(200, 16))).astype(np.float32), centres


def test_the_runner_up_is_the_second_nearest(groups):
    features, centres = groups
    distances, columns = refined_distances(features, centres), refine(features, centres)
    order = distances.argsort(0, kind="stable")
    assert columns["second"].dtype == np.int32
    assert columns["cluster"].tolist() == order[0].tolist() and columns["second"].tolist() == order[1].tolist()
    assert np.allclose(columns["margin"], np.diff(np.sort(distances, 0)[:2], axis=0)[0], atol=1e-7)


def test_equal_centres_tie_for_the_first(groups):
    """k-means repeats a centre when videos repeat; the second must not take videos by a rounding error."""
    features, centres = groups
    with pytest.warns(UserWarning, match="refined clusters"):
        columns = refine(features, centres[[0, 1, 2, 0, 3, 4]])
    assert 3 not in columns["cluster"] and not columns["margin"][columns["cluster"] == 0].any()


def test_empty_clusters_are_kept_and_reported(groups):
    features, centres = groups
    with pytest.warns(UserWarning, match="1 of 6 refined clusters have no videos"):
        columns = refine(features, np.vstack([centres, centres[:1]]))
    assert set(columns["cluster"].tolist()) == set(range(5))


def test_one_video_and_one_centre():
    columns = refine(np.ones((1, 3), np.float32), np.zeros((1, 3), np.float32))
    assert columns["cluster"].tolist() == [0] and columns["euclidean"].tolist() == [1]
    assert columns["second"].tolist() == [-1] and np.isnan(columns["margin"]).all()
    assert columns["jaccard"].tolist() == [0] or columns["jaccard"][0] < 1


def test_threads_and_tiles_change_no_byte(groups, monkeypatch):
    """One seed must give one result on every machine of a cluster."""
    from threadpoolctl import threadpool_limits

    features, centres = groups
    with threadpool_limits(1):
        alone = refine(features, centres)
    monkeypatch.setitem(TILE, "cpu", (7, 33))
    tiled = refine(features, centres)
    assert all(np.array_equal(alone[name], tiled[name]) for name in alone)


def test_gpu_agrees_with_the_cpu(groups):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    features, centres = groups
    assert np.array_equal(refined_distances(features, centres), refined_distances(features, centres, device="cuda"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k1": 0}, "k1=0"),
        ({"k2": 0}, "k2=0"),
        ({"lambda_value": 1.5}, "lambda=1.5"),
        ({"features": np.zeros((0, 2))}, "features: shape"),
        ({"features": np.array([[0, 0], [0, np.nan]])}, "features, row 1: NaN"),
        ({"centres": np.zeros((2, 3))}, "centres of dimension 3 but features of dimension 2"),
    ],
)
def test_what_is_wrong_is_named(change, message):
    arguments = {"features": np.zeros((4, 2)), "centres": np.zeros((2, 2)), **change}
    with pytest.raises(InputError, match=message):
        refine(**arguments)
