"""Exports moments and detections in formats of other tools: JSON, CSV, subtitles, FiftyOne, annotation tools."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from feel_steps import __version__
from feel_steps.dataset.files import identifier
from feel_steps.errors import InputError
from feel_steps.explore.annotation_tools import Rows, write_boris, write_boris_table, write_elan, write_label_studio
from feel_steps.explore.moments import one_at_a_time
from feel_steps.tables.folders import check_out
from feel_steps.tables.kinds import Columns
from feel_steps.tables.tables import write_text

Frame = pd.DataFrame  # rows of detections: video_id, label, score, t_start, t_end
NO_FILE = "its file is not known, but FiftyOne needs one; export another form"


def export(
    detections: Columns, videos: Columns, out: str | Path, *, form: str, names: Mapping[int, str] | None = None
) -> None:
    """Write detections, or moments as such, in the format of another tool.

    Parameters
    ----------
    detections : columns of a detections table
        Of moments: :func:`feel_steps.explore.moments.as_detections`.
    videos : columns of a videos table
        The export contains every video, also those without detections, except for csv, which has a row per detection.
    out : path
        The file to write; a folder for ``vtt``, ``elan`` and ``fiftyone``.
    form : {"activitynet", "csv", "vtt", "fiftyone", "elan", "boris", "boris-tsv", "labelstudio"}
        ``activitynet``: ``{"results": {video: [{"label", "score", "segment": [start, end]}]}}``, seconds. ``csv``:
        video_id, label, score, t_start, t_end. ``vtt``: a subtitle file per video, ``{video_id}.vtt``, sorted by time,
        one subtitle at a time (:func:`feel_steps.explore.moments.one_at_a_time`).
        ``fiftyone``: a FiftyOneTemporalDetectionDataset of ``labels.json`` and ``data.json`` (paths of the videos).
        FiftyOne imports it by ``Dataset.from_dir`` with ``data_path="data.json"``. Videos are not copied.
        The others are for annotation tools, see :mod:`feel_steps.explore.annotation_tools`.
    names : mapping of int to str, optional
        Names of clusters. A cluster without a name is written as ``cluster-{number}``.

    Raises
    ------
    InputError
        The form is unknown, ``out`` is a folder where it has to be a file or the reverse, a detection's video is not in
        the videos table, or (fiftyone) a video has no file.
    """
    if form not in FORMS:
        raise InputError(f"form: '{form}' is unknown; expected {', '.join(FORMS)}")
    unknown = ~pd.Index(detections["video_id"]).isin(videos["video_id"])
    if unknown.any():
        raise InputError(
            f"detections table: video '{detections['video_id'][unknown.argmax()]}' is not in the videos table; "
            "export the detections of the same run"
        )
    if form in FOLDERS:
        check_out(Path(out))
    elif Path(out).is_dir():
        raise InputError(f"{out}: a folder; --out has to be a file for --form {form}")
    names = names or {}
    if form == "vtt":
        detections = one_at_a_time(detections)
    frame = pd.DataFrame({name: detections[name] for name in ("video_id", "cluster", "score", "t_start", "t_end")})
    frame.insert(1, "label", frame.pop("cluster").map(lambda cluster: names.get(cluster, f"cluster-{cluster}")))
    FORMS[form](frame, videos, Path(out))


def _by_video(frame: Frame, videos: Columns) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield each video, in the order of the table, with its detections."""
    rows: dict[str, list[dict[str, Any]]] = {video_id: [] for video_id in videos["video_id"]}
    for row in frame.to_dict("records"):
        rows[row["video_id"]].append({str(name): value for name, value in row.items()})
    yield from rows.items()


def _activitynet(frame: Frame, videos: Columns, out: Path) -> None:
    results = {
        video_id: [
            {"label": row["label"], "score": row["score"], "segment": [row["t_start"], row["t_end"]]} for row in rows
        ]
        for video_id, rows in _by_video(frame, videos)
    }
    version = f"feel-steps {__version__}"
    write_text(
        out, json.dumps({"version": version, "results": results, "external_data": {}}, ensure_ascii=False, indent=1)
    )


def _csv(frame: Frame, videos: Columns, out: Path) -> None:
    write_text(out, frame.to_csv(index=False, lineterminator="\n"))


def _vtt(frame: Frame, videos: Columns, out: Path) -> None:
    for video_id, rows in _by_video(frame.sort_values(["t_start", "t_end"], kind="stable"), videos):
        cues = [
            f"{_clock(row['t_start'])} --> {_clock(row['t_end'])}\n{_escaped(row['label'])} {row['score']:.3f}\n"
            for row in rows
        ]
        write_text(out / f"{identifier(video_id, 'videos table')}.vtt", "\n".join(["WEBVTT\n", *cues]))


def _fiftyone(frame: Frame, videos: Columns, out: Path) -> None:
    lost = pd.isna(pd.Series(videos["path"], dtype=object)).to_numpy()
    if lost.any():
        raise InputError(f"videos table: video '{videos['video_id'][lost.argmax()]}': {NO_FILE}")
    paths = {video_id: os.path.abspath(path) for video_id, path in zip(videos["video_id"], videos["path"], strict=True)}
    labels = {
        video_id: [
            {"label": row["label"], "timestamps": [row["t_start"], row["t_end"]], "confidence": row["score"]}
            for row in rows
        ]
        or None  # FiftyOne's value for a video without labels
        for video_id, rows in _by_video(frame, videos)
    }
    write_text(out / "data.json", json.dumps(paths, ensure_ascii=False, indent=1))
    write_text(out / "labels.json", json.dumps({"labels": labels}, ensure_ascii=False, indent=1))


def _clock(seconds: float) -> str:
    """Format a time for WebVTT: hours:minutes:seconds.milliseconds."""
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def _escaped(text: str) -> str:
    """Escape the markup of a cue, and put the text on one line."""
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").split())


def _for(write: Callable[[Mapping[str, Rows], Columns, Path], None]) -> Callable[[Frame, Columns, Path], None]:
    """Give an annotation tool's writer the segments of each video."""
    return lambda frame, videos, out: write(dict(_by_video(frame, videos)), videos, out)


FOLDERS = ("vtt", "fiftyone", "elan")  # forms of several files
FORMS: dict[str, Callable[[Frame, Columns, Path], None]] = {
    "activitynet": _activitynet,
    "csv": _csv,
    "vtt": _vtt,
    "fiftyone": _fiftyone,
    "elan": _for(write_elan),
    "boris": _for(write_boris),
    "boris-tsv": _for(write_boris_table),
    "labelstudio": _for(write_label_studio),
}
