"""The videos of a data set: rows of its manifest, their splits, and how they are spread over parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from feel_steps.dataset.files import identifier, read_csv
from feel_steps.errors import InputError
from feel_steps.tables.kinds import Columns

SPLITS = ("train", "test")


def split_rows(path: str | Path) -> Iterator[tuple[int, str, str]]:
    """Number, video id and split of each row of a CSV with the columns video_id and split, checked by themselves."""
    for line, row in read_csv(path, ("video_id", "split")):
        if row["split"] not in SPLITS:
            raise InputError(f"{path}, row {line}: split is '{row['split']}'; expected train or test")
        yield line, identifier(row["video_id"], f"{path}, row {line}"), row["split"]


@dataclass(frozen=True)
class Video:
    """One row of a manifest; ``path`` is None for features in CoLA's folders, ``n_frames`` -1 where it is unknown."""

    video_id: str
    split: str
    path: str | None
    n_frames: int
    duration: float


def videos_of(manifest: Columns, part: int) -> list[Video]:
    """Videos of one part, in the manifest's order."""
    columns = (manifest[name].tolist() for name in ("video_id", "split", "path", "n_frames", "duration", "part"))
    return [Video(*row[:-1]) for row in zip(*columns, strict=True) if row[-1] == part]


def expected_snippets(duration: float | np.ndarray, fps: float, window: int, stride: int) -> np.ndarray:
    """Snippets that fit in so many seconds."""
    return (np.round(np.asarray(duration) * fps).astype(int) - window) // stride + 1


def fits(
    T: int | np.ndarray, duration: float | np.ndarray, fps: float, window: int, stride: int, *, padded: bool = False
) -> np.ndarray:
    """Tell whether videos of so many seconds can have T snippets.

    A frame more or less, by rounding, may be a snippet more or less. Of features that others made the last window may
    be ``padded``, and another program may count one per cent more or fewer frames.
    """
    T, frames = np.asarray(T), np.round(np.asarray(duration) * fps)
    fewest = most = expected_snippets(duration, fps, window, stride)
    slack: float | np.ndarray = 1
    if padded:
        most, slack = np.maximum(fewest, np.ceil(frames / stride)), np.maximum(1, 0.01 * T)
    return (fewest - slack <= T) & (most + slack >= T)


def balance(duration: np.ndarray, parts: int) -> np.ndarray:
    """Spread videos over parts of about the same duration: the longest first, each to the shortest part.

    Parameters
    ----------
    duration : float64 [N]
    parts : int

    Returns
    -------
    int32 [N]
    """
    part = np.zeros(len(duration), np.int32)
    load = np.zeros(parts)
    for video in np.argsort(-duration, kind="stable"):
        part[video] = load.argmin()
        load[part[video]] += duration[video]
    return part


def require_videos(split: np.ndarray, where: str, skipped: Mapping[str, str] | None = None) -> None:
    """Refuse a data set that has nothing to cluster; ``skipped`` maps the videos that were left out to the reasons.

    One recording is enough where its parts are clustered.
    """
    if not (split == "train").any():
        note = ", {} skipped ('{}': {})".format(len(skipped), *next(iter(skipped.items()))) if skipped else ""
        raise InputError(f"{where}: no usable training video{note}")


def strings(values: Iterable[str]) -> np.ndarray:
    """A string column of a table."""
    return np.array(list(values), dtype=object)
