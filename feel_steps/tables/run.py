"""Reads the tables of a finished run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from feel_steps.errors import InputError
from feel_steps.tables import folders, tables
from feel_steps.tables.kinds import Columns
from feel_steps.tables.parts import name_parts
from feel_steps.tables.tables import runs


def frame(metrics: Columns) -> pd.DataFrame:
    """Metrics as a frame, without the rows whose value is not a number."""
    table = pd.DataFrame({name: metrics[name] for name in metrics})
    return table[table["value"].notna()]


def locate(video_ids: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Row of each video in a table's column, int64."""
    return pd.Index(among).get_indexer(pd.Index(video_ids))


def identify(centres: np.ndarray) -> str:
    """Digest of the centres [K, D] of clusters: says which clusters the numbers in a file of corrections are for."""
    return hashlib.sha256(np.ascontiguousarray(centres, "<f4").tobytes()).hexdigest()[:12]


def assign(video_ids: np.ndarray, refined: Columns, scores: Columns) -> np.ndarray:
    """Cluster of each video, int [N]; the strongest class for videos that were not clustered."""
    assigned = np.zeros(len(video_ids), int)
    assigned[locate(scores["video_id"], video_ids)] = scores["score"].argmax(1)
    assigned[locate(refined["video_id"], video_ids)] = refined["cluster"]
    return assigned


