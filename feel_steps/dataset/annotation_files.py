"""Reads segments from the files of annotation tools: ActivityNet's JSON, CSV, ELAN, BORIS and Label Studio."""

from __future__ import annotations

import math
import os
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from feel_steps.dataset.files import join_halves, read_csv, read_json, read_rows, read_text
from feel_steps.errors import InputError, explain


class Segment(NamedTuple):
    """One segment as a file has it: where it stands, ids that the video may have, label, start and end in seconds.

    The label is None where somebody marked a region and forgot its label.
    """

    where: str
    names: tuple[str, ...]
    label: Any
    start: Any
    end: Any


Segments = Iterator[Segment]


def list_annotation_files(path: str | Path | None) -> list[str]:
    """The file itself, or all ELAN files in a folder and its sub-folders, sorted."""
    if path is None:
        return []
    if not os.path.isdir(path):
        return [str(path)]
    files = sorted(str(file) for file in Path(path).rglob("*.eaf") if not file.name.startswith("."))
    if not files:
        raise InputError(f"{path}: no .eaf file in this folder; give a file of annotations, or a folder of ELAN files")
    if braces := [file for file in files if {"{", "}"} & set(file)]:
        raise InputError(f"{braces[0]}: braces in the name, which Snakemake cannot take; rename the file")
    return files


def read_segments(path: str | Path | None) -> Segments:
    """Read the segments of a file, in its order; the suffix says its format.

    Parameters
    ----------
    path : path or None
        ``.json``: ActivityNet, a BORIS project or Label Studio. ``.boris``: a BORIS project. ``.tsv``: a table of
        events from BORIS. ``.eaf``, or a folder of them: ELAN. Anything else is CSV. None: no segments.

    Raises
    ------
    InputError
        The file has another form.
    """
    for segment in _read_files(path):
        names = tuple(join_halves(name, segment.where) for name in segment.names)
        label = join_halves(segment.label, segment.where) if isinstance(segment.label, str) else segment.label
        yield segment._replace(names=names, label=label)


def _read_files(path: str | Path | None) -> Segments:
    for file in list_annotation_files(path):
        suffix = Path(file).suffix.lower()
        if suffix == ".eaf":
            yield from _read_elan(file, str(path) if os.path.isdir(str(path)) else os.path.dirname(file))
        elif suffix == ".tsv":
            yield from _read_boris_table(file)
        elif suffix in (".json", ".boris"):
            yield from _read_json(file)
        else:
            for line, row in read_csv(file, ("video_id", "label", "t_start", "t_end")):
                yield Segment(f"{file}, row {line}", (row["video_id"],), row["label"], row["t_start"], row["t_end"])


def _read_json(path: str) -> Segments:
    """Tell three formats apart by their outermost keys."""
    content = read_json(path)
    if isinstance(content, list) and content:
        return _read_label_studio(path, content)
    if isinstance(content, dict) and isinstance(content.get("observations"), dict):
        return _read_boris(path, content)
    return _read_activitynet(path, content)


