"""The snippet features of many videos: one matrix in memory or, if it would be large, rows that are read when needed.

One format serves both: the parts, with a row group for each video. A second copy, mapped into memory, would be read
ten times as fast, but takes the disk twice, and nothing would check its bytes (docs/explanation/scale.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath

import numpy as np

from feel_steps.errors import InputError
from feel_steps.tables import provenance, tables
from feel_steps.tables.kinds import Columns
from feel_steps.tables.tables import runs

HELD = 64 * 2**20  # bytes of features that are loaded at once
BLOCK = 16 * 2**20  # bytes of those that are not, in memory together
OPEN = 32  # parts that are open at once


class Stored:
    """Features in their parts: rows of a matrix [S, D], read when they are asked for.

    Parameters
    ----------
    paths : sequence of path
        The parts.
    pieces : int64 [P, 4]
        Runs of rows, in the order of the matrix: number of the part, its row group, first row in it, number of rows.
    dimension : int
        D.
    """

    def __init__(self, paths: Sequence[Path], pieces: np.ndarray, dimension: int) -> None:
        self.paths, self.pieces = list(paths), pieces
        self.starts = np.concatenate([[0], np.cumsum(pieces[:, 3])])
        self.shape = (int(self.starts[-1]), dimension)
        # without self, so that nothing refers back to it and its last row group goes when it goes
        opened = lru_cache(OPEN)(lambda part: tables.RowGroups(paths[part], "features"))
        # of a part that another program wrote, a row group may hold the next rows too
        self._read = lru_cache(1)(lambda part, group: opened(part).read(group, ["feature"])["feature"])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(len(self))
        out = np.empty((max(0, stop - start), self.shape[1]), np.float32)
        first, last = np.searchsorted(self.starts, [start, stop], side="right") - 1
        for piece in range(int(first), min(int(last) + 1, len(self.pieces))):
            part, group, place, _ = self.pieces[piece].tolist()
            a, b = max(start, int(self.starts[piece])), min(stop, int(self.starts[piece + 1]))
            if a < b:
                shift = place - int(self.starts[piece])
                out[a - start : b - start] = self._read(part, group)[a + shift : b + shift]
        return out

    def digest(self) -> str:
        """Digest of the parts. If their metadata have digests, no part is read for it."""
        known = [tables.read_metadata(path).get(provenance.DIGEST) or provenance.hash_file(path) for path in self.paths]
        return hashlib.sha256("".join(known).encode()).hexdigest()


@dataclass(frozen=True)
class Snippets:
    """Snippet features of N videos, S snippets in all.

    Attributes
    ----------
    video_ids : list of str, [N]
    features : float32 [S, D], or Stored
        Video i's are the rows ``offsets[i]:offsets[i + 1]``, in time order.
    offsets : int64 [N + 1]
    """

    video_ids: list[str]
    features: np.ndarray | Stored
    offsets: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Snippets of each video, int64 [N]."""
        return np.diff(self.offsets)

    def video(self, index: int) -> np.ndarray:
        """Features of one video, [T, D] (a view, if they are in memory)."""
        return self.features[self.offsets[index] : self.offsets[index + 1]]

    @property
    def matrix(self) -> np.ndarray:
        """All features in memory, [S, D]."""
        return self.features[:]

    def blocks(self) -> Iterator[tuple[slice, Snippets]]:
        """Give the videos in memory, in their order: all at once if they are there, else as many as fit into BLOCK.

        Yields
        ------
        rows : slice
            Which of the S snippets.
        block : Snippets
            Of these videos alone.
        """
        if isinstance(self.features, np.ndarray):
            yield slice(0, len(self.features)), self
            return
        most = max(1, BLOCK // (4 * self.features.shape[1]))  # rows
        start = 0
        while start < len(self.video_ids):
            fitting = int(np.searchsorted(self.offsets, self.offsets[start] + most, side="right")) - 1
            stop = max(start + 1, fitting)
            rows = slice(int(self.offsets[start]), int(self.offsets[stop]))
            own = self.offsets[start : stop + 1] - rows.start
            yield rows, Snippets(self.video_ids[start:stop], self.features[rows], own)
            start = stop

    def each_video(self) -> Iterator[np.ndarray]:
        """Give the features [T, D] of each video, in their order; those of a few videos are in memory at a time."""
        for _, block in self.blocks():
            yield from np.split(block.matrix, block.offsets[1:-1])


def load_snippets(videos: Columns, folder: str | Path, split: str | None = None) -> Snippets:
    """Open the features of the videos of one split (or of all), in the order of the videos table.

    Up to 64 MiB are loaded. Beyond that, features are read when they are needed, and so are their errors found.

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
    names = sorted(set(parts))
    paths = [part_path(folder, name) for name in names]
    pieces: list[list[tuple[int, int, int, int]]] = [[] for _ in video_ids]
    place = {video_id: index for index, video_id in enumerate(video_ids)}
    D, largest = 0, 0  # numbers of a feature; rows of the largest row group
    for number, path in enumerate(paths):
        groups = tables.RowGroups(path, "features")
        dimension = groups.read(0 if len(groups.first) > 1 else None)["feature"].shape[1]
        D = D or dimension
        if dimension != D:
            raise InputError(
                f"{path}: features of dimension {dimension}, but {D} in other parts; "
                "extract all videos with one extractor"
            )
        largest = max(largest, int(np.diff(groups.first).max(initial=0)))
        for video_id, start, stop in runs(groups.read(None, ["video_id"])["video_id"]):
            if (index := place.get(video_id)) is not None:
                pieces[index] += [(number, *run) for run in _split(start, stop, groups.first)]
        for index in np.flatnonzero(parts == names[number]).tolist():
            if (found := sum(rows for *_, rows in pieces[index])) != lengths[index]:
                raise InputError(
                    f"{path}: video '{video_ids[index]}' has {found} snippets, the videos table says "
                    f"{lengths[index]}; extract this part again, then run the index step"
                )
    stored = Stored(paths, np.array([run for runs in pieces for run in runs], np.int64).reshape(-1, 4), D or 1)
    held = len(stored) * 4 * D <= HELD or largest * 4 * D > HELD  # or its row groups are of another program
    return Snippets(video_ids, stored[:] if held else stored, offsets)


def _split(start: int, stop: int, first: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Row group, first row in it and number of rows of each piece of the rows [start, stop) of a table."""
    for group in range(int(np.searchsorted(first, start, side="right")) - 1, int(np.searchsorted(first, stop))):
        a, b = max(start, int(first[group])), min(stop, int(first[group + 1]))
        yield group, a - int(first[group]), b - a


def recorded_family(videos: Columns, folder: str | Path) -> str:
    """Kind of features that their extractor recorded, "motion" or "network"; empty where it did not know."""
    return tables.read_metadata(part_path(folder, videos["part"][0])).get("view_family", "")


def part_path(folder: str | Path, part: str) -> Path:
    """Where a feature part lies; its name must not lead out of the folder."""
    if PurePath(part).name != part or part == "..":
        raise InputError(f"videos table: column 'part' is '{part}'; expected the name of a file in {folder}")
    return Path(folder) / part
