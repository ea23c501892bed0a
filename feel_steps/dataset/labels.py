"""Reads labels that a user gives for some videos: they train, unlike annotations, which only judge."""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from feel_steps.dataset.annotation_files import first_known, read_segments
from feel_steps.dataset.annotations import match_ids
from feel_steps.dataset.corrections import IS
from feel_steps.dataset.files import read_csv, read_text
from feel_steps.dataset.videos import strings
from feel_steps.errors import InputError, hint
from feel_steps.tables.kinds import Columns


def read_labels(path: str | Path, video_ids: list[str], clusters: int) -> Columns:
    """Read the labels of some videos. Each label gets a cluster of its own, in the order of the alphabet.

    Parameters
    ----------
    path : path
        CSV with the columns video_id, label; or segments, in any form that
        :func:`feel_steps.dataset.annotation_files.read_segments` reads. A video with segments of several labels has the
        label that lasts longest. Regions whose label was forgotten in Label Studio are left out, and counted.
    video_ids : list of str
        The data set's videos.
    clusters : int
        K.

    Returns
    -------
    columns of a table of kind "given"
        Sorted by video.

    Raises
    ------
    InputError
        The file has another form, a video is not in the data set, a video has two labels, or there are more labels than
        clusters.
    """
    find, seen = match_ids(video_ids), dict[str, str]()
    lengths = defaultdict[str, dict[str, float]](lambda: defaultdict(float))
    whole = _labels_whole_videos(path)
    rows = _rows(path, whole)
    if unlabelled := sum(label is None for _, _, label, _ in rows):
        print(f"warning: {path}: left out, because they have no label: {unlabelled} regions", file=sys.stderr)
    for where, ids, label, length in rows:
        if label is None:
            continue
        name = first_known(ids, find)
        if (video_id := find(name)) is None:
            raise InputError(f"{where}: there is no video '{name}' in the data set; {hint(name, video_ids)}")
        if not isinstance(label, str) or not label.strip():
            raise InputError(f"{where}: label is {label!r}; expected the name of a class")
        label = label.strip()
        if whole and seen.setdefault(video_id, label) != label:
            raise InputError(f"{where}: video '{video_id}' is '{label}' here and '{seen[video_id]}' above; keep one")
        lengths[video_id][label] += length
    if not lengths:
        raise InputError(f"{path}: no labels in it; leave dataset.labels out")
    names = {video: max(sorted(own), key=own.__getitem__) for video, own in sorted(lengths.items())}
    classes = sorted(set(names.values()))
    if len(classes) > clusters:
        raise InputError(f"{path}: {len(classes)} labels but only {clusters} clusters; raise clusters")
    return {
        "video_id": strings(names),
        "role": strings([IS] * len(names)),
        "cluster": np.array([classes.index(name) for name in names.values()], np.int32),
        "name": strings(names.values()),
    }


def _labels_whole_videos(path: str | Path) -> bool:
    """Whether a file is a CSV without times."""
    if Path(path).is_dir() or Path(path).suffix.lower() in (".eaf", ".tsv", ".json", ".boris"):
        return False
    head = read_text(path).partition("\n")[0].split(",")
    return not {"t_start", "t_end"} & {name.strip() for name in head}


def _rows(path: str | Path, whole: bool) -> list[tuple[str, tuple[str, ...], Any, float]]:
    if whole:
        rows = read_csv(path, ("video_id", "label"))
        return [(f"{path}, row {line}", (row["video_id"],), row["label"], 1.0) for line, row in rows]
    return [(s.where, s.names, s.label, _length(s.where, s.start, s.end)) for s in read_segments(path)]


def _length(where: str, start: Any, end: Any) -> float:
    try:
        length = float(end) - float(start)
    except (TypeError, ValueError, OverflowError):
        length = np.nan
    if not 0 < length < np.inf:
        raise InputError(f"{where}: from {start!r:.30} to {end!r:.30}; expected seconds with 0 <= start < end")
    return length
