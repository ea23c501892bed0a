"""What a person said about videos, from tables of kind "given", in the order of the videos that a step works on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from feel_steps.errors import InputError
from feel_steps.tables import tables
from feel_steps.tables.kinds import Columns


@dataclass(frozen=True)
class Given:
    """Constraints on the clusters of N videos.

    Attributes
    ----------
    fixed : int [N]
        Cluster that a video is in; -1 where nobody said.
    banned : int [B, 2]
        Pairs of video (its row) and cluster that do not belong together.
    ignored : bool [N]
        Videos that are not to be trained on.
    """

    fixed: np.ndarray
    banned: np.ndarray
    ignored: np.ndarray

    def obey(self, scores: np.ndarray) -> np.ndarray:
        """The cluster with the highest score [N, K] that each video may be in, int [N]; of all if it may be in none."""
        allowed = scores.astype(float)
        allowed[self.banned[:, 0], self.banned[:, 1]] -= np.ptp(allowed) + 1  # below all that it may be in
        return np.where(self.fixed >= 0, self.fixed, allowed.argmax(1))

    def is_banned(self, clusters: np.ndarray) -> np.ndarray:
        """Whether each video is banned from the cluster that it has in ``clusters`` [N]; bool [N]."""
        rows, banned = self.banned.T
        found = np.zeros(len(clusters), bool)
        found[rows[clusters[rows] == banned]] = True
        return found

    def left_out(self, clusters: np.ndarray) -> np.ndarray:
        """Videos that are not trained on, bool [N]: the ignored ones, and those for which no cluster [N] was found."""
        return self.ignored | (self.is_banned(clusters) & (self.fixed < 0))

    def known(self, before: np.ndarray | None) -> np.ndarray:
        """Clusters that are known before the videos are clustered, int [N]; -1 where unknown.

        ``before`` [N], if there is one, has the clusters of the iteration before, or -1.
        """
        known = np.full(len(self.fixed), -1) if before is None else np.array(before, int)
        rows, clusters = self.banned.T
        known[rows[known[rows] == clusters]] = -1
        return np.where(self.ignored, -1, np.where(self.fixed >= 0, self.fixed, known))

    def hold(self, refined: Columns) -> Columns:
        """Columns of a refined table, changed to what a person said.

        A fixed video is in its cluster, at distance 0; the cluster where it was is the runner-up. A video that is
        banned from its cluster is in that of the runner-up, with no margin; one that is banned from both stays where it
        is, and :meth:`left_out` has it.
        """
        labels, second = refined["cluster"].copy(), refined["second"].copy()
        distance, margin = refined["distance"].astype(float), refined["margin"].astype(float)
        other = self.is_banned(labels) & (second >= 0) & ~self.is_banned(second)
        labels[other], second[other] = second[other], labels[other]
        distance[other] += margin[other]
        margin[other] = 0.0
        fixed = self.fixed >= 0
        moved = fixed & (labels != self.fixed)
        second[moved], labels[moved] = labels[moved], self.fixed[moved]
        distance[fixed] = 0.0
        return refined | {"cluster": labels, "second": second, "distance": distance, "margin": margin}


def read_given(paths: Sequence[Path] | None, video_ids: Iterable[str], clusters: int | None = None) -> Given | None:
    """Read what was said about some videos; None without tables. Of two tables, the later one wins.

    Parameters
    ----------
    paths : sequence of paths, optional
        Tables of kind "given". Videos that are not among ``video_ids``, such as test videos, are passed over.
    video_ids : N ids
    clusters : int, optional
        K, to check the numbers.

    Raises
    ------
    InputError
        A cluster does not exist.
    """
    if not paths:
        return None
    row_of = {video_id: row for row, video_id in enumerate(video_ids)}
    fixed, ignored = np.full(len(row_of), -1), np.zeros(len(row_of), bool)
    banned: list[tuple[int, int]] = []
    for path in paths:
        table = tables.read(path, "given")
        if clusters is not None and (last := int(table["cluster"].max(initial=-1))) >= clusters:
            raise InputError(f"{path}: it has cluster {last}, but there are {clusters}; raise clusters")
        for video_id, role, cluster in zip(table["video_id"], table["role"], table["cluster"].tolist(), strict=True):
            if (row := row_of.get(video_id)) is None:
                continue
            ignored[row] = role == "ignored"
            if role == "not":
                banned.append((row, cluster))
                fixed[row] = -1 if fixed[row] == cluster else fixed[row]
            else:
                fixed[row] = cluster if role == "is" else -1
    return Given(fixed, np.array(banned, int).reshape(-1, 2), ignored)
