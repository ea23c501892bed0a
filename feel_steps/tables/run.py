"""Reads the tables of a finished run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from feel_steps.errors import InputError, hint
from feel_steps.tables import folders, provenance, tables
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


def within(video_ids: np.ndarray, among: Iterable[str]) -> np.ndarray:
    """Which videos are among others, bool; NumPy's isin would sort the ids, which takes minutes for 10⁵ of them."""
    return pd.Index(video_ids).isin(pd.Index(among))


def identify(centres: np.ndarray) -> str:
    """Digest of the centres [K, D] of clusters: says which clusters the numbers in a file of corrections are for."""
    return hashlib.sha256(np.ascontiguousarray(centres, "<f4").tobytes()).hexdigest()[:12]


def assign(video_ids: np.ndarray, refined: Columns, scores: Columns) -> np.ndarray:
    """Cluster of each video, int [N]; the strongest class for videos that were not clustered."""
    assigned = np.zeros(len(video_ids), int)
    assigned[locate(scores["video_id"], video_ids)] = scores["score"].argmax(1)
    assigned[locate(refined["video_id"], video_ids)] = refined["cluster"]
    return assigned


def find_parts(iteration: Path) -> Path | None:
    """The parts table that an iteration was made on; None where it clustered whole videos.

    The table alone does not tell: it stays where a run with parts was run again without them.
    """
    path = iteration.parents[1] / "parts.parquet"
    if not path.is_file():
        return None
    inputs = provenance.read_provenance(iteration / "attention.parquet").get("feel.inputs")
    return path if inputs is None or path.name in inputs else None


def find_segments(iteration: Path) -> Path | None:
    """The segmentation of an iteration's variant and seed; None where the run made none.

    The table alone does not tell: it stays where a run with a segmentation was run again without one.
    """
    path = iteration.with_name("segments.parquet")
    if not path.is_file():
        return None
    run, measured = iteration.parents[2], path.with_name("segment_metrics.parquet")
    inputs = provenance.read_provenance(run / "metrics.parquet").get("feel.inputs")
    return path if inputs is None or f'"{measured.relative_to(run).as_posix()}"' in inputs else None


def count_clusters(iteration: Path) -> int:
    """Number K of clusters of an iteration's folder, before clusters are merged."""
    first = next(tables.stream(iteration / "embeddings.parquet", "embeddings", ["score"]))
    return first["score"].shape[1]


class StoredAttention:
    """An attention table whose rows are read when they are asked for, ``attention[start:stop]``, without ids.

    Memory holds one row group.

    Parameters
    ----------
    path : path
    shown_as : int [K]
        The cluster under which each one is shown: it is as active as the most active of those that are merged into it.
    """

    def __init__(self, path: Path, shown_as: np.ndarray) -> None:
        self._table, self._shown_as = tables.RowGroups(path, "attention"), shown_as
        self._group = lru_cache(1)(self._read)

    def _read(self, group: int) -> Columns:
        table = self._table.read(group, ["t_start", "t_end", "actionness", "activation"])
        activation = table["activation"]
        for cluster in np.flatnonzero(self._shown_as != np.arange(len(self._shown_as))):
            own = activation[:, self._shown_as[cluster]]
            np.maximum(own, activation[:, cluster], out=own)
        return table

    def __getitem__(self, rows: slice) -> Columns:
        first = self._table.first
        start, stop, _ = rows.indices(int(first[-1]))
        pieces = []
        for group in np.flatnonzero((first[:-1] < stop) & (first[1:] > start)).tolist():
            own = slice(max(0, start - int(first[group])), stop - int(first[group]))
            pieces.append({name: values[own] for name, values in self._group(group).items()})
        return tables.join(pieces)

    def find_videos(self) -> dict[str, slice]:
        """Rows of each video."""
        found: dict[str, slice] = {}
        for group, at in enumerate(self._table.first[:-1].tolist()):
            for video_id, start, stop in runs(self._table.read(group, ["video_id"])["video_id"]):
                begun = found.get(video_id, slice(at + start, 0))  # a row group may cut a video in two
                found[video_id] = slice(begun.start, at + stop)
        return found