def _check(path: str, content: Any, schema: dict[str, Any]) -> None:
    """Refuse content of another form than the schema's."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    if violation := best_match(Draft202012Validator(schema).iter_errors(content)):
        raise InputError(f"{path}: {explain(violation)}")


# ---- ActivityNet


def _read_activitynet(path: str, content: Any) -> Segments:
    try:
        database = content["database"]
    except (KeyError, TypeError):
        if isinstance(content, dict) and "results" in content:
            raise InputError(
                f"{path}: detections in ActivityNet's form ('results'), not annotations ('database'); export csv, "
                "elan, boris or labelstudio, which can come back"
            ) from None
        raise InputError(
            f"{path}: the key 'database' is missing; expected ActivityNet's form, a BORIS project or Label Studio's"
        ) from None
    if not isinstance(database, dict):
        raise InputError(
            f"{path}: 'database' is a {type(database).__name__}; expected an object with one key per video"
        )
    for video_id, video in database.items():
        where = f"{path}, database['{video_id}']"
        annotations = video.get("annotations") if isinstance(video, dict) else None
        if not isinstance(annotations, list):
            raise InputError(f"{where}: the list 'annotations' is missing; give [] where there is none")
        for i, annotation in enumerate(annotations):
            here = f"{where}.annotations[{i}]"
            if not isinstance(annotation, dict) or "segment" not in annotation or annotation.get("label") is None:
                raise InputError(f"{here}: expected an object with the keys 'segment' and 'label'")
            segment = annotation["segment"]
            if not isinstance(segment, list) or len(segment) != 2:
                raise InputError(f"{here}: segment is {segment!r}; expected [start, end] in seconds")
            yield Segment(here, (video_id,), annotation["label"], *segment)


# ---- ELAN


def _read_elan(path: str, folder: str) -> Segments:
    """Time-aligned annotations of all tiers; the label is the value, or the tier's name where the value is empty."""
    root = _parse_xml(path)
    if root.tag != "ANNOTATION_DOCUMENT":
        raise InputError(f"{path}: its root element is {root.tag}; expected ANNOTATION_DOCUMENT, as ELAN writes it")
    names = (os.path.splitext(os.path.relpath(path, folder or "."))[0].replace(os.sep, "/"),)
    slots = {slot.get("TIME_SLOT_ID"): slot.get("TIME_VALUE") for slot in root.iter("TIME_SLOT")}
    for tier in root.iter("TIER"):
        for annotation in tier.iter("ALIGNABLE_ANNOTATION"):
            where = f"{path}, annotation {annotation.get('ANNOTATION_ID')}"
            label = (annotation.findtext("ANNOTATION_VALUE") or "").strip() or tier.get("TIER_ID")
            times = [slots.get(annotation.get(f"TIME_SLOT_REF{i}")) for i in (1, 2)]
            try:
                start, end = (int(time) / 1000 for time in times)  # type: ignore[arg-type]
            except (TypeError, ValueError, OverflowError):
                raise InputError(f"{where}: it has no time; align it in ELAN") from None
            yield Segment(where, names, label, start, end)


def _parse_xml(path: str) -> ET.Element:
    """Parse XML that declares no document type: entities of its own could blow up, or name other files."""
    text = read_text(path)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise InputError(f"{path}: it declares a document type, as ELAN never does; save it again in ELAN")
    try:
        return ET.fromstring(text)  # noqa: S314 - without a document type there are no entities
    except ET.ParseError as error:
        raise InputError(f"{path}: not valid XML ({error}); save it again in ELAN") from None


# ---- BORIS

_PROJECT: dict[str, Any] = {
    "properties": {
        "behaviors_conf": {
            "type": ["object", "null"],
            "explain": "behaviours, as BORIS saves them",
            "additionalProperties": {
                "type": "object",
                "explain": "a behaviour, with its code and its type",
                "properties": {"code": {"type": "string", "explain": "the name of a behaviour"}},
            },
        },
        "observations": {
            "additionalProperties": {
                "type": "object",
                "required": ["events"],
                "explain": "an observation, with its file and its events",
                "properties": {
                    "file": {
                        "type": ["object", "array", "null"],
                        "maxItems": 0,  # of a live observation
                        "explain": "media files of each player",
                        "additionalProperties": {
                            "type": ["array", "null"],
                            "items": {"type": "string", "explain": "the path of a media file"},
                            "explain": "a list of media files",
                        },
                    },
                    "events": {
                        "type": "array",
                        "explain": "a list of events",
                        "items": {
                            "type": "array",
                            "minItems": 3,
                            "prefixItems": [{}, {}, {"type": "string", "explain": "the name of a behaviour"}],
                            "explain": "[time, subject, behaviour, …]",
                        },
                    },
                },
            },
        },
    },
}


