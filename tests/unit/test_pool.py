"""Pooling: one wrong row here and every later stage clusters the wrong videos."""

import numpy as np
import pytest

from feel_steps.errors import InputError
from feel_steps.pool import pool
from feel_steps.tables.snippets import Snippets

LENGTHS = [3, 1, 5]


@pytest.fixture
def snippets() -> Snippets:
    features = np.random.default_rng(0).random((sum(LENGTHS), 4), np.float32)
    return Snippets(["a", "b", "ü c"], features, np.concatenate([[0], np.cumsum(LENGTHS)]))


def attention_of(snippets: Snippets, order: list[str], actionness: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """An attention table of the videos in the given order, with one that is not pooled in front."""
    lengths = {"other": 2, **dict(zip(snippets.video_ids, LENGTHS, strict=True))}
    order = ["other", *order]
    return {
        "video_id": np.array([v for v in order for _ in range(lengths[v])], object),
        "snippet": np.concatenate([np.arange(lengths[v]) for v in order]).astype(np.int32),
        "actionness": np.concatenate([actionness.get(v, np.full(lengths[v], 9)) for v in order]).astype(np.float32),
    }


def test_mean_of_each_video(snippets):
    pooled = pool(snippets, views=["mean"])["mean"]
    assert pooled.dtype == np.float32
    assert np.allclose(pooled, [snippets.video(i).mean(0) for i in range(3)], atol=1e-6)


def test_actionness_weights_and_plain_mean_where_all_are_zero(snippets):
    """Videos without any action must not become NaN and sink the clustering."""
    weights = {"a": np.array([0.0, 1, 3]), "b": np.array([0.2]), "ü c": np.zeros(5)}
    table = attention_of(snippets, ["ü c", "b", "a"], weights)
    pooled = pool(snippets, views=["actionness"], attention=table)["actionness"]
    first = snippets.video(0)
    assert np.allclose(pooled, [(first[1] + 3 * first[2]) / 4, snippets.video(1)[0], snippets.video(2).mean(0)])


def test_rows_of_the_table_may_be_shuffled(snippets):
    table = attention_of(snippets, ["b", "ü c", "a"], {"a": np.arange(3), "ü c": np.arange(5)})
    shuffle = np.random.default_rng(1).permutation(len(table["snippet"]))
    shuffled = {name: values[shuffle] for name, values in table.items()}
    views = ["actionness", "whitened"]
    expected = pool(snippets, views=views, attention=table)
    assert all(
        np.array_equal(own, expected[view]) for view, own in pool(snippets, views=views, attention=shuffled).items()
    )


def test_embedding_picks_the_localizer_embeddings(snippets):
    table = {"video_id": np.array(["ü c", "other", "a", "b"], object), "feature": np.eye(4, 6, dtype=np.float32)}
    pooled = pool(snippets, views=["embedding"], embeddings=table)
    assert np.array_equal(pooled["embedding"], np.eye(4, 6)[[2, 3, 0]])


@pytest.mark.parametrize("view", ["actionness", "embedding"])
def test_first_iteration_is_the_mean_where_every_view_needs_a_localizer(snippets, view):
    assert np.array_equal(pool(snippets, views=[view])["mean"], pool(snippets)["mean"])


def test_first_iteration_leaves_out_the_views_that_need_a_localizer(snippets):
    assert list(pool(snippets, views=["lag", "embedding", "second"])) == ["lag", "second"]


def test_normalized_vectors_have_length_one_and_zero_stays_zero(snippets):
    snippets.features[:3] = 0
    assert np.allclose(np.linalg.norm(pool(snippets, normalize="length")["mean"], axis=1), [0, 1, 1])


def test_standard_columns_before_rows_of_length_one(snippets):
    mean = pool(snippets)["mean"].astype(np.float64)
    standard = (mean - mean.mean(0)) / mean.std(0)
    expected = standard / np.linalg.norm(standard, axis=1, keepdims=True)
    assert np.allclose(pool(snippets, normalize="standard")["mean"], expected, atol=1e-5)


def test_no_video(snippets):
    assert pool(Snippets([], np.zeros((0, 4), np.float32), np.zeros(1, np.int64)))["mean"].shape == (0, 4)


def test_what_is_wrong_is_named(snippets):
    with pytest.raises(InputError, match="view 'max': unknown"):
        pool(snippets, views=["max"])
    with pytest.raises(InputError, match="normalize 'max': unknown"):
        pool(snippets, normalize="max")
    with pytest.raises(InputError, match="attention: video 'b' has 0 snippets, expected 1"):
        pool(snippets, views=["actionness"], attention=attention_of(snippets, ["a", "ü c"], {}))
    repeated = attention_of(snippets, ["a", "b", "ü c"], {})
    repeated["snippet"][-1] = 0
    with pytest.raises(InputError, match="video 'ü c' has 5 snippets, expected 5, each once"):
        pool(snippets, views=["actionness"], attention=repeated)
    twice = {"video_id": np.array(["a", "b", "a", "ü c"], object), "feature": np.eye(4, dtype=np.float32)}
    with pytest.raises(InputError, match="embeddings: video 'a' has 2 rows, expected 1"):
        pool(snippets, views=["embedding"], embeddings=twice)
    empty = Snippets(["a", "b"], snippets.features, np.array([0, 9, 9]))
    with pytest.raises(InputError, match="video 'b': no snippets"):
        pool(empty)
