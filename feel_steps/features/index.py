"""The table of the videos that have features, once the feature parts are found to belong together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from feel_steps.dataset.videos import expected_snippets, fits, require_videos
from feel_steps.errors import InputError
from feel_steps.features.contract import Contract, read_contract
from feel_steps.tables.kinds import Columns
from feel_steps.tables.tables import runs


def index(manifest: Columns, unreadable: Columns, parts: Sequence[str | Path]) -> tuple[Columns, Columns]:
    """List the videos that have features, once the parts are found to belong together and to be whole.

    Parameters
    ----------
    manifest : columns of a manifest
    unreadable : columns of a skipped table
        Videos that import left out.
    parts : paths of features tables
        Their metadata say rate, window and stride of the snippets, and which videos extraction left out.

    Returns
    -------
    videos : columns of a videos table, in the manifest's order
    skipped : columns of a skipped table, by video_id

    Raises
    ------
    InputError
        Parts of different extractions or dimensions, a video in none of them or in two, snippets that do not fit a
        video's duration, or no training video left.
    """
    made: dict[str, str] = {}  # how all parts were made; one without a video has no dimension
    found: dict[str, tuple[int, Path]] = {}  # video -> snippets, part
    reasons: dict[str, str] = {}
    for path in map(Path, parts):
        contract = read_contract(path)
        reasons |= contract.skipped
        for key, value in contract.made.items():
            if made.setdefault(key, value) != value:
                raise InputError(
                    f"{path}: extracted with {key} {value}, other parts with {made[key]}; extract all parts again"
                )
        for video_id, n_snippets in _lengths(path):
            if video_id in found:
                raise InputError(f"{path}: video '{video_id}' is in {found[video_id][1]} too; extract both parts again")
            found[video_id] = n_snippets, path
    if extra := found.keys() - set(manifest["video_id"]):
        raise InputError(
            f"{found[min(extra)][1]}: video '{min(extra)}' is not in the manifest; extract this part again"
        )
    if missing := [v for v in manifest["video_id"] if v not in found and v not in reasons]:
        raise InputError(f"manifest: video '{missing[0]}' is in no feature part; extract its part again")

    fps, window, stride = Contract(made).timing
    kept = np.array([video_id in found for video_id in manifest["video_id"]])
    require_videos(manifest["split"][kept], "features", reasons)
    videos = {name: manifest[name][kept] for name in ("video_id", "split", "path", "n_frames", "duration")}
    T = np.array([found[video_id][0] for video_id in videos["video_id"]], np.int32)
    timing, seconds = (fps, window, stride), videos["duration"]
    for row in np.flatnonzero(~fits(T, seconds, *timing, padded=Contract(made).exists))[:1]:
        video_id = videos["video_id"][row]
        expected = expected_snippets(seconds[row], *timing)
        raise InputError(
            f"{found[video_id][1]}: video '{video_id}' has {T[row]} snippets, but {expected} fit in its "
            f"{seconds[row]:.2f} s; check features.fps, window and stride, or extract it again"
        )
    size = len(T)
    videos |= {
        "fps": np.full(size, fps),
        "n_snippets": T,
        "snippet_stride": np.full(size, stride, np.int32),
        "snippet_window": np.full(size, window, np.int32),
        "part": np.array([found[video_id][1].name for video_id in videos["video_id"]], object),
    }
    return videos, _skipped(manifest, reasons, unreadable)


def _lengths(path: Path) -> list[tuple[str, int]]:
    """Videos of a feature file and their numbers of snippets; the features themselves stay on disk."""
    video_ids = pq.read_table(path, columns=["video_id"])["video_id"].to_pylist()
    return [(video_id, stop - start) for video_id, start, stop in runs(video_ids)]


def _skipped(manifest: Columns, reasons: dict[str, str], unreadable: Columns) -> Columns:
    """Table of all videos left out, with reasons."""
    names = ("video_id", "path", "reason")
    rows = list(zip(*(unreadable[name] for name in names), strict=True))
    paths = zip(manifest["video_id"], manifest["path"], strict=True)
    rows += [(video_id, path, reasons[video_id]) for video_id, path in paths if video_id in reasons]
    rows.sort(key=lambda row: row[0])
    return {name: np.array([row[i] for row in rows], object) for i, name in enumerate(names)}
