"""The snippet features of many videos as one contiguous matrix."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np

from feel_steps.errors import InputError
from feel_steps.tables import tables
from feel_steps.tables.kinds import Columns
from feel_steps.tables.tables import runs


@dataclass(frozen=True)
class Snippets:
    """Snippet features of N videos, S snippets in all.

    Attributes
    ----------
    video_ids : list of str, [N]
    features : float32 [S, D]
        Video i's are the rows ``offsets[i]:offsets[i + 1]``, in time order.
    offsets : int64 [N + 1]
    """

    video_ids: list[str]
    features: np.ndarray
    offsets: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Snippets of each video, int64 [N]."""
        return np.diff(self.offsets)

    def video(self, index: int) -> np.ndarray:
        """Features of one video, [T, D] (a view)."""
        return self.features[self.offsets[index] : self.offsets[index + 1]]


def load_snippets(videos: Columns, folder: str | Path, split: str | None = None) -> Snippets:
    """Load the features of the videos of one split (or of all), in the order of the videos table.

    Parameters
    ----------
    videos : columns of a videos table
    folder : path
        Where the feature parts lie (the table's column ``part`` names them).
    split : {"train", "test"}, optional

    Raises
    ------
    InputError
        A part is missing or damaged, or does not hold the snippets that the videos table says.
    """
    wanted = np.ones(len(videos["video_id"]), bool) if split is None else videos["split"] == split
    video_ids: list[str] = videos["video_id"][wanted].tolist()
    lengths = videos["n_snippets"][wanted].astype(np.int64)
    parts = videos["part"][wanted]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    place = {video_id: index for index, video_id in enumerate(video_ids)}
    features: np.ndarray | None = None
    filled = np.zeros_like(lengths)
    for part in sorted(set(parts)):
        path = part_path(folder, part)
        for table in tables.stream(path, "features"):
            vectors = table["feature"]
            if features is None:
                features = np.empty((offsets[-1], vectors.shape[1]), np.float32)
            if vectors.shape[1] != features.shape[1]:
                raise InputError(
                    f"{path}: features of dimension {vectors.shape[1]}, but {features.shape[1]} in other parts; "
                    "extract all videos with one extractor"
                )
            for video_id, start, stop in runs(table["video_id"]):
                if (index := place.get(video_id)) is None:
                    continue
                begin = offsets[index] + filled[index]
                filled[index] += stop - start
                if filled[index] <= lengths[index]:
                    features[begin : begin + stop - start] = vectors[start:stop]
        for index in np.flatnonzero((parts == part) & (filled != lengths)).tolist():
            raise InputError(
                f"{path}: video '{video_ids[index]}' has {filled[index]} snippets, the videos table says "
                f"{lengths[index]}; extract this part again, then run the index step"
            )
    if features is None:
        features = np.zeros((0, 1), np.float32)
    return Snippets(video_ids, features, offsets)


def part_path(folder: str | Path, part: str) -> Path:
    """Where a feature part lies; its name must not lead out of the folder."""
    if PurePath(part).name != part or part == "..":
        raise InputError(f"videos table: column 'part' is '{part}'; expected the name of a file in {folder}")
    return Path(folder) / part
