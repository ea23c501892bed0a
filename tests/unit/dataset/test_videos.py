"""The videos table: if these fail, steps look for features that are not there, or place them at wrong times."""

import json

import numpy as np
import pytest

from feel_steps.dataset.videos import Video, videos_of
from feel_steps.errors import InputError
from feel_steps.features.index import index
from feel_steps.tables import tables

NONE = {name: np.array([], object) for name in ("video_id", "path", "reason")}
CONTRACT = {"extractor": "descriptors", "fps": "10.0", "window": "16", "stride": "8"}


def manifest(**changes):
    columns = {
        "video_id": np.array(["a", "b", "c"], object),
        "split": np.array(["train", "train", "test"], object),
        "path": np.array(["x/a.mp4", "x/b.mp4", "x/c.mp4"], object),
        "fps": np.array([25.0, 30.0, 25.0]),
        "n_frames": np.array([100, 240, 40]),
        "duration": np.array([4.0, 8.0, 1.6]),
        "part": np.array([1, 0, 1], np.int32),
    }
    return columns | changes


def write_part(path, snippets, dimension=4, **metadata):
    contract = CONTRACT | {"skipped": "{}"} | metadata
    if snippets:
        contract["dimension"] = str(dimension)
    with tables.write_features(path, metadata=contract) as writer:
        for video_id, T in snippets.items():
            writer.add(video_id, np.zeros((T, dimension), np.float32))
    return path


@pytest.fixture
def parts(tmp_path):
    return [
        write_part(tmp_path / "part-0000.parquet", {"b": 9}),
        write_part(tmp_path / "part-0001.parquet", {"a": 4, "c": 1}),
    ]


def test_videos_of_a_part():
    assert videos_of(manifest(), 1) == [
        Video("a", "train", "x/a.mp4", 100, 4.0),
        Video("c", "test", "x/c.mp4", 40, 1.6),
    ]
    assert videos_of(manifest(), 2) == []


def test_index(parts, tmp_path):
    """The rate is that of the snippets, not the file's own: their times hang on it."""
    videos, skipped = index(manifest(), NONE, parts)
    assert videos["video_id"].tolist() == ["a", "b", "c"]
    assert videos["n_snippets"].tolist() == [4, 9, 1]
    assert videos["fps"].tolist() == [10.0] * 3
    assert videos["snippet_window"].tolist() == [16] * 3
    assert videos["snippet_stride"].tolist() == [8] * 3
    assert videos["part"].tolist() == ["part-0001.parquet", "part-0000.parquet", "part-0001.parquet"]
    tables.write(tmp_path / "videos.parquet", "videos", videos)
    tables.write(tmp_path / "skipped.parquet", "skipped", skipped)
    assert tables.read(tmp_path / "videos.parquet", "videos")["duration"].tolist() == [4.0, 8.0, 1.6]


def test_all_that_was_skipped_is_listed(tmp_path):
    unreadable = {name: np.array([value], object) for name, value in zip(NONE, ("b0", "x/b0.mp4", "cut"), strict=True)}
    parts = [
        write_part(tmp_path / "part-0000.parquet", {"b": 9}),
        write_part(tmp_path / "part-0001.parquet", {"a": 4}, skipped=json.dumps({"c": "damaged"})),
        write_part(tmp_path / "part-0002.parquet", {}),
    ]
    videos, skipped = index(manifest(), unreadable, parts)
    assert videos["video_id"].tolist() == ["a", "b"]
    assert list(zip(*skipped.values(), strict=True)) == [("b0", "x/b0.mp4", "cut"), ("c", "x/c.mp4", "damaged")]


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"b": 9}, {"a": 4}, "video 'c' is in no feature part; extract its part again"),
        ({"b": 9, "a": 4}, {"a": 4, "c": 1}, "part-0001.parquet: video 'a' is in .*part-0000.parquet too"),
        ({"b": 9, "z": 4}, {"a": 4, "c": 1}, "part-0000.parquet: video 'z' is not in the manifest"),
        ({"b": 7}, {"a": 4, "c": 1}, r"part-0000.parquet: video 'b' has 7 snippets, but 9 fit in its 8.00 s; check"),
    ],
)
def test_parts_that_do_not_fit_the_manifest(tmp_path, first, second, message):
    parts = [
        write_part(tmp_path / "part-0000.parquet", first),
        write_part(tmp_path / "part-0001.parquet", second),
    ]
    with pytest.raises(InputError, match=message):
        index(manifest(), NONE, parts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stride": "4"}, "extracted with stride 4, other parts with 8; extract all parts again"),
        ({"extractor": "i3d"}, "extracted with extractor i3d, other parts with descriptors"),
        ({"dimension": 5}, "extracted with dimension 5, other parts with 4"),
    ],
)
def test_parts_of_two_extractions(tmp_path, parts, change, message):
    write_part(parts[1], {"a": 4, "c": 1}, **change)
    with pytest.raises(InputError, match=message):
        index(manifest(), NONE, parts)


def test_too_few_are_left(tmp_path):
    reasons = json.dumps({"a": "damaged", "b": "damaged", "c": "damaged"})
    parts = [write_part(tmp_path / "0.parquet", {}), write_part(tmp_path / "1.parquet", {}, skipped=reasons)]
    with pytest.raises(InputError, match=r"no usable training video, 3 skipped \('a': damaged\)"):
        index(manifest(), NONE, parts)


def test_a_part_is_missing(parts):
    parts[1].unlink()
    with pytest.raises(InputError, match="part-0001.parquet: no such file"):
        index(manifest(), NONE, parts)
