"""Ground truth that a user brings, read as a table that only evaluation, report and studies see."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from feel_steps.dataset.files import read_csv, read_json
from feel_steps.dataset.videos import strings
from feel_steps.errors import InputError
from feel_steps.tables.kinds import Columns


def read_annotations(path: str | Path | None, manifest: Columns, skipped: Collection[str] = ()) -> Columns:
    """Read ground-truth segments. Nothing but evaluation, report and studies may look at them.

    A segment may end later than its video by one second or one per cent, whichever is more: features drop the last
    frames, and two programs seldom agree on how long a video is.

    Parameters
    ----------
    path : path or None
        ActivityNet-style JSON, ``{"database": {id: {"annotations": [{"segment": [s, e], "label": l}]}}}``, or
        CSV with the columns video_id, label, t_start, t_end; seconds. None: no annotations.
    manifest : columns of a manifest
    skipped : collection of str
        Videos whose annotations are dropped.

    Returns
    -------
    columns of annotations, sorted by video; those of a video in the file's order, whose first one counts (nmi_first)

    Raises
    ------
    InputError
    """
    rows: list[tuple[str, float, float, str]] = []
    durations = dict(zip(manifest["video_id"], manifest["duration"].tolist(), strict=True))
    unknown: dict[str, str] = {}  # video -> where its first annotation stands
    if path is not None:
        read = _read_json_segments if str(path).lower().endswith(".json") else _read_csv_segments
        for where, name, label, start, end in read(path):
            video_id = unicodedata.normalize("NFC", name)
            if video_id in skipped:
                continue
            if video_id not in durations:
                unknown.setdefault(video_id, where)
                continue
            t_start, t_end = _seconds(start, where), _seconds(end, where)
            _check_segment(t_start, t_end, durations[video_id], where)
            if not isinstance(label, str) or not label.strip():
                raise InputError(f"{where}: label is {label!r}; expected the name of a class")
            rows.append((video_id, t_start, t_end, label.strip()))
    if unknown:
        video_id, where = next(iter(unknown.items()))
        more = f" (and {len(unknown) - 1} more unknown videos)" if len(unknown) > 1 else ""
        raise InputError(
            f"{where}: no video '{video_id}' in the data set{more}; take its annotations out, or add the video"
        )
    rows.sort(key=lambda row: row[0])
    return {
        "video_id": strings(row[0] for row in rows),
        "label": strings(row[3] for row in rows),
        "t_start": np.array([row[1] for row in rows], np.float64),
        "t_end": np.array([row[2] for row in rows], np.float64),
    }


Segments = Iterator[tuple[str, str, Any, Any, Any]]  # where it stands, video, label, start, end


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
    except (TypeError, ValueError):
        seconds = math.nan
    if not math.isfinite(seconds):
        raise InputError(f"{where}: time is {value!r}; expected seconds as a number")
    return seconds


def _check_segment(start: float, end: float, duration: float, where: str) -> None:
    if start < 0 or end <= start:
        raise InputError(f"{where}: segment from {start:g} s to {end:g} s; expected 0 <= start < end")
    if end > duration + max(1.0, 0.01 * duration):
        raise InputError(
            f"{where}: segment ends at {end:g} s, but the video at {duration:.2f} s; correct it, or check that fps, "
            "window and stride are those of the features"
        )