def window_centres(videos: Columns, row: int, snippets: int) -> np.ndarray:
    """When what a snippet shows happens: the centre of its window, seconds [T], in the video of a row."""
    fps, stride, window = (float(videos[name][row]) for name in ("fps", "snippet_stride", "snippet_window"))
    return (np.arange(snippets) * stride + window / 2) / fps


def attention_rows(attention: Columns | StoredAttention, rows: slice) -> Columns:
    """Rows of an attention table that is in memory, or that is not."""
    if isinstance(attention, StoredAttention):
        return attention[rows]
    return {name: values[rows] for name, values in attention.items()}


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

    def choose(
        self, variant: str | None = None, seed: int | None = None, iteration: int | None = None
    ) -> tuple[Path, bool]:
        """Find the folder of an iteration; default: first variant, its first seed, last iteration, as in the report.

        Returns
        -------
        (path, bool)
            The folder, and whether the report shows this iteration.

        Raises
        ------
        InputError
            The run has no such variant, seed or iteration.
        """
        variant = self.variant if variant is None else variant
        if variant not in self.seeds:
            raise InputError(f"{self.folder}: no variant '{variant}'; {hint(variant, self.seeds)}")
        seeds = self.seeds[variant]
        seed = seeds[0] if seed is None else seed
        if seed not in seeds:
            raise InputError(f"{self.folder}: no seed {seed} of '{variant}'; it has {', '.join(map(str, seeds))}")
        own = self.metrics[(self.metrics["variant"] == variant) & (self.metrics["seed"] == seed)]
        last = int(own["iteration"].max())
        iteration = last if iteration is None else iteration
        if not 1 <= iteration <= last:
            raise InputError(f"{self.folder}: no iteration {iteration} of '{variant}', seed {seed}; it has 1 to {last}")
        folder = folders.iteration_folder(self.folder, variant, seed, iteration)
        return folder, folder == self.iteration_folder(self.iterations)

    def table(self, iteration: int, kind: str, columns: Sequence[str] | None = None) -> Columns:
        """A table of one iteration, or some of its columns."""
        return tables.read(self.iteration_folder(iteration) / f"{kind}.parquet", kind, columns)

    @cached_property
    def cuts(self) -> Columns | None:
        """The parts table of the variant that is shown; None where videos are clustered whole."""
        path = find_parts(self.iteration_folder(self.iterations))
        return tables.read(path, "parts") if path else None

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
    def attention(self) -> StoredAttention:
        """Attention of the last iteration, like the properties below, with a person's corrections."""
        shown_as = np.arange(self.clusters) if self.names is None else self.names["shown_as"]
        return StoredAttention(self.iteration_folder(self.iterations) / "attention.parquet", shown_as)

    @cached_property
    def refined(self) -> Columns:
        table = self._shown("refined")
        moved = {video_id: cluster for video_id, (role, cluster) in self.given.items() if role == "is"}
        for row in np.flatnonzero(within(table["video_id"], moved)):
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
        return self.attention.find_videos()

    @cached_property
    def clusters(self) -> int:
        """K, before clusters are merged."""
        return count_clusters(self.iteration_folder(self.iterations))

    @cached_property
    def assigned(self) -> np.ndarray:
        """Cluster of each video, int [N]; see :func:`assign`."""
        video_ids = self.videos["video_id"]
        assigned = assign(video_ids, self.refined, self.table(self.iterations, "embeddings", ["video_id", "score"]))
        for row in np.flatnonzero(within(video_ids, self.given)):
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
        return self.cuts | {"cluster": cluster, "selected": within(names, chosen)}

    @cached_property
    def segments(self) -> Columns | None:
        """The segmentation of the variant and seed that are shown; None where there is none."""
        path = find_segments(self.iteration_folder(self.iterations))
        return tables.read(path, "segments") if path else None

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


def read_shown(run: Path, iteration: Path, shown: bool, kind: str) -> Columns:
    """Moments or detections of an iteration, corrected if it is the one that the page shows."""
    if shown and kind == "moments" and (run / "moments.parquet").is_file():
        return tables.read(run / "moments.parquet", kind)
    table = tables.read(iteration / f"{kind}.parquet", kind)
    if shown and (run / "names.parquet").is_file():
        table["cluster"] = tables.read(run / "names.parquet", "names")["shown_as"][table["cluster"]]
    return table
