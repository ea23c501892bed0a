"""Writes segments for annotation tools: ELAN, BORIS and Label Studio. The annotation reader reads all of them back."""

from __future__ import annotations

import csv
import io
import json
import mimetypes
import os
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from feel_steps import __version__
from feel_steps.dataset.files import identifier
from feel_steps.errors import InputError
from feel_steps.tables.kinds import Columns
from feel_steps.tables.tables import write_text

Rows = list[dict[str, Any]]  # segments of one video: label, score, t_start, t_end
SCHEMA = "{http://www.w3.org/2001/XMLSchema-instance}noNamespaceSchemaLocation"
DATE = "1970-01-01T00:00:00"  # the tools want one; the time of writing would give other bytes each time


def write_elan(by_video: Mapping[str, Rows], videos: Columns, out: Path) -> None:
    """One ``{video_id}.eaf`` per video (EAF 3.0), with a tier per label; times in milliseconds, no scores."""
    paths = dict(zip(videos["video_id"], videos["path"], strict=True))
    for video_id, rows in by_video.items():
        file = out / f"{identifier(video_id, 'videos table')}.eaf"
        write_text(file, _elan_document(_apart(rows, video_id, "ELAN"), paths[video_id], file))


def write_boris(by_video: Mapping[str, Rows], videos: Columns, out: Path) -> None:
    """A project (``.boris``) with an observation per video and a state behaviour per label."""
    labels = sorted({row["label"] for rows in by_video.values() for row in rows})
    behaviours = {
        str(i): {"type": "State event", "key": "", "code": label, "description": "", "color": "", "category": ""}
        | {"modifiers": "", "excluded": "", "coding map": ""}
        for i, label in enumerate(labels)
    }
    project = {
        "time_format": "hh:mm:ss",
        "project_date": DATE,
        "project_name": f"feel-steps {__version__}",
        "project_description": "",
        "project_format_version": "7.0",
        "subjects_conf": {},
        "behaviors_conf": behaviours,
        "observations": {
            video_id: _boris_observation(_apart(rows, video_id, "BORIS"), *known)
            for (video_id, rows), known in zip(by_video.items(), _media(videos), strict=True)
        },
        "behavioral_categories": [],
        "independent_variables": {},
        "coding_map": {},
        "converters": {},
    }
    write_text(out, json.dumps(project, ensure_ascii=False, indent=1))


def write_boris_table(by_video: Mapping[str, Rows], videos: Columns, out: Path) -> None:
    """Tabular events as BORIS exports them: a row for each START and each STOP, in order of time."""
    text = io.StringIO()
    table = csv.writer(text, delimiter="\t", lineterminator="\n")
    table.writerow(["Observation id", "Media duration (s)", "Media file name", "Subject", "Behavior"]
                   + ["Behavior type", "Time"])  # fmt: skip
    for (video_id, rows), (path, duration, _) in zip(by_video.items(), _media(videos), strict=True):
        for time, label, kind in _events(_apart(rows, video_id, "BORIS")):
            table.writerow([video_id, duration, path or "", "", label, kind, time])
    write_text(out, text.getvalue())


def write_label_studio(by_video: Mapping[str, Rows], videos: Columns, out: Path) -> None:
    """Tasks with predictions on the video's timeline; times in frames of ``data.fps``, counted from 1.

    The labelling config is ``<TimelineLabels name="moments" toName="video">`` beside ``<Video name="video"
    value="$video" frameRate="$fps"/>``.
    """
    tasks = []
    for (video_id, rows), (path, _, fps) in zip(by_video.items(), _media(videos), strict=True):
        results = [_label_studio_result(i, row, fps) for i, row in enumerate(rows)]
        prediction = {"model_version": f"feel-steps {__version__}", "result": results}
        data = {"video": path or video_id, "video_id": video_id, "fps": fps}
        tasks.append({"data": data, "predictions": [prediction]})
    write_text(out, json.dumps(tasks, ensure_ascii=False, indent=1))


