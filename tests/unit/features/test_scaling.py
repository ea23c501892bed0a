"""Scaling of streams: if these fail, one stream drowns the other, test videos leak, or predict sees other numbers."""

import json

import numpy as np
import pytest

from feel_steps.errors import InputError
from feel_steps.features.contract import read_contract
from feel_steps.features.scaling import COMPONENTS, fit, scale, scale_part
from feel_steps.tables import tables

ABOUT = {"extractor": "frames", "fps": "15.0", "window": "16", "stride": "8", "view_family": "network"}
STREAMS = {"head": (200, 1.0), "mid": (5, 0.7)}


def write_part(path, videos, streams=STREAMS):
    about = ABOUT | {"dimension": str(len(next(iter(videos.values()))[0]))}
    if streams:
        about["streams"] = json.dumps(streams)
    with tables.write_features(path, metadata=about) as writer:
        for video_id, features in videos.items():
            writer.add(video_id, features)
    return path


def features(n, seed, size=205):
    """Two streams of very different ranges, far from zero."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, size)) * np.linspace(0.1, 3, size) + 50
    x[:, 200:] *= 100
    return x.astype(np.float32)


@pytest.fixture
def parts(tmp_path):
    return [
        write_part(tmp_path / "part-0000.parquet", {"a": features(300, 0), "test": features(90, 1) * 7}),
        write_part(tmp_path / "part-0001.parquet", {"b": features(200, 2)}),
    ]


def test_streams_have_the_variance_of_their_weight(parts):
    """The formula, by brute force: component i has the variance s_i / Σ s, times the stream's weight squared."""
    scaling, components = fit(parts, ["a", "b"])
    assert components == {"head": COMPONENTS, "mid": 5}
    training = np.concatenate([features(300, 0), features(200, 2)])
    z = scale(training, scaling)
    assert z.dtype == np.float32 and np.allclose(z.mean(0), 0, atol=1e-3)
    variance = z.astype(np.float64).var(0)
    head, mid = variance[:COMPONENTS], variance[COMPONENTS:]
    assert variance.sum() == pytest.approx(len(variance), rel=1e-3)  # 1 a number on average
    assert mid.sum() / head.sum() == pytest.approx(0.7**2, rel=1e-3)
    deviation = np.linalg.svd(training[:, 200:] - training[:, 200:].mean(0), compute_uv=False)
    assert np.allclose(mid / mid.sum(), deviation / deviation.sum(), rtol=1e-3)


def test_weights_shift_the_balance(parts):
    z = scale(features(300, 0), fit(parts, ["a"], weights={"mid": 2})[0])
    assert z[:, COMPONENTS:].var(0).sum() / z[:, :COMPONENTS].var(0).sum() == pytest.approx(1.4**2, rel=1e-2)
    with pytest.raises(InputError, match="there is no stream 'heads'; did you mean 'head'?"):
        fit(parts, ["a"], weights={"heads": 2})


def test_an_extractors_weight_counts_for_all_its_streams(tmp_path):
    names = {"frames: head": (200, 1.0), "frames: mid": (3, 0.7), "pose": (2, 1.0)}
    part = write_part(tmp_path / "part.parquet", {"a": features(300, 0)}, names)
    z = scale(features(300, 0), fit([part], ["a"], weights={"frames": 0.5, "pose": 3})[0])
    variance = z.var(0)
    assert variance[-2:].sum() / variance[:COMPONENTS].sum() == pytest.approx(36, rel=1e-2)


def test_test_videos_decide_nothing(parts, tmp_path):
    before = fit(parts, ["a", "b"])[0]
    write_part(parts[0], {"a": features(300, 0), "test": features(90, 5)})
    after = fit(parts, ["a", "b"])[0]
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_features_without_streams_are_one(tmp_path):
    """Fewer snippets than numbers: only directions that they span remain."""
    part = write_part(tmp_path / "part.parquet", {"a": features(20, 0)}, None)
    scaling, components = fit([part], ["a"])
    assert components == {"features": 19} and set(scaling["stream"]) == {"features"}


def test_a_part_keeps_its_contract(parts, tmp_path):
    scaling, components = fit(parts, ["a", "b"])
    tables.write(tmp_path / "scaling.parquet", "scaling", scaling)
    scale_part(parts[0], tmp_path / "scaled.parquet", tables.read(tmp_path / "scaling.parquet", "scaling"), components)
    before, after = read_contract(parts[0]), read_contract(tmp_path / "scaled.parquet")
    assert after.scaled and not before.scaled and after.dimension == before.dimension == 205
    assert {key: value for key, value in after.made.items() if key != "scaled"} == before.made
    table = tables.read(tmp_path / "scaled.parquet", "features")
    assert table["video_id"].tolist() == ["a"] * 300 + ["test"] * 90
    assert np.array_equal(table["feature"][:300], scale(features(300, 0), scaling))


def test_bad_input_is_named(parts, tmp_path):
    with pytest.raises(InputError, match="no snippet of a training video"):
        fit(parts, ["elsewhere"])
    still = np.concatenate([features(9, 0)[:, :200], np.ones((9, 5), np.float32)], 1)
    part = write_part(tmp_path / "part.parquet", {"a": still})
    with pytest.raises(InputError, match="stream 'mid': the same numbers in all training snippets"):
        fit([part], ["a"])
    with pytest.raises(InputError, match="of features of dimension 205, but these have 7"):
        scale(np.zeros((2, 7), np.float32), fit(parts, ["a"])[0])
