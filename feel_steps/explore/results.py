"""Opens a finished run from Python: its tables as frames of pandas."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from feel_steps.errors import InputError, hint
from feel_steps.explore.names import find_names
from feel_steps.tables import tables
from feel_steps.tables.kinds import KINDS, Columns
from feel_steps.tables.run import find_run, find_segments, read_shown


class Run:
    """A finished run.

    Parameters
    ----------
    folder : path
        Folder of the run, ``results/NAME``.

    Attributes
    ----------
    folder, page : path
        The folder, and the page in it.
    seeds : dict of str to list of int
        The seeds of each variant, in the order of the config.
    iterations : int
        I_max of the first variant.

    Raises
    ------
    InputError
        There is no finished run in the folder.

    Notes
    -----
    Every method reads its table anew. ``variant`` and ``seed`` are those that the page shows where they are not given,
    and ``iteration`` is the last one. All columns are described in docs/reference/tables.md; times are in seconds.

    Examples
    --------
    >>> run = feel_steps.Run("results/mine")          # doctest: +SKIP
    >>> run.moments().groupby("cluster").size()       # doctest: +SKIP
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._shown = find_run(self.folder)
        self.seeds = self._shown.seeds
        self.iterations = self._shown.iterations

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}): variants {', '.join(self.seeds)}; {self.iterations} iterations"

    @property
    def page(self) -> Path:
        return self.folder / "report.html"

    def videos(self) -> pd.DataFrame:
        """One row per video: split, path, duration, number of snippets."""
        return _frame(tables.read(self.folder / "videos.parquet", "videos"))

    def metrics(self) -> pd.DataFrame:
        """One row per metric, of all variants, seeds and iterations."""
        return _frame(tables.read(self.folder / "metrics.parquet", "metrics"))

    def moments(
        self, variant: str | None = None, seed: int | None = None, iteration: int | None = None
    ) -> pd.DataFrame:
        """Segments for a person, which do not overlap: video, cluster, start, end, confidence."""
        return self._named("moments", variant, seed, iteration)

    def detections(
        self, variant: str | None = None, seed: int | None = None, iteration: int | None = None
    ) -> pd.DataFrame:
        """Scored segments for evaluation, which overlap: video, cluster, score, start, end."""
        return self._named("detections", variant, seed, iteration)

    def segments(self, variant: str | None = None, seed: int | None = None) -> pd.DataFrame:
        """The segmentation of ``segments.find``, which tiles each video: video, cluster, score, start, end.

        Its clusters are not those of the other tables. InputError: the run has none.
        """
        place, _ = self._shown.choose(variant, seed)
        if (path := find_segments(place)) is None:
            raise InputError(f"{place.parent}: no segmentation; set segments: {{find: true}} in the config, run again")
        return _frame(tables.read(path, "segments"))

    def clusters(
        self, variant: str | None = None, seed: int | None = None, iteration: int | None = None
    ) -> pd.DataFrame:
        """Cluster of each training video, with its distance to the centre, and confidence."""
        refined = self._named("refined", variant, seed, iteration)
        confidence = self.table("confidence", variant, seed, iteration)
        return refined.merge(confidence, on=["video_id", "cluster"], how="left", validate="one_to_one")

    def table(
        self, kind: str, variant: str | None = None, seed: int | None = None, iteration: int | None = None
    ) -> pd.DataFrame:
        """Any table of one iteration.

        Parameters
        ----------
        kind : str
            Name of the file without its suffix, such as ``attention``. Vectors are lists, one per row.
        variant : str, optional
        seed : int, optional
        iteration : int, optional
            From 1.

        Raises
        ------
        InputError
            The run has no such table, variant, seed or iteration.
        """
        if kind not in KINDS:
            raise InputError(f"table '{kind}': unknown; {hint(kind, KINDS)}")
        place, _ = self._shown.choose(variant, seed, iteration)
        return _frame(tables.read(place / f"{kind}.parquet", kind))

    def names(
        self, variant: str | None = None, seed: int | None = None, iteration: int | None = None
    ) -> dict[int, str]:
        """Names that a person gave to the clusters that the page shows, by cluster; those of others have none."""
        place, shown = self._shown.choose(variant, seed, iteration)
        return find_names(self.folder, place) if shown else {}

    def _named(self, kind: str, variant: str | None, seed: int | None, iteration: int | None) -> pd.DataFrame:
        """A table with the name of each row's cluster, if clusters have names."""
        place, shown = self._shown.choose(variant, seed, iteration)
        if kind == "refined":
            table = self.table(kind, variant, seed, iteration)
        else:
            table = _frame(read_shown(self.folder, place, shown, kind))
        if names := self.names(variant, seed, iteration):
            table.insert(list(table.columns).index("cluster") + 1, "name", table["cluster"].map(names))
        return table


def _frame(columns: Columns) -> pd.DataFrame:
    """Columns as a frame; a vector column becomes one of lists."""
    return pd.DataFrame({name: list(values) if values.ndim > 1 else values for name, values in columns.items()})
