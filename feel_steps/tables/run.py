"""Reads the tables of a finished run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from feel_steps.errors import InputError
from feel_steps.tables import folders, tables
from feel_steps.tables.kinds import Columns
from feel_steps.tables.tables import runs


def frame(metrics: Columns) -> pd.DataFrame:
    """Metrics as a frame, without the rows whose value is not a number."""
    table = pd.DataFrame({name: metrics[name] for name in metrics})
    return table[table["value"].notna()]


def locate(video_ids: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Row of each video in a table's column, int64."""
    return pd.Index(among).get_indexer(pd.Index(video_ids))


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
    def attention(self) -> Columns:
        """Attention of the last iteration, like the properties below."""
        return self.table(self.iterations, "attention")

    @cached_property
    def refined(self) -> Columns:
        return self.table(self.iterations, "refined")

    @cached_property
    def selected(self) -> Columns:
        return self.table(self.iterations, "selected")

    @cached_property
    def detections(self) -> Columns:
        return self.table(self.iterations, "detections")

    @cached_property
    def moments(self) -> Columns:
        return self.table(self.iterations, "moments")

    @cached_property
    def confidence(self) -> Columns:
        return self.table(self.iterations, "confidence")

    @cached_property
    def snippets(self) -> dict[str, slice]:
        """Rows of each video's snippets in the attention table."""
        return {video_id: slice(start, stop) for video_id, start, stop in runs(self.attention["video_id"])}

    @property
    def clusters(self) -> int:
        """K."""
        return self.attention["activation"].shape[1]

    @cached_property
    def assigned(self) -> np.ndarray:
        """Cluster of each video, int [N]; the strongest class for videos that were not clustered."""
        scores = self.table(self.iterations, "embeddings")
        assigned = np.zeros(len(self.videos["video_id"]), int)
        assigned[locate(scores["video_id"], self.videos["video_id"])] = scores["score"].argmax(1)
        assigned[locate(self.refined["video_id"], self.videos["video_id"])] = self.refined["cluster"]
        return assigned

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
        The metrics table is missing, damaged or empty.
    """
    metrics = tables.read(folder / "metrics.parquet", "metrics")
    table = pd.DataFrame({name: metrics[name] for name in ("variant", "seed", "iteration")})
    if not len(table):
        raise InputError(f"{folder / 'metrics.parquet'}: no iteration in it; run the workflow first")
    iterations = table.groupby(["variant", "seed"], sort=False)["iteration"].max()
    seeds: dict[str, list[int]] = {}
    for variant, seed in iterations.index:
        seeds.setdefault(variant, []).append(int(seed))
    return Run(folder, seeds, int(iterations.iloc[0]))
