"""Extraction: if these fail, a feature file is half written, mixes videos up, or hides that a video was bad."""

import json

import numpy as np
import pytest

from feel_steps.dataset.cola import import_cola
from feel_steps.dataset.folder import import_videos
from feel_steps.errors import InputError
from feel_steps.features.extract import build, extract_part
from feel_steps.features.index import index
from feel_steps.tables import tables
from tests.clips import scene, write_video
from tests.unit.dataset.test_layouts import write_cola

RATE = {"fps": 15, "window": 8, "stride": 4}


def folder(path, **lengths):
    for seed, (name, n) in enumerate(lengths.items()):
        write_video(path / f"{name}.mp4", scene(n, seed=seed), fps=15, options={"movflags": "faststart"})
    return path


def spoil(path):
    """Zero all of a file's frames but the first."""
    data = path.read_bytes()
    start = data.index(b"mdat") + 8_000
    path.write_bytes(data[:start] + bytes(len(data) - start))


def test_videos_to_features(tmp_path):
    """From a folder to the videos table; two parts hold what one holds, and twice the same bytes."""
    videos = folder(tmp_path / "videos", a=30, b=20, c=40)
    manifest, unreadable = import_videos(videos, parts=2)
    paths = [tmp_path / f"part-000{part}.parquet" for part in range(2)]
    for part, path in enumerate(paths):
        extract_part(manifest, part, path, **RATE)
    table, skipped = index(manifest, unreadable, paths)
    assert table["n_snippets"].tolist() == [6, 4, 9]
    assert len(skipped["video_id"]) == 0
    about = tables.read_metadata(paths[0])
    assert about["extractor"] == "descriptors"
    assert (float(about["fps"]), about["window"], about["stride"]) == (15, "8", "4")
    assert about["dimension"] == "448"

    manifest["part"][:] = 0
    for name in ("whole", "again"):
        extract_part(manifest, 0, tmp_path / name, **RATE)
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "again").read_bytes()
    whole = tables.read(tmp_path / "whole", "features")
    assert whole["snippet"].tolist() == [*range(6), *range(4), *range(9)]
    for path in paths:
        part = tables.read(path, "features")
        for video_id in set(part["video_id"]):
            assert np.array_equal(
                part["feature"][part["video_id"] == video_id], whole["feature"][whole["video_id"] == video_id]
            )


def test_settings_of_an_extractor(tmp_path):
    manifest, _ = import_videos(folder(tmp_path / "videos", a=20, b=20))
    extract_part(manifest, 0, tmp_path / "out", **RATE, grid=2, bins=4, dimension=20)
    assert tables.read(tmp_path / "out", "features")["feature"].shape == (8, 20)
    assert tables.read_metadata(tmp_path / "out")["grid"] == "2"


def test_a_part_without_videos(tmp_path):
    """More parts than videos: an empty file, which the other steps pass over."""
    manifest, unreadable = import_videos(folder(tmp_path / "videos", a=20, b=20), parts=3)
    paths = [tmp_path / f"{part}.parquet" for part in range(3)]
    for part, path in enumerate(paths):
        extract_part(manifest, part, path, **RATE)
    assert index(manifest, unreadable, paths)[0]["video_id"].tolist() == ["a", "b"]


def test_a_video_shorter_than_a_window(tmp_path):
    manifest, unreadable = import_videos(folder(tmp_path / "videos", a=20, b=7, c=20))
    out = tmp_path / "out.parquet"
    with pytest.raises(
        InputError, match=r"b\.mp4: 0\.47 s long, shorter than one window of 8 frames \(0\.53 s\); mend"
    ):
        extract_part(manifest, 0, out, **RATE)
    assert list(tmp_path.glob("*out*")) == []
    extract_part(manifest, 0, out, **RATE, on_bad_video="skip")
    videos, skipped = index(manifest, unreadable, [out])
    assert videos["video_id"].tolist() == ["a", "c"]
    assert skipped["video_id"].tolist() == ["b"]
    assert skipped["path"].tolist() == [str(tmp_path / "videos/b.mp4")]


