"""A finished run, read from its folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from feel_steps import artifacts
from feel_steps.artifacts import Columns
from feel_steps.errors import InputError
from feel_steps.report.summary import frame
from feel_steps.snippets import runs


@dataclass(frozen=True)
class Run:
    """Tables of one run. One variant and seed are shown in detail: the first of each.

    Attributes
    ----------
    folder : path
        results/{run}
    seeds : dict of str to list of int
        The seeds of each variant, in the order in which to show them.
    iterations : int
        Of the variant and seed that are shown.
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

    def place(self, iteration: int) -> Path:
        """Folder of an iteration of the variant and seed that are shown."""
        return self.folder / self.variant / f"seed-{self.seed}" / f"iter-{iteration}"

    def table(self, iteration: int, kind: str) -> Columns:
        """A table of one iteration."""
        return artifacts.read(self.place(iteration) / f"{kind}.parquet", kind)

    @cached_property
    def videos(self) -> Columns:
        return artifacts.read(self.folder / "videos.parquet", "videos")

    @cached_property
    def skipped(self) -> Columns:
        return artifacts.read(self.folder / "skipped.parquet", "skipped")

    @cached_property
    def annotations(self) -> Columns:
        return artifacts.read(self.folder / "annotations.parquet", "annotations")

    @cached_property
    def metrics(self) -> pd.DataFrame:
        return frame(artifacts.read(self.folder / "metrics.parquet", "metrics"))

    @cached_property
    def attention(self) -> Columns:
        """Of the last iteration, as are the following."""
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
    def snippets(self) -> dict[str, slice]:
        """Where each video's snippets stand in the attention table."""
        return {video_id: slice(start, stop) for video_id, start, stop in runs(self.attention["video_id"])}

    def rows(self, video_ids: np.ndarray) -> np.ndarray:
        """Row of each id in the videos table, int64."""
        return pd.Index(self.videos["video_id"]).get_indexer(video_ids)

    def mapped_names(self) -> dict[int, str]:
        """Class names of clusters, by the published many-to-one mapping: the heaviest class of each; {} without truth."""
        path = self.place(self.iterations) / "mapping.parquet"
        if not path.exists():
            return {}
        mapping = artifacts.read(path, "mapping")
        found = pd.DataFrame({name: mapping[name] for name in mapping})
        found = found[found["protocol"] == (found["protocol"].iloc[0] if len(found) else "")]
        best = found.sort_values("weight", ascending=False, kind="stable").drop_duplicates("cluster")
        return {int(c): str(label) for c, label in zip(best["cluster"], best["label"], strict=True)}


def find_run(folder: Path, variants: list[str]) -> Run:
    """Find what a run folder holds; ``variants``, those of the config, give the order.

    Raises
    ------
    InputError
        There is no finished iteration.
    """
    found: dict[str, dict[int, int]] = {}
    for place in folder.glob("*/seed-*/iter-*"):
        numbers = re.fullmatch(r"seed-(\d+)/iter-(\d+)", "/".join(place.parts[-2:]))
        if numbers and (place / "attention.parquet").exists():
            seed, iteration = int(numbers[1]), int(numbers[2])
            seeds = found.setdefault(place.parts[-3], {})
            seeds[seed] = max(iteration, seeds.get(seed, 0))
    if not found:
        raise InputError(f"{folder}: no finished iteration ({{variant}}/seed-{{seed}}/iter-{{i}}); run the workflow first")
    order = [name for name in variants if name in found] or sorted(found)
    seeds_of = {name: sorted(found[name]) for name in order}
    return Run(folder, seeds_of, found[order[0]][seeds_of[order[0]][0]])
