"""Damaged files, from a seed: if these fail, one bad file ends a run, hangs it, or leaves half of a feature file."""

import time

import numpy as np
import pytest

from feel_steps.dataset.folder import import_videos
from feel_steps.features.extract import extract_part
from feel_steps.features.index import index
from feel_steps.tables import tables
from tests.clips import scene, write_video
from tests.paths import SHARED

REAL = SHARED / "data/videos"
FAST = {"fps": 5, "window": 4, "stride": 4, "short_side": 32, "grid": 2, "bins": 2}
SUFFIXES = (".mp4", ".avi", ".mkv", ".webm", ".mov", ".ts", ".flv", ".mpg", ".video")


def cut(data, rng):
    return data[: rng.integers(len(data))]


def lose_the_beginning(data, rng):
    return data[rng.integers(1, 200) :]


def zero(data, rng):
    start, length = rng.integers(len(data)), rng.integers(1, len(data) // 2)
    return data[:start] + bytes(min(length, len(data) - start)) + data[start + length :]


def flip_bits(data, rng):
    flipped = np.frombuffer(data, np.uint8).copy()
    flipped[rng.integers(0, len(data), rng.integers(1, 60))] ^= np.uint8(1 << rng.integers(8))
    return flipped.tobytes()


def flip_header(data, rng):
    flipped = np.frombuffer(data, np.uint8).copy()
    where = rng.integers(0, min(len(data), 3000), rng.integers(1, 8))
    flipped[where if rng.random() < 0.5 else len(data) - 1 - where] ^= np.uint8(1 << rng.integers(8))
    return flipped.tobytes()


def swap(data, rng):
    a, b = sorted(rng.integers(0, len(data), 2))
    return data[a:b] + data[:a] + data[b:]


def keep(data, rng):
    return data


DAMAGES = (cut, lose_the_beginning, zero, flip_bits, flip_bits, flip_header, swap, keep)


def damaged(originals, folder, n):
    """Write n damaged variants, every one under a suffix of its own choosing; give their ids."""
    folder.mkdir()
    ids = []
    for variant in range(n):
        rng = np.random.default_rng(variant)
        original = originals[variant % len(originals)]
        damage = DAMAGES[rng.integers(len(DAMAGES))]
        suffix = original.suffix if rng.random() < 0.7 and damage is not keep else SUFFIXES[rng.integers(len(SUFFIXES))]
        ids.append(f"{variant:03d}-{damage.__name__}")
        (folder / f"{ids[-1]}{suffix}").write_bytes(damage(original.read_bytes(), rng))
    return ids


def survive(originals, tmp_path, n):
    """Take damaged variants through import, extraction and index; give how many have features."""
    ids = damaged(originals, tmp_path / "damaged", n)
    for i, original in enumerate(originals[:2]):  # a data set needs two
        (tmp_path / "damaged" / f"whole-{i}{original.suffix}").write_bytes(original.read_bytes())
    start = time.process_time()
    manifest, unreadable = import_videos(tmp_path / "damaged", on_bad_video="skip", min_duration=3.5 / 5, parts=2)
    parts = [tmp_path / "features" / f"part-000{part}.parquet" for part in range(2)]
    for part, path in enumerate(parts):
        extract_part(manifest, part, path, on_bad_video="skip", cache=tmp_path / "cache", **FAST)
    videos, skipped = index(manifest, unreadable, parts)
    assert time.process_time() - start < 60
    features, reasons = set(videos["video_id"]), dict(zip(skipped["video_id"], skipped["reason"], strict=True))
    # a file that is neither a video nor called one
    ignored = {path.stem for path in (tmp_path / "damaged").glob("*.video")} - features - reasons.keys()
    assert features | reasons.keys() == {*ids, *(f"whole-{i}" for i in range(2))} - ignored
    assert not features & reasons.keys()
    assert all(reason and "\n" not in reason for reason in reasons.values())
    assert sorted(path.name for path in (tmp_path / "features").iterdir()) == [path.name for path in parts]
    assert sum(len(tables.read(part, "features")["snippet"]) for part in parts) == videos["n_snippets"].sum()
    assert {"whole-0", "whole-1"} <= features
    assert {video_id for video_id in ids if video_id.endswith("keep")} <= features
    return len(features)


def test_two_hundred_damaged_videos(tmp_path):
    """Each gives features or a reason, in one run over all of them."""
    originals = [
        write_video(tmp_path / "a.mp4", scene(40), options={"movflags": "faststart"}),
        write_video(tmp_path / "b.mp4", scene(40, seed=1), codec="libx264"),
        write_video(tmp_path / "c.mkv", scene(40, seed=2), codec="libx264"),
        write_video(tmp_path / "d.avi", scene(40, seed=3)),
        write_video(tmp_path / "e.ts", scene(40, seed=4), codec="mpeg2video"),
    ]
    assert 60 < survive(originals, tmp_path, 200) < 190


@pytest.mark.skipif(not REAL.is_dir(), reason="the real clips are not here")
def test_damaged_real_clips(tmp_path):
    originals = sorted(REAL.rglob("*fi*.mp4"))
    assert 60 < survive(originals, tmp_path, 200) < 190


@pytest.mark.skipif(not REAL.is_dir(), reason="the real clips are not here")
def test_all_real_clips(tmp_path):
    manifest, unreadable = import_videos(REAL, min_duration=3.5 / 5)
    extract_part(manifest, 0, tmp_path / "part.parquet", **FAST)
    videos, skipped = index(manifest, unreadable, [tmp_path / "part.parquet"])
    assert len(videos["video_id"]) == len(list(REAL.rglob("*.mp4")))
    assert len(skipped["video_id"]) == 0