def test_a_video_that_breaks_off_in_decoding(tmp_path, capsys):
    """Its first frame decodes, so import takes it; the part goes on without it, the earlier file stays till then."""
    videos = folder(tmp_path / "videos", a=20, b=60, c=20)
    spoil(videos / "b.mp4")
    manifest, _ = import_videos(videos)
    out = tmp_path / "out.parquet"
    out.write_bytes(b"earlier")
    with pytest.raises(InputError, match=r"b\.mp4: damaged: \d+ of 60 frames decode; .*on_bad_video: skip"):
        extract_part(manifest, 0, out, **RATE)
    assert out.read_bytes() == b"earlier"
    extract_part(manifest, 0, out, **RATE, on_bad_video="skip")
    assert "damaged" in json.loads(tables.read_metadata(out)["skipped"])["b"]
    assert set(tables.read(out, "features")["video_id"]) == {"a", "c"}
    assert "skipped" in capsys.readouterr().err


def test_unknown_extractor(tmp_path):
    manifest, _ = import_videos(folder(tmp_path / "videos", a=20, b=20))
    with pytest.raises(InputError, match="extractor 'c3d': no such extractor; did you mean 'i3d'."):
        extract_part(manifest, 0, tmp_path / "out", extractor="c3d", **RATE)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_cola_features(tmp_path, capsys, dtype):
    """rgb and flow side by side; of two lengths the shorter, and the log says so."""
    root = write_cola(tmp_path / "cola", {"a": 5, "b": (4, 3), "c": 2}, test=["c"], dtype=dtype)
    np.save(root / "features/train/flow/a.npy", np.full((5, 6), 0.5, dtype))
    manifest = import_cola(root, **RATE)
    extract_part(manifest, 0, tmp_path / "out", extractor="cola", root=root, **RATE)
    table = tables.read(tmp_path / "out", "features")
    assert table["video_id"].tolist() == ["a"] * 5 + ["b"] * 3 + ["c"] * 2
    assert table["feature"].shape == (10, 12)
    assert table["feature"][4].tolist() == [4] * 6 + [0.5] * 6
    assert "video 'b': 4 rgb, 3 flow snippets, cut to 3" in capsys.readouterr().err
    assert index(manifest, {k: np.array([], object) for k in ("video_id", "path", "reason")}, [tmp_path / "out"])[0][
        "n_snippets"
    ].tolist() == [5, 3, 2]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite(tmp_path, value):
    root = write_cola(tmp_path / "cola", {"a": 5, "b": 4})
    broken = np.zeros((4, 6), np.float16)
    broken[2, 3] = value
    np.save(root / "features/train/flow/b.npy", broken)
    with pytest.raises(InputError, match="video 'b', snippet 2: features that are NaN or infinite"):
        extract_part(import_cola(root, **RATE), 0, tmp_path / "out", extractor="cola", root=root, **RATE)
    assert not (tmp_path / "out").exists()


def test_cola_without_its_folder(tmp_path):
    manifest = import_cola(write_cola(tmp_path / "cola", {"a": 5, "b": 4}), **RATE)
    with pytest.raises(InputError, match="extractor cola needs --root"):
        extract_part(manifest, 0, tmp_path / "out", extractor="cola", **RATE)


def test_a_class_that_is_no_extractor_is_never_called(tmp_path):
    """A config from a stranger could otherwise run a command: extractor: subprocess:Popen."""
    given = {"fps": 15, "window": 8, "stride": 4}
    with pytest.raises(InputError, match="extractor 'subprocess:Popen': it has no 'view_family'"):
        build("subprocess:Popen", given, {"args": ["touch", str(tmp_path / "ran")]})
    assert not (tmp_path / "ran").exists()
    with pytest.raises(
        InputError, match="there is no such class .*; its module must be installed, or lie in the folder"
    ):
        build("gone:Class", given, {})
    with pytest.raises(InputError, match="no such extractor; did you mean 'transformers'.*package.module:Class"):
        build("transformer", given, {})