def _elan_document(rows: Rows, path: str | None, file: Path) -> str:
    root = ET.Element("ANNOTATION_DOCUMENT", AUTHOR=f"feel-steps {__version__}", DATE=f"{DATE}+00:00")
    root.attrib |= {"FORMAT": "3.0", "VERSION": "3.0", SCHEMA: "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"}
    header = ET.SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    if path:
        kind = mimetypes.guess_type(path)[0] or "video/mp4"
        relative = os.path.relpath(path, file.parent).replace(os.sep, "/")
        media = {"MEDIA_URL": Path(os.path.abspath(path)).as_uri(), "RELATIVE_MEDIA_URL": relative, "MIME_TYPE": kind}
        ET.SubElement(header, "MEDIA_DESCRIPTOR", media)
    order = ET.SubElement(root, "TIME_ORDER")
    times = [round(row[key] * 1000) for row in rows for key in ("t_start", "t_end")]
    slot = {}  # of each end of a segment; slots stand in order of time
    for number, index in enumerate(sorted(range(len(times)), key=times.__getitem__), 1):
        slot[index] = f"ts{number}"
        ET.SubElement(order, "TIME_SLOT", TIME_SLOT_ID=slot[index], TIME_VALUE=str(times[index]))
    tiers: dict[str, ET.Element] = {}
    for i, row in enumerate(rows):
        label = _printable(row["label"])
        if label not in tiers:
            tiers[label] = ET.SubElement(root, "TIER", LINGUISTIC_TYPE_REF="moment", TIER_ID=label)
        annotation = ET.SubElement(ET.SubElement(tiers[label], "ANNOTATION"), "ALIGNABLE_ANNOTATION")
        annotation.attrib |= {"ANNOTATION_ID": f"a{i + 1}", "TIME_SLOT_REF1": slot[2 * i]}
        annotation.attrib |= {"TIME_SLOT_REF2": slot[2 * i + 1]}
        ET.SubElement(annotation, "ANNOTATION_VALUE").text = label
    linguistic = {"GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": "moment", "TIME_ALIGNABLE": "true"}
    ET.SubElement(root, "LINGUISTIC_TYPE", linguistic)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _printable(text: str) -> str:
    """Text without the characters that XML cannot hold."""
    return "".join(
        c if c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff" else " " for c in text
    )


def _boris_observation(rows: Rows, path: str | None, duration: float, fps: float) -> dict[str, Any]:
    media = [path] if path else []
    files = {str(player): media if player == 1 else [] for player in range(1, 9)}
    known = {"length": duration, "fps": fps, "hasVideo": True, "hasAudio": False}
    return {
        "file": files,
        "type": "MEDIA",
        "date": DATE,
        "description": "",
        "time offset": 0.0,
        "events": [[time, "", label, "", ""] for time, label, _ in _events(rows)],
        "observation time interval": [0, 0],
        "independent_variables": {},
        "visualize_spectrogram": False,
        "visualize_waveform": False,
        "close_behaviors_between_videos": False,
        "media_info": {name: dict.fromkeys(media, value) for name, value in known.items()},
    }


def _label_studio_result(number: int, row: dict[str, Any], fps: float) -> dict[str, Any]:
    start = round(row["t_start"] * fps) + 1
    piece = {"start": start, "end": max(start, round(row["t_end"] * fps))}
    return {
        "id": f"moment{number + 1}",
        "type": "timelinelabels",
        "from_name": "moments",
        "to_name": "video",
        "score": row["score"],
        "value": {"ranges": [piece], "timelinelabels": [row["label"]]},
    }


def _media(videos: Columns) -> Iterator[tuple[str | None, float, float]]:
    """Path, length in seconds and frames per second of each video; where there is no file, those of its features."""
    columns = (videos[name].tolist() for name in ("path", "duration", "fps", "n_frames"))
    for path, duration, fps, frames in zip(*columns, strict=True):
        rate = round(frames / duration, 3) if path and frames > 0 else fps
        yield os.path.abspath(path) if path else None, duration, rate


def _events(rows: Rows) -> list[tuple[float, str, str]]:
    """Starts and stops as (time, label, kind), in order of time; of one label, a stop comes before the next start."""
    events = [(row["t_start"], 1, row["label"], "START") for row in rows]
    events += [(row["t_end"], 0, row["label"], "STOP") for row in rows]
    return [(time, label, kind) for time, _, label, kind in sorted(events)]


def _apart(rows: Rows, video_id: str, tool: str) -> Rows:
    """Segments in order of time, of which no two with the same label overlap: such tools cannot hold them."""
    rows = sorted(rows, key=lambda row: (row["label"], row["t_start"], row["t_end"]))
    for one, two in pairwise(rows):
        if one["label"] == two["label"] and two["t_start"] < one["t_end"]:
            raise InputError(
                f"video '{video_id}': segments of '{one['label']}' overlap at {two['t_start']:.2f} s, which {tool} "
                "cannot hold; export moments, not all detections, and give each cluster a name of its own"
            )
    return sorted(rows, key=lambda row: (row["t_start"], row["t_end"]))