class _Event(NamedTuple):
    where: str
    names: tuple[str, ...]
    series: tuple[str, ...]  # observation, subject, behaviour and modifiers: START and STOP of one series alternate
    label: str
    time: Any
    kind: str  # START, STOP or POINT


def _pair(events: Iterator[_Event]) -> Segments:
    """Make segments of starts and stops; a point event is a segment without length."""
    begun: dict[tuple[str, ...], _Event] = {}
    for event in events:
        if event.kind == "POINT":
            yield Segment(event.where, event.names, event.label, event.time, event.time)
        elif event.kind == "START" and event.series not in begun:
            begun[event.series] = event
        elif event.kind == "STOP" and event.series in begun:
            first = begun.pop(event.series)
            yield Segment(first.where, first.names, first.label, first.time, event.time)
        else:
            twice = "starts again before it stops" if event.kind == "START" else "stops before it starts"
            raise InputError(f"{event.where}: '{event.label}' {twice}; correct the observation in BORIS")
    for event in begun.values():
        raise InputError(f"{event.where}: '{event.label}' never stops; correct the observation in BORIS")


def _read_boris(path: str, project: dict[str, Any]) -> Segments:
    """State events of all observations; each is of the video of its name, or of its first media file."""
    _check(path, project, _PROJECT)
    behaviours = (project.get("behaviors_conf") or {}).values()
    states = {row.get("code") for row in behaviours if "state" in str(row.get("type", "")).lower()}

    def events() -> Iterator[_Event]:
        for name, observation in project["observations"].items():
            where = f"{path}, observation '{name}'"
            media = [file for files in (observation.get("file") or {}).values() for file in files or ()]
            names = (name, *_media_names(media[0] if media else ""))
            running: set[tuple[str, ...]] = set()
            for i, row in enumerate(observation["events"]):
                series = (name, *(str(cell) for cell in row[1:4]))
                kind = ("STOP" if series in running else "START") if row[2] in states else "POINT"
                running ^= {series} if kind != "POINT" else set()
                yield _Event(f"{where}, event {i + 1}", names, series, row[2], row[0], kind)

    return _pair(events())


def _read_boris_table(path: str) -> Segments:
    """Events as BORIS exports them, tabular (a row a start or a stop) or aggregated (a row a segment)."""
    rows = read_rows(path, "\t")
    columns = next((cells for _, cells in rows if "Behavior" in cells), [])
    kind = next((name for name in ("Behavior type", "Status") if name in columns), "")
    needed = ["Start (s)", "Stop (s)"] if "Start (s)" in columns else ["Time", kind or "Behavior type"]
    needed = ["Behavior", "Observation id", *needed]
    if missing := [name for name in needed if name not in columns]:
        raise InputError(f"{path}: no column '{missing[0]}'; export events from BORIS as tabular or aggregated TSV")

    def table() -> Iterator[tuple[str, tuple[str, ...], dict[str, str]]]:
        for number, cells in rows:
            row = dict(zip(columns, cells, strict=False))  # an editor may have cut empty cells off the end
            if not row.keys() >= set(needed) or any(cells[len(columns) :]):
                raise InputError(
                    f"{path}, row {number}: {len(cells)} values; expected {len(columns)}, with tabs between"
                )
            media = row.get("Media file name") or row.get("Media file path") or ""
            yield f"{path}, row {number}", (row["Observation id"], *_media_names(media)), row

    if "Start (s)" in columns:
        return (Segment(at, names, row["Behavior"], row["Start (s)"], row["Stop (s)"]) for at, names, row in table())

    def events() -> Iterator[_Event]:
        modifiers = [name for name in columns if name.startswith("Modifier")]
        for at, names, row in table():
            series = tuple(row.get(name, "") for name in ("Observation id", "Subject", "Behavior", *modifiers))
            what = row[kind].strip().upper()
            if what not in ("START", "STOP", "POINT"):
                raise InputError(f"{at}: {kind} is '{row[kind]}'; expected START, STOP or POINT")
            yield _Event(at, names, series, row["Behavior"], row["Time"], what)

    return _pair(events())