@dataclass(frozen=True)
class Run:
    """Tables of one run. The first seed of the first variant is the one that is shown.

    Attributes
    ----------
    folder : path
        results/{run}
    seeds : dict of str to list of int
        The seeds of each variant.
    iterations : int
        Number of iterations of the variant and seed that are shown.
    """

    folder: Path
    seeds: dict[str, list[int]]
    iterations: int

    @property
    def variant(self) -> str:
        return next(iter(self.seeds))

    @property
    def seed(self) -> int:
        return self.seeds[self.variant][0]

    def iteration_folder(self, iteration: int) -> Path:
        """Folder of an iteration of the variant and seed that are shown."""
        return folders.iteration_folder(self.folder, self.variant, self.seed, iteration)

    def table(self, iteration: int, kind: str) -> Columns:
        """A table of one iteration."""
        return tables.read(self.iteration_folder(iteration) / f"{kind}.parquet", kind)

    @cached_property
    def cuts(self) -> Columns | None:
        """The parts table of the variant that is shown; None where videos are clustered whole."""
        path = self.folder / self.variant / "parts.parquet"
        return tables.read(path, "parts") if path.is_file() else None

    def clustered(self, iteration: int, kind: str) -> Columns:
        """A table of what an iteration clusters: of the videos, or of their parts."""
        folder = self.iteration_folder(iteration) / ("parts" if self.cuts else "")
        return tables.read(folder / f"{kind}.parquet", kind)

    @cached_property
    def videos(self) -> Columns:
        return tables.read(self.folder / "videos.parquet", "videos")

    @cached_property
    def skipped(self) -> Columns:
        return tables.read(self.folder / "skipped.parquet", "skipped")

    @cached_property
    def annotations(self) -> Columns:
        return tables.read(self.folder / "annotations.parquet", "annotations")

    @cached_property
    def dropped(self) -> Columns | None:
        """Segments of the annotations that do not fit; None in runs that were made before there was such a table."""
        path = self.folder / "annotations_dropped.parquet"
        return tables.read(path, "dropped") if path.is_file() else None

    @cached_property
    def metrics(self) -> pd.DataFrame:
        return frame(tables.read(self.folder / "metrics.parquet", "metrics"))

    @cached_property
    def names(self) -> Columns | None:
        """Under which number and name clusters are shown; None in runs that were made before there was such a table."""
        path = self.folder / "names.parquet"
        return tables.read(path, "names") if path.is_file() else None

    @cached_property
    def given(self) -> dict[str, tuple[str, int]]:
        """What a person said about videos by corrections: role and cluster."""
        path = self.folder / "given.parquet"
        if not path.is_file():
            return {}
        table = tables.read(path, "given")
        columns = table["role"], table["cluster"].tolist()
        return dict(zip(table["video_id"], zip(*columns, strict=True), strict=True))

    def _shown(self, kind: str) -> Columns:
        """A table of the last iteration, with the numbers under which clusters are shown."""
        table = self.table(self.iterations, kind)
        if self.names is not None:
            table["cluster"] = self.names["shown_as"][table["cluster"]]
        return table

    @cached_property
    def attention(self) -> Columns:
        """Attention of the last iteration, like the properties below, with a person's corrections."""
        table = self.table(self.iterations, "attention")
        shown = np.arange(self.clusters) if self.names is None else self.names["shown_as"]
        if len(merged := np.flatnonzero(shown != np.arange(len(shown)))):
            activation = table["activation"].copy()
            for cluster in merged:  # the merged cluster is as active as the most active of its parts
                own = activation[:, shown[cluster]]
                np.maximum(own, activation[:, cluster], out=own)
            table["activation"] = activation
        return table

    @cached_property
    def refined(self) -> Columns:
        table = self._shown("refined")
        moved = {video_id: cluster for video_id, (role, cluster) in self.given.items() if role == "is"}
        for row in np.flatnonzero(np.isin(table["video_id"], list(moved))):
            table["cluster"][row] = self._number(moved[table["video_id"][row]])
        return table

    @cached_property
    def grouped(self) -> Columns:
        """Refined table of what the last iteration clustered: the videos, or their parts."""
        return self.clustered(self.iterations, "refined") if self.cuts else self.refined

    def _number(self, cluster: int) -> int:
        return cluster if self.names is None else int(self.names["shown_as"][cluster])

    @cached_property
    def selected(self) -> Columns:
        return self._shown("selected")

    @cached_property
    def detections(self) -> Columns:
        return self._shown("detections")

    @cached_property
    def moments(self) -> Columns:
        path = self.folder / "moments.parquet"
        return tables.read(path, "moments") if path.is_file() else self.table(self.iterations, "moments")

    @cached_property
    def confidence(self) -> Columns:
        return self._shown("confidence")

    @cached_property
    def snippets(self) -> dict[str, slice]:
        """Rows of each video's snippets in the attention table."""
        return {video_id: slice(start, stop) for video_id, start, stop in runs(self.attention["video_id"])}

    @cached_property
    def clusters(self) -> int:
        """K, before clusters are merged."""
        return self.table(self.iterations, "embeddings")["score"].shape[1]

    @cached_property
    def assigned(self) -> np.ndarray:
        """Cluster of each video, int [N]; see :func:`assign`."""
        video_ids = self.videos["video_id"]
        assigned = assign(video_ids, self.refined, self.table(self.iterations, "embeddings"))
        for row in np.flatnonzero(np.isin(video_ids, list(self.given))):
            role, cluster = self.given[video_ids[row]]
            assigned[row] = cluster if role == "is" else assigned[row]
        return np.array([self._number(cluster) for cluster in assigned.tolist()])

    @cached_property
    def parts(self) -> Columns | None:
        """Parts of the videos, with the cluster of each and whether it was selected for training."""
        if self.cuts is None:
            return None
        names = name_parts(self.cuts)
        cluster = assign(names, self.grouped, self.clustered(self.iterations, "embeddings"))
        chosen = self.clustered(self.iterations, "selected")["video_id"]
        return self.cuts | {"cluster": cluster, "selected": np.isin(names, chosen)}

    @cached_property
    def segments(self) -> Columns | None:
        """The segmentation of the variant and seed that are shown; None where there is none."""
        path = self.folder / self.variant / f"seed-{self.seed}" / "segments.parquet"
        return tables.read(path, "segments") if path.is_file() else None

    @cached_property
    def shows(self) -> np.ndarray:
        """Which clusters each video shows, bool [N, K]: its own, or those of its parts."""
        shows = np.zeros((len(self.assigned), self.clusters), bool)
        if self.parts is None:
            shows[np.arange(len(shows)), self.assigned] = True
        else:
            shows[locate(self.parts["video_id"], self.videos["video_id"]), self.parts["cluster"]] = True
        return shows

    def mapped_names(self) -> dict[int, str]:
        """Majority class of each cluster that the annotations map to a class."""
        mapping = self.table(self.iterations, "mapping")
        majority = (mapping["protocol"] == "published") & (mapping["weight"] == 1)
        return dict(zip(mapping["cluster"][majority].tolist(), mapping["label"][majority], strict=True))


def find_run(folder: Path) -> Run:
    """Read the variants, seeds and iterations of a run from its metrics table, in the order of the table.

    Raises
    ------
    InputError
        There is no such folder, or its metrics table is missing, damaged or empty.
    """
    folders.check_folder(folder)
    if not (folder / "metrics.parquet").is_file():
        raise InputError(
            f"{folder}: no finished run (there is no metrics.parquet); name the results folder of a run, such as "
            "results/demo, or run the workflow to its end"
        )
    metrics = tables.read(folder / "metrics.parquet", "metrics")
    table = pd.DataFrame({name: metrics[name] for name in ("variant", "seed", "iteration")})
    if not len(table):
        raise InputError(f"{folder / 'metrics.parquet'}: no iteration in it; run the workflow first")
    iterations = table.groupby(["variant", "seed"], sort=False)["iteration"].max()
    seeds: dict[str, list[int]] = {}
    for variant, seed in iterations.index:
        seeds.setdefault(variant, []).append(int(seed))
    return Run(folder, seeds, int(iterations.iloc[0]))
