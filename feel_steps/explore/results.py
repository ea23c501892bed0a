"""Opens a finished run from Python: its tables as frames of pandas."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from feel_steps.errors import InputError, hint
from feel_steps.tables import tables
from feel_steps.tables.folders import iteration_folder
from feel_steps.tables.kinds import KINDS, Columns
from feel_steps.tables.run import find_run


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
        path = self._folder(variant, seed, None).parent / "segments.parquet"
        if not path.is_file():
            raise InputError(f"{path}: no such file; set segments: {{find: true}} in the config and run again")
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
        return _frame(tables.read(self._folder(variant, seed, iteration) / f"{kind}.parquet", kind))

    def names(
        self, variant: str | None = None, seed: int | None = None, iteration: int | None = None
    ) -> dict[int, str]:
        """Names that a person gave to clusters, by cluster; empty without ``feel-steps name``."""
        from feel_steps.explore.names import find_names  # loads scikit-learn

        return find_names(self.folder, self._folder(variant, seed, iteration))

    def _named(self, kind: str, variant: str | None, seed: int | None, iteration: int | None) -> pd.DataFrame:
        """A table with the name of each row's cluster, if clusters have names."""
        shown = (variant, seed, iteration) == (None, None, None)
        if shown and kind != "refined":
            from feel_steps.explore.corrections import read_shown

            table = _frame(read_shown(self.folder, self._folder(None, None, None), shown, kind))
        else:
            table = self.table(kind, variant, seed, iteration)
        if shown and (names := self.names()):
            table.insert(list(table.columns).index("cluster") + 1, "name", table["cluster"].map(names))
        return table

    def _folder(self, variant: str | None, seed: int | None, iteration: int | None) -> Path:
        """Folder of one iteration."""
        variant = variant if variant is not None else self._shown.variant
        if variant not in self.seeds:
            raise InputError(f"{self.folder}: no variant '{variant}'; {hint(variant, self.seeds)}")
        seed = seed if seed is not None else self.seeds[variant][0]
        if seed not in self.seeds[variant]:
            raise InputError(f"{self.folder}: no seed {seed}; it has {', '.join(map(str, self.seeds[variant]))}")
        own = self._shown.metrics.query("variant == @variant and seed == @seed")["iteration"]
        number = iteration if iteration is not None else int(own.max())
        if number not in set(own):
            raise InputError(f"{self.folder}: no iteration {number}; expected 1 to {own.max()}")
        return iteration_folder(self.folder, variant, seed, number)


def _frame(columns: Columns) -> pd.DataFrame:
    """Columns as a frame; a vector column becomes one of lists."""
    return pd.DataFrame({name: list(values) if values.ndim > 1 else values for name, values in columns.items()})