# ---- Label Studio

_FRAME = {"type": "number", "minimum": -(2**53), "maximum": 2**53, "explain": "the number of a frame"}
_LABELS = {"type": ["array", "null"], "explain": "a list of labels"}
_RESULTS: dict[str, Any] = {
    "type": ["array", "null"],
    "explain": "a list of annotations",
    "items": {
        "type": "object",
        "explain": "an annotation, with its result",
        "properties": {
            "result": {
                "type": ["array", "null"],
                "explain": "a list of regions",
                "items": {
                    "type": "object",
                    "explain": "a region, with its type and value",
                    "properties": {
                        "value": {
                            "type": ["object", "null"],
                            "explain": "ranges and labels",
                            "properties": {
                                "ranges": {
                                    "type": ["array", "null"],
                                    "explain": "a list of ranges of frames",
                                    "items": {
                                        "type": "object",
                                        "required": ["start", "end"],
                                        "explain": "{start: frame, end: frame}",
                                        "properties": {"start": _FRAME, "end": _FRAME},
                                    },
                                },
                                "timelinelabels": _LABELS,
                                "labels": _LABELS,
                            },
                        }
                    },
                },
            }
        },
    },
}
_TASKS: dict[str, Any] = {
    "items": {
        "type": "object",
        "required": ["data"],
        "explain": "a task; export JSON from Label Studio",
        "properties": {
            "data": {"type": "object", "explain": "an object with the task's video"},
            "annotations": _RESULTS,
            "predictions": {**_RESULTS, "items": {**_RESULTS["items"], "type": ["object", "integer"]}},
        },
    }
}


def _read_label_studio(path: str, tasks: list[Any]) -> Segments:
    """Labels on the timeline of each task's video: of its annotations or, where nobody made any, of its predictions."""
    _check(path, tasks, _TASKS)
    for i, task in enumerate(tasks):
        where, data = f"{path}, [{i}]", task["data"]
        names = tuple(str(data[key]) for key in ("video_id",) if data.get(key))
        names += _media_names(str(data.get("video") or ""))
        made = [one for one in task.get("annotations") or () if not one.get("was_cancelled")]
        guessed = [one for one in task.get("predictions") or () if isinstance(one, dict)]  # an export may have only ids
        for one in made or guessed:
            for number, result in enumerate(one.get("result") or ()):
                here, value = f"{where}, result {number + 1}", result.get("value") or {}
                if result.get("type") == "timelinelabels":
                    fps = _frame_rate(data, here)
                    for piece in value.get("ranges") or ():
                        start, end = (piece["start"] - 1) / fps, piece["end"] / fps  # frames count from 1
                        labels = value.get("timelinelabels") or [None]
                        yield from (Segment(here, names, label, start, end) for label in labels)
                elif result.get("type") == "labels":
                    labels = value.get("labels") or [None]
                    yield from (Segment(here, names, label, value.get("start"), value.get("end")) for label in labels)


def _frame_rate(data: dict[str, Any], where: str) -> float:
    try:
        fps = float(data["fps"])
    except (KeyError, TypeError, ValueError, OverflowError):
        fps = 0.0
    if not 0 < fps < math.inf:
        raise InputError(f"{where}: its frames have no rate; add 'fps' to the data of the task")
    return fps


def _media_names(file: str) -> tuple[str, ...]:
    """Ids that the video of a media file may have: its path and ever shorter ends of it, without the suffix."""
    parts = [part for part in os.path.splitext(file.replace("\\", "/"))[0].split("/") if part not in ("", ".")]
    return tuple("/".join(parts[i:]) for i in range(len(parts)))


def first_known(names: tuple[str, ...], find: Callable[[str], str | None]) -> str:
    """The first of some ids that a data set has; the first of all if it has none."""
    return next((name for name in names if find(name) is not None), names[0] if names else "")
