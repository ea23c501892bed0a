"""Reads and checks segments in JSON files of ActivityNet's form, and computes the mAP of two such files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from feel_steps.dataset.annotations import match_ids
from feel_steps.dataset.files import join_halves, read_json
from feel_steps.errors import InputError
from feel_steps.evaluation.detection_map import TIOU, mean_average_precision
from feel_steps.tables.kinds import Columns

Rows = list[tuple[str, int, Any]]  # video, index in its list, and entry


def map_files(
    predictions: str | Path, annotations: str | Path, *, subset: str = "test", tiou: Sequence[float] = TIOU
) -> dict[str, Any]:
    """Compute the mAP of an ActivityNet-style prediction file against a ground-truth file.

    Parameters
    ----------
    predictions : path
        ``{"results": {video: [{"label", "score", "segment": [start, end]}, …]}}``. As in the evaluation kit,
        predictions in videos outside the subset are false positives. Labels without ground truth in the subset are
        ignored.
    annotations : path
        ``{"database": {video: {"subset", "annotations": [{"label", "segment"}, …]}}}``.
    subset : str
    tiou : sequence of float

    Returns
    -------
    dict
        ``tiou``, ``mAP`` (one number each), ``average``, ``per_class`` (label to average precision at each tIoU) and
        ``ignored``, the number of predictions whose label has no ground truth.
    """
    database = _load(annotations, "database")
    truth = _truth(annotations, database, subset)
    predicted = _matched(read_predictions(predictions), database, predictions, annotations)
    try:
        result = mean_average_precision(predicted, truth, tiou)
    except InputError as error:
        raise InputError(str(error).replace("predictions:", f"{predictions}:", 1)) from None
    return {
        "tiou": result.tiou.tolist(),
        "mAP": result.map.tolist(),
        "average": result.average,
        "per_class": dict(zip(result.labels, result.ap.tolist(), strict=True)),
        "ignored": result.ignored,
    }


def _truth(path: str | Path, database: dict[str, Any], subset: str) -> Columns:
    subsets = {str(_field(path, f"database.{video}", entry, "subset")) for video, entry in database.items()}
    if subset not in subsets:
        raise InputError(f"{path}: no video of subset '{subset}'; there are: {', '.join(sorted(subsets))}")
    rows = [
        (video, i, item)
        for video, entry in database.items()
        if entry["subset"] == subset
        for i, item in enumerate(_list(path, f"database.{video}.annotations", entry.get("annotations")))
    ]
    if not rows:
        raise InputError(f"{path}: no segment in subset '{subset}'; mAP needs ground truth")
    return _columns(path, "database.{}.annotations[{}]", rows)


def _matched(found: Columns, database: dict[str, Any], predictions: str | Path, annotations: str | Path) -> Columns:
    """Call the videos of predictions as the ground truth does, where ids differ by a suffix or a prefix."""
    find = match_ids(database)
    names = {name: find(name) for name in dict.fromkeys(found["video_id"].tolist())}
    other = [name for name, match in names.items() if match not in (None, name)]
    if other:
        print(
            f"note: {predictions}: {len(other)} ids differ from those of {annotations} by a suffix or the prefix v_ "
            f"('{other[0]}', for example), and were matched",
            file=sys.stderr,
        )
    if names and not any(names.values()):
        print(
            f"warning: {predictions}: none of its {len(names)} videos is in {annotations}; an id here is "
            f"'{next(iter(names))}', there '{next(iter(database))}'",
            file=sys.stderr,
        )
    ids = np.array([names[name] or name for name in found["video_id"].tolist()], object)
    return {**found, "video_id": ids}


def read_predictions(path: str | Path) -> Columns:
    """Read the segments of an ActivityNet-style prediction file."""
    position = "results.{}[{}]"
    rows = [
        (video, i, item)
        for video, items in _load(path, "results").items()
        for i, item in enumerate(_list(path, f"results.{video}", items))
    ]
    return {
        **_columns(path, position, rows),
        "score": _numbers(path, position, rows, _fields(path, position, rows, "score")),
    }


def _load(path: str | Path, key: str) -> dict[str, Any]:
    content = read_json(path)
    value = content.get(key) if isinstance(content, dict) else None
    if not isinstance(value, dict):
        raise InputError(
            f"{path}: key '{key}' is missing; expected {{'{key}': {{video: …}}}} as in ActivityNet's files"
        )
    return value


def _field(path: str | Path, where: str, item: Any, key: str) -> Any:
    if not isinstance(item, dict) or key not in item:
        raise InputError(f"{path}: {where}: '{key}' is missing")
    return item[key]


def _list(path: str | Path, where: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise InputError(f"{path}: {where}: {str(value)[:60]!r} is not a list of segments")
    return value


def _fields(path: str | Path, position: str, rows: Rows, key: str) -> list[Any]:
    try:
        return [item[key] for _, _, item in rows]
    except (KeyError, TypeError):
        return [
            _field(path, position.format(video, i), item, key) for video, i, item in rows
        ]  # the error names the row


def _numbers(path: str | Path, position: str, rows: Rows, values: list[Any]) -> np.ndarray:
    """Finite numbers [P]; strings with numbers are converted."""
    try:
        numbers = np.array(values, np.float64)
        if numbers.shape == (len(rows),) and np.isfinite(numbers).all():
            return numbers
    except (TypeError, ValueError, OverflowError):
        pass
    return np.array([_number(path, position.format(*row[:2]), value) for row, value in zip(rows, values, strict=True)])


def _number(path: str | Path, where: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{path}: {where}: {str(value)[:60]!r} is not a number") from None
    if not np.isfinite(number):
        raise InputError(f"{path}: {where}: {value!r} is not finite")
    return number


def _texts(path: str | Path, values: list[str]) -> np.ndarray:
    """Texts [P] of whole characters; each one is looked at once, as there may be millions of rows."""
    whole = {value: join_halves(value, path) for value in set(values)}
    return np.array([whole[value] for value in values], object)


def _columns(path: str | Path, position: str, rows: Rows) -> Columns:
    segments = _fields(path, position, rows, "segment")
    for (video, i, _), segment in zip(rows, segments, strict=True):
        if not isinstance(segment, list) or len(segment) != 2:
            raise InputError(
                f"{path}: {position.format(video, i)}: segment {segment!r}; expected [start, end] in seconds"
            )
    t_start, t_end = (_numbers(path, position, rows, [segment[side] for segment in segments]) for side in (0, 1))
    if (wrong := t_end < t_start).any():
        row = int(np.argmax(wrong))
        where = position.format(*rows[row][:2])
        raise InputError(f"{path}: {where}: segment {segments[row]!r} ends before it starts")
    return {
        "video_id": _texts(path, [video for video, _, _ in rows]),
        "label": _texts(path, [str(label) for label in _fields(path, position, rows, "label")]),
        "t_start": t_start,
        "t_end": t_end,
    }
