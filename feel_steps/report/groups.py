"""Shows a comparison of groups: means with intervals for each cluster, the tests, and what follows what."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from feel_steps.report.charts import heat_map, nice_ticks
from feel_steps.tables import tables

MEASURES = {
    "time_share": "Share of the time",
    "bouts_per_minute": "Moments per minute",
    "bout_length": "Length of a moment, seconds",
    "latency": "Start of the first moment, seconds",
}
SHOWN = 20  # tests, the smallest p first
WIDTH, LEFT, RIGHT, TOP, BOTTOM = 420, 116, 12, 8, 24  # pixels
LINE, LETTERS = 13, 18  # height of one group's line; letters of a cluster's name that fit


def compare_groups(folder: Path, labels: Sequence[str]) -> dict[str, Any]:
    """Lay out the tables of a comparison; ``labels`` are the clusters' names as on the page.

    Returns
    -------
    dict
        ``names`` of the groups; ``charts`` of means, one per measure; ``heads`` and ``rows`` of the tests; ``said``,
        how many tests there are; ``transitions``, a heat map per group.
    """
    means, tests, transitions = (
        pd.DataFrame(tables.read(folder / f"{name}.parquet", kind))
        for name, kind in (("means", "group_means"), ("tests", "group_tests"), ("transitions", "group_transitions"))
    )
    names = sorted(set(means["group"]))
    called = [label or f"cluster {c}" for c, label in enumerate(labels)]
    charts = [
        _intervals(title, own, names, called)
        for measure, title in MEASURES.items()
        if len(own := means[means["measure"] == measure])
    ]
    tests = tests.sort_values(["p_corrected", "p"], kind="stable")
    rows = [
        [
            called[row["cluster"]],
            str(row["measure"]).replace("_", " "),
            f"{row['group']} – {row['other']}",
            f"{row['difference']:.3g} ({row['low']:.3g} to {row['high']:.3g})",
            f"{row['effect']:+.2f}",
            f"{row['p_corrected']:.3f}",
        ]
        for row in tests.head(SHOWN).to_dict("records")
    ]
    below = int((tests["p_corrected"] < 0.05).sum())
    return {
        "names": names,
        "charts": charts,
        "heads": ["cluster", "measure", "groups", "difference (95 %)", "effect", "p, corrected"],
        "rows": rows,
        "said": f"{below} of {len(tests)} tests are below p = 0.05 after correction.",
        "transitions": [
            chart for name in names if (chart := _follows(name, transitions[transitions["group"] == name]))
        ],
    }


def _intervals(title: str, rows: pd.DataFrame, names: list[str], called: list[str]) -> dict[str, Any]:
    """Means with their intervals: a block of lines per cluster, a line per group."""
    used = sorted(set(rows["cluster"]))
    ticks = nice_ticks(min(0.0, float(rows["low"].min())), float(rows["high"].max()))
    block = LINE * len(names) + 8

    def at(value: float) -> float:
        return round(LEFT + (value - ticks[0]) / (ticks[-1] - ticks[0]) * (WIDTH - LEFT - RIGHT), 1)

    marks = [
        {
            "index": names.index(row["group"]) % 7,
            "y": TOP + used.index(row["cluster"]) * block + LINE * names.index(row["group"]) + LINE / 2,
            "x": at(row["mean"]),
            "low": at(row["low"]),
            "high": at(row["high"]),
            "tip": f"{called[row['cluster']]}, {row['group']}: {row['mean']:.3g} "
            f"({row['low']:.3g} to {row['high']:.3g}, {row['videos']} videos)",
        }
        for row in rows.to_dict("records")
    ]
    short = [called[c] if len(called[c]) <= LETTERS else f"{called[c][: LETTERS - 1]}…" for c in used]
    height = TOP + BOTTOM + block * len(used)
    return {
        "title": title,
        "spoken": f"{title}: {'; '.join(str(mark['tip']) for mark in marks)}",
        "marks": marks,
        "labels": [(text, TOP + i * block + LINE * len(names) / 2 + 4) for i, text in enumerate(short)],
        "ticks": [(at(tick), f"{tick:g}") for tick in ticks],
        "box": {"w": WIDTH, "h": height, "left": LEFT, "top": TOP, "bottom": height - BOTTOM},
    }


def _follows(name: str, rows: pd.DataFrame) -> dict[str, Any] | None:
    """How often each cluster's moment follows another's, relative to chance; None if none ever follows."""
    used = sorted({*rows.loc[rows["count"] > 0, "cluster"], *rows.loc[rows["count"] > 0, "following"]})
    if not used:
        return None
    table = rows[rows["cluster"].isin(used) & rows["following"].isin(used)]
    count, expected = (table.pivot(index="cluster", columns="following", values=v) for v in ("count", "expected"))
    ratio = np.divide(
        count.to_numpy(float), expected.to_numpy(float), out=np.full(count.shape, np.nan), where=expected.to_numpy() > 0
    )
    axis = np.array(used, float)
    return heat_map(f"{name}: what follows what, relative to chance", "next cluster", "cluster", axis, axis, ratio)
