"""Ground truth that a user brings, read as a table that only evaluation, report and studies see."""

from __future__ import annotations

import math
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from feel_steps.dataset.annotation_files import first_known, read_segments
from feel_steps.dataset.suffixes import is_called_video
from feel_steps.dataset.videos import strings
from feel_steps.errors import InputError
from feel_steps.tables.kinds import Columns

CLIPPED, DROPPED, IGNORED = "clipped", "dropped", "ignored"  # what becomes of segments that do not fit


def read_annotations(
    path: str | Path | None, manifest: Columns, skipped: Collection[str] = (), *, strict: bool = False
) -> tuple[Columns, Columns]:
    """Read ground-truth segments. Nothing but evaluation, report and studies may look at them.

    Published annotations do not fit their videos everywhere. A segment may end later than its video by one second or
    one per cent, whichever is more: features drop the last frames, and two programs seldom agree on how long a video
    is. One that ends still later, or begins before 0, is clipped. One without a length, behind the video's end, or
    whose label was forgotten in Label Studio, is dropped. Those of videos that are not in the data set are ignored. Ids
    may differ from the data set's by a video suffix or by ActivityNet's prefix ``v_``.

    Parameters
    ----------
    path : path or None
        ActivityNet-style JSON, ``{"database": {id: {"annotations": [{"segment": [s, e], "label": l}]}}}``, or
        CSV with the columns video_id, label, t_start, t_end; seconds. Also what ELAN, BORIS and Label Studio write,
        see :func:`feel_steps.dataset.annotation_files.read_segments`. None: no annotations.
    manifest : columns of a manifest
    skipped : collection of str
        Videos whose annotations are dropped.
    strict : bool
        Refuse what would be clipped, dropped or ignored.

    Returns
    -------
    annotations : columns of annotations
        Sorted by video; those of a video in the file's order, whose first one counts (nmi_first).
    dropped : columns of dropped annotations
        What was clipped, dropped or ignored, as it is in the file, in its order.

    Raises
    ------
    InputError
        The file has another form, a time is no number, a label is missing, or no video of it is in the data set.
    """
    rows: list[tuple[str, float, float, str]] = []
    dropped: list[tuple[str, str, float, float, str, str]] = []
    durations = dict(zip(manifest["video_id"], manifest["duration"].tolist(), strict=True))
    names = set[str]()
    find = match_ids([*durations, *skipped])
    for where, ids, label, start, end in read_segments(path):
        name = first_known(ids, find)
        names.add(name)
        video_id = find(name)
        t_start, t_end = _seconds(start, where), _seconds(end, where)
        if label is not None and (not isinstance(label, str) or not label.strip()):
            raise InputError(f"{where}: label is {label!r}; expected the name of a class")
        label = (label or "").strip()
        fate, reason = _judge(label, t_start, t_end, video_id, name, durations)
        if strict and fate and video_id not in skipped:
            raise InputError(f"{where}: {reason}; correct it, or set annotations.strict: false")
        if fate:
            dropped.append((name, label, t_start, t_end, fate, reason))
        if fate in ("", CLIPPED):
            assert video_id is not None
            if fate:
                t_start, t_end = max(0.0, t_start), min(t_end, durations[video_id])
            rows.append((video_id, t_start, t_end, label))
    if names and all(find(name) is None for name in names):
        raise InputError(
            f"{path}: none of its {len(names)} videos is in the data set; an id there is '{min(names)}', "
            f"in the data set '{min(durations, default='')}'"
        )
    _warn(path, dropped, [name for name in names if find(name) not in (None, unicodedata.normalize("NFC", name))])
    rows.sort(key=lambda row: row[0])
    return {
        "video_id": strings(row[0] for row in rows),
        "label": strings(row[3] for row in rows),
        "t_start": np.array([row[1] for row in rows], np.float64),
        "t_end": np.array([row[2] for row in rows], np.float64),
    }, {
        "video_id": strings(row[0] for row in dropped),
        "label": strings(row[1] for row in dropped),
        "t_start": np.array([row[2] for row in dropped], np.float64),
        "t_end": np.array([row[3] for row in dropped], np.float64),
        "fate": strings(row[4] for row in dropped),
        "reason": strings(row[5] for row in dropped),
    }


def match_ids(known: Collection[str]) -> Callable[[str], str | None]:
    """Find ids among those of a data set, also where they differ by a video suffix or the prefix ``v_``.

    Returns
    -------
    function from an id to that of the data set
        None where there is none, or more than one.
    """
    exact = set(known)
    alike = Counter(map(_bare, exact))
    bare = {_bare(video_id): video_id for video_id in exact if alike[_bare(video_id)] == 1}

    def find(name: str) -> str | None:
        name = unicodedata.normalize("NFC", name)
        return name if name in exact else bare.get(_bare(name))

    return find


def _bare(name: str) -> str:
    """Id without a video's suffix and ActivityNet's prefix."""
    folder, slash, file = name.rpartition("/")
    stem = file.rpartition(".")[0]
    if stem and is_called_video(file):
        file = stem
    return folder + slash + file.removeprefix("v_")


def _judge(
    label: str, start: float, end: float, video_id: str | None, name: str, durations: Mapping[str, float]
) -> tuple[str, str]:
    """What becomes of a segment, and why; nothing if it is good."""
    if video_id is None:
        return IGNORED, f"no video '{name}' in the data set"
    if video_id not in durations:
        return IGNORED, f"video '{video_id}' was left out"
    duration = durations[video_id]
    if not label:
        return DROPPED, f"segment from {start:g} s to {end:g} s has no label"
    if end <= start:
        return DROPPED, f"segment from {start:g} s to {end:g} s; expected 0 <= start < end"
    if start >= duration or end <= 0:
        return DROPPED, f"segment from {start:g} s to {end:g} s is outside of the video, which ends at {duration:.2f} s"
    if start < 0:
        return CLIPPED, f"segment from {start:g} s to {end:g} s; expected 0 <= start < end"
    if end > duration + max(1.0, 0.01 * duration):
        return CLIPPED, f"segment ends at {end:g} s, but the video at {duration:.2f} s"
    return "", ""


def _warn(path: object, dropped: list[tuple[str, str, float, float, str, str]], renamed: list[str]) -> None:
    """Print one line that counts the segments that do not fit, and one for ids that were matched by another name."""
    parts = []
    for fate in (CLIPPED, DROPPED):
        if count := sum(row[4] == fate for row in dropped):
            parts.append(f"{count} {'segment' if count == 1 else 'segments'} {fate}")
    if ignored := [row for row in dropped if row[4] == IGNORED]:
        videos = len({row[0] for row in ignored})
        parts.append(f"{len(ignored)} of {videos} {'video' if videos == 1 else 'videos'} without features ignored")
    if parts:
        print(f"warning: {path}: {', '.join(parts)}; annotations.strict: true refuses them", file=sys.stderr)
    if renamed:
        print(
            f"note: {path}: {len(renamed)} ids differ from the data set's by a suffix or the prefix v_ "
            f"('{min(renamed)}', for example), and were matched",
            file=sys.stderr,
        )


def _seconds(value: Any, where: str) -> float:
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):  # OverflowError: a whole number of hundreds of digits
        seconds = math.nan
    if not math.isfinite(seconds):
        raise InputError(f"{where}: time is {repr(value)[:60]}; expected seconds as a number")
    return seconds
