"""Tables of a run's metrics, for the terminal and for the page."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd

from feel_steps.tables import tables
from feel_steps.tables.kinds import Columns
from feel_steps.tables.run import frame

# columns: heading, stages that may have the metric, metric
AGREEMENT = [
    ("NMI k-means", ("cluster",), "nmi"),
    ("NMI refined", ("refine",), "nmi"),
    ("NMI selected", ("select",), "nmi"),
    ("mAP", ("localize",), "mAP"),
    ("mAP@0.5", ("localize",), "mAP@0.5"),
]
UNLABELLED = [  # columns without annotations
    ("NMI previous", ("refine", "cluster"), "stability"),  # with the clusters of the iteration before
    ("silhouette", ("refine", "cluster"), "silhouette"),
]
SHARE = ("selected", ("select",), "share")


def headline(table: pd.DataFrame) -> list[tuple[str, tuple[str, ...], str]]:
    """Columns to show: agreement with annotations or, without them, with the iteration before."""
    labelled = [column for column in AGREEMENT if len(pick(table, column[1], column[2]))]
    return [SHARE, *(labelled or UNLABELLED)]


def pick(table: pd.DataFrame, stages: tuple[str, ...], metric: str) -> pd.DataFrame:
    """Rows of one metric, from the first stage that has it."""
    rows = table[table["metric"] == metric]
    for stage in stages:
        if len(matching := rows[rows["stage"] == stage]):
            return matching
    return rows.iloc[:0]


def show(values: pd.Series, metric: str) -> str:
    """Mean over seeds, with the standard deviation if there are several; a dash if there is no value."""
    if not len(values):
        return "–"
    if metric == "share":
        return f"{values.mean():.0%}"
    spread = f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else ""
    return f"{values.mean():.3f}{spread}"


def left_out(run: Path) -> str:
    """What a run could not use, in a line: videos, and segments of the annotations; empty if it used all."""
    skipped, dropped = (
        len(tables.read(file, kind)["video_id"]) if (file := run / name).is_file() else 0
        for name, kind in (("skipped.parquet", "skipped"), ("annotations_dropped.parquet", "dropped"))
    )
    found = []
    if skipped:
        used = len(tables.read(run / "videos.parquet", "videos")["video_id"])
        found.append(f"{skipped} of {used + skipped} videos were left out")
    if dropped:
        found.append(f"{dropped} annotated segments did not fit")
    return f"{' and '.join(found)}; the page says which, and why" if found else ""


def describe(run: Path) -> str:
    """What the terminal says of a finished run: its numbers, and what it could not use."""
    found = summary(tables.read(run / "metrics.parquet", "metrics"))
    return f"{found}\n{missing}" if (missing := left_out(run)) else found


def summary(metrics: Columns) -> str:
    """Format the metrics of a run as a compact table for the terminal.

    Parameters
    ----------
    metrics : columns of a metrics table

    Returns
    -------
    str
        One block per variant, named where there are several, and one row per iteration: share of selected videos, then
        NMI and mAP or, without annotations, NMI with the iteration before and silhouette. Several seeds: mean and
        standard deviation.
    """
    from rich.console import Console
    from rich.table import Table

    table = frame(metrics)
    columns = headline(table)
    console = Console(file=io.StringIO(), width=120, color_system=None)
    for variant, rows in table.groupby("variant", sort=False):
        seeds = rows["seed"].nunique()
        named = [str(variant)] if table["variant"].nunique() > 1 else []  # a name says nothing where there is no other
        spread = [f"{seeds} seeds, mean ± sd"] if seeds > 1 else []
        title = ": ".join(named + spread) or None
        block = Table(title=title, title_justify="left", title_style="", box=None, padding=(0, 2, 0, 0))
        for heading in ("iteration", *(heading for heading, _, _ in columns)):
            block.add_column(heading, justify="right", no_wrap=True)
        for iteration, group in rows.groupby("iteration"):
            cells = [show(pick(group, stages, metric)["value"], metric) for _, stages, metric in columns]
            block.add_row(str(iteration), *cells)
        console.print(block)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in lines)
