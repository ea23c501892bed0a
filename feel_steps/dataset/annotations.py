"""Ground truth that a user brings, read as a table that only evaluation, report and studies see."""

from __future__ import annotations

import math
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from feel_steps.dataset.files import read_csv, read_json
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
    is. One that ends still later, or begins before 0, is clipped. One without a length, or behind the video's end, is
    dropped. Those of videos that are not in the data set are ignored. Ids may differ from the data set's by a video
    suffix or by ActivityNet's prefix ``v_``.

    Parameters
    ----------
    path : path or None
        ActivityNet-style JSON, ``{"database": {id: {"annotations": [{"segment": [s, e], "label": l}]}}}``, or
        CSV with the columns video_id, label, t_start, t_end; seconds. None: no annotations.
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
    for where, name, label, start, end in _read_segments(path):
        names.add(name)
        video_id = find(name)
        t_start, t_end = _seconds(start, where), _seconds(end, where)
        if not isinstance(label, str) or not label.strip():
            raise InputError(f"{where}: label is {label!r}; expected the name of a class")
        fate, reason = _judge(t_start, t_end, video_id, name, durations, skipped)
        if strict and fate and video_id not in skipped:
            raise InputError(f"{where}: {reason}; correct it, or set annotations.strict: false")
        if fate:
            dropped.append((name, label.strip(), t_start, t_end, fate, reason))
        if fate in ("", CLIPPED):
            assert video_id is not None
            if fate:
                t_start, t_end = max(0.0, t_start), min(t_end, durations[video_id])
            rows.append((video_id, t_start, t_end, label.strip()))
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
    start: float,
    end: float,
    video_id: str | None,
    name: str,
    durations: Mapping[str, float],
    skipped: Collection[str],
) -> tuple[str, str]:
    """What becomes of a segment, and why; nothing if it is good."""
    if video_id is None:
        return IGNORED, f"no video '{name}' in the data set"
    if video_id not in durations:
        return IGNORED, f"video '{video_id}' was left out"
    duration = durations[video_id]
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
    """Count on stderr what does not fit, one line in all, and what was matched by another name."""
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


Segments = Iterator[tuple[str, str, Any, Any, Any]]  # where it stands, video, label, start, end


def _read_segments(path: str | Path | None) -> Segments:
    if path is not None:
        yield from (_read_json_segments if str(path).lower().endswith(".json") else _read_csv_segments)(path)


def _read_json_segments(path: str | Path) -> Segments:
    try:
        database = read_json(path)["database"]
    except (KeyError, TypeError):
        raise InputError(f"{path}: the key 'database' is missing; expected ActivityNet's form") from None
    if not isinstance(database, dict):
        raise InputError(f"{path}: 'database' is a {type(database).__name__}; expected an object with a key a video")
    for video_id, video in database.items():
        where = f"{path}, database['{video_id}']"
        annotations = video.get("annotations") if isinstance(video, dict) else None
        if not isinstance(annotations, list):
            raise InputError(f"{where}: the list 'annotations' is missing; give [] where there is none")
        for i, annotation in enumerate(annotations):
            here = f"{where}.annotations[{i}]"
            if not isinstance(annotation, dict) or not {"segment", "label"} <= annotation.keys():
                raise InputError(f"{here}: expected an object with the keys 'segment' and 'label'")
            segment = annotation["segment"]
            if not isinstance(segment, list) or len(segment) != 2:
                raise InputError(f"{here}: segment is {segment!r}; expected [start, end] in seconds")
            yield here, video_id, annotation["label"], *segment


def _read_csv_segments(path: str | Path) -> Segments:
    for line, row in read_csv(path, ("video_id", "label", "t_start", "t_end")):
        yield f"{path}, row {line}", row["video_id"], row["label"], row["t_start"], row["t_end"]


def _seconds(value: Any, where: str) -> float:
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):  # OverflowError: a whole number of hundreds of digits
        seconds = math.nan
    if not math.isfinite(seconds):
        raise InputError(f"{where}: time is {str(value)[:60]!r}; expected seconds as a number")
    return seconds
