"""Attention maps belong to the videos' own snippets, whatever was sampled."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from feel_steps.attend import attend, spread, uniform_positions
from feel_steps.errors import InputError
from feel_steps.localizers import weights
from feel_steps.tables import tables
from feel_steps.tables.snippets import Snippets


def make(lengths, dimension=5, clusters=3, **extra):
    rng = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    features = rng.normal(size=(offsets[-1], dimension)).astype(np.float32)
    snippets = Snippets([f"v{i}" for i in range(len(lengths))], features, offsets)
    n = len(lengths)
    videos = {
        "video_id": np.array(snippets.video_ids, object),
        "fps": np.full(n, 25.0),
        "snippet_stride": np.full(n, 8, np.int32),
        "snippet_window": np.full(n, 16, np.int32),
    }
    torch.manual_seed(0)
    return weights.build("cola", dimension, clusters, hidden=8, **extra), snippets, videos


def test_every_snippet_has_its_row_and_the_cells_tile_the_video():
    model, snippets, videos = make([3, 1, 40, 3])
    attention, embeddings = attend(model, snippets, videos, length=10)
    assert attention["video_id"].tolist() == ["v0"] * 3 + ["v1"] + ["v2"] * 40 + ["v3"] * 3
    np.testing.assert_array_equal(attention["snippet"], [0, 1, 2, 0, *range(40), 0, 1, 2])
    first = attention["video_id"] == "v0"
    np.testing.assert_allclose(attention["t_start"][first], [0, 0.32, 0.64])
    np.testing.assert_allclose(attention["t_end"][first], [0.32, 0.64, 1.28])  # the last one to its window's end
    np.testing.assert_allclose(attention["actionness"], attention["activation"].sum(1), rtol=1e-5)
    assert embeddings["feature"].shape == (4, 8)
    np.testing.assert_allclose(embeddings["score"].sum(1), 1, rtol=1e-5)


def test_no_frame_of_a_long_video_is_left_out():
    """Of a video of ten minutes, 64 looks leave out most actions of a few seconds."""
    model, snippets, videos = make([100, 30])
    how = {"precision": "float32", "device": "cpu", "threads": 1}
    windows = attend(model, snippets, videos, length=10, sampling="windows", **how)[0]["actionness"]
    every_second = attend(model, snippets, videos, length=50, sampling="length", **how)[0]["actionness"]
    assert np.array_equal(windows[:100], every_second[:100])  # a window is two strides long
    few = attend(model, snippets, videos, length=10, sampling="length", **how)[0]["actionness"]
    assert not np.allclose(windows, few)
    apart = videos | {"snippet_window": videos["snippet_stride"]}
    whole = attend(model, snippets, videos, length=100, **how)[0]["actionness"]
    assert np.array_equal(attend(model, snippets, apart, length=10, **how)[0]["actionness"], whole)
    with pytest.raises(InputError, match="sampling: 'all'; expected windows or length"):
        attend(model, snippets, videos, sampling="all", **how)


def test_the_tables_are_of_the_schema(tmp_path):
    for kind, table in zip(("attention", "embeddings"), attend(*make([4, 9]), length=6), strict=True):
        tables.write(tmp_path / f"{kind}.parquet", kind, table)
        assert set(tables.read(tmp_path / f"{kind}.parquet", kind)) == set(table)


def test_a_short_video_is_seen_whole_and_alone_or_in_company_alike():
    model, snippets, videos = make([12, 12, 5, 12])
    together = attend(model, snippets, videos, length=20, precision="float32")
    model.eval()
    for i, (start, stop) in enumerate(zip(snippets.offsets[:-1], snippets.offsets[1:], strict=True)):
        seen = model(torch.from_numpy(snippets.video(i))[None])
        easy = seen["actionness"][0].topk((stop - start) // 5).indices
        close = {"rtol": 1e-5, "atol": 1e-6}
        np.testing.assert_allclose(together[0]["activation"][start:stop], seen["activation"][0].detach(), **close)
        np.testing.assert_allclose(together[1]["score"][i], seen["video_scores"][0].detach(), **close)
        feature = seen["embedding"][0, easy].mean(0).detach()
        np.testing.assert_allclose(together[1]["feature"][i], feature, **close)


@given(st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=100, deadline=None)
def test_spreading_is_linear_interpolation(own, length):
    positions = uniform_positions(own, length)
    assert len(positions) == min(own, length)
    values = np.random.default_rng(own).normal(size=len(positions)).astype(np.float32)
    ours = spread(torch.from_numpy(values)[None, :, None], torch.from_numpy(positions), own)[0, :, 0]
    np.testing.assert_allclose(ours, np.interp(np.arange(own), positions, values), rtol=1e-5, atol=1e-6)


def test_features_of_another_dimension_are_refused():
    model, _, videos = make([4])
    with pytest.raises(InputError, match="trained on features of dimension 5, but these have 7; train again"):
        attend(model, make([4], dimension=7)[1], videos)


def test_a_video_without_a_row_is_named():
    model, snippets, videos = make([4, 4])
    with pytest.raises(InputError, match="no row for video 'v1'"):
        attend(model, snippets, {name: column[:1] for name, column in videos.items()})


def test_the_order_of_the_videos_table_does_not_matter():
    model, snippets, videos = make([4, 6])
    videos["fps"] = np.array([25.0, 50.0])
    straight = attend(model, snippets, videos)[0]
    turned = attend(model, snippets, {name: column[::-1] for name, column in videos.items()})[0]
    np.testing.assert_array_equal(straight["t_end"], turned["t_end"])


def test_out_of_memory_says_what_to_lower(monkeypatch):
    model, snippets, videos = make([4])

    def fail(x):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(model, "forward", fail)
    with pytest.raises(InputError, match=r"attending: out of memory on CPU, .*; lower train.length \(750\)"):
        attend(model, snippets, videos, sampling="length")
    with pytest.raises(InputError, match=r"out of memory on CPU, .*; set attend.sampling: length"):
        attend(model, snippets, videos)
