"""Summary line, charts over iterations, and tables of the metrics."""

from __future__ import annotations

from typing import Any

import pandas as pd

from feel_steps.report.charts import Series, line_chart, thin
from feel_steps.report.summary import headline, pick, show
from feel_steps.tables.run import Run

STAGES = [("k-means", "cluster"), ("refined", "refine"), ("selected", "select")]
PRECISIONS = [("average", "mAP"), ("at tIoU 0.5", "mAP@0.5"), ("one-to-one", "mAP_hungarian")]


def of_variant(run: Run) -> pd.DataFrame:
    """Metrics of the variant that is shown, for all seeds."""
    return run.metrics[run.metrics["variant"] == run.variant]


def verdict(run: Run, labelled: int = 0) -> str:
    """One line on the result of the seed that is shown; ``labelled`` videos had labels for training."""
    metrics = of_variant(run)
    metrics = metrics[metrics["seed"] == run.seed]

    def value(stage: str, metric: str, iteration: int) -> float | None:
        rows = pick(metrics[metrics["iteration"] == iteration], (stage,), metric)
        return float(rows["value"].iloc[0]) if len(rows) else None

    what = "parts of videos" if run.cuts else "videos"
    groups = f"{run.clusters} group{'s' * (run.clusters != 1)} of {what}"
    if labelled:
        groups += f", found with {labelled} labelled video{'s' * (labelled != 1)} (the numbers include them),"
    rests = f" {part}" if (part := coverage(run)) else ""
    first, last = value("cluster", "nmi", 1), value("refine", "nmi", run.iterations)
    if last is not None:
        start = f" ({first:.2f} at the start)" if first is not None else ""
        precision = value("localize", "mAP", run.iterations)
        moments = f" The moments found reach an average mAP of {precision:.2f}." if precision is not None else ""
        return f"{groups} that agree with the annotations at NMI {last:.2f}{start}.{moments}{rests}"
    stability = value("refine", "stability", run.iterations)
    kept = f", whose last two rounds agree at NMI {stability:.2f}" if stability is not None else ""
    why = "None of them is annotated." if rests else "There are no annotations to compare them with."
    return f"{groups.removesuffix(',')}{kept}. {why}"


def coverage(run: Run) -> str:
    """Say that the annotations cover a part of the videos only; empty where they cover all, or there are none."""
    annotated, all_videos = set(run.annotations["video_id"]), set(run.videos["video_id"])
    if not annotated or annotated >= all_videos:
        return ""
    return (
        f"Annotations cover only {len(annotated & all_videos)} of {len(all_videos)} videos; the numbers rest on these."
    )


def charts(run: Run) -> list[dict[str, Any]]:
    """Charts over iterations: agreement with annotations or, without them, stability; selected videos; loss."""
    metrics = of_variant(run)

    def curve(name: str, stages: tuple[str, ...], metric: str) -> Series:
        return Series.over(name, pick(metrics, stages, metric), "iteration")

    agreement = [curve(name, (stage,), "nmi") for name, stage in STAGES]
    precision = [curve(name, ("localize",), metric) for name, metric in PRECISIONS]
    layouts = [
        line_chart("Clusters against annotations (NMI)", "iteration", agreement, unit=True),
        line_chart("Localization (mAP)", "iteration", precision, unit=True),
    ]
    if not any(layouts):
        stability = curve("", ("refine",), "stability")
        silhouette = curve("", ("refine", "cluster"), "silhouette")
        layouts = [
            line_chart("Agreement with the iteration before (NMI)", "iteration", [stability], unit=True),
            line_chart("Silhouette", "iteration", [silhouette]),
        ]
    share = curve("", ("select",), "share")
    layouts.append(line_chart("Share of videos selected", "iteration", [share], unit=True, percent=True))
    losses = []
    for iteration in range(1, run.iterations + 1):
        training = run.table(iteration, "training")
        losses.append(Series(f"iteration {iteration}", *thin(training["step"].astype(float), training["loss"])))
    layouts.append(line_chart("Training loss", "step", losses, dots=False))
    return [chart for chart in layouts if chart]


def iterations(run: Run) -> dict[str, Any]:
    """The main metrics, one row per iteration."""
    metrics = of_variant(run)
    columns = headline(metrics)
    rows = [
        [str(iteration), *(show(pick(group, stages, metric)["value"], metric) for _, stages, metric in columns)]
        for iteration, group in metrics.groupby("iteration")
    ]
    return {"heads": ["iteration", *(heading for heading, _, _ in columns)], "rows": rows}


def everything(run: Run) -> dict[str, Any]:
    """All metrics, one column per iteration."""
    metrics = of_variant(run)
    steps = sorted(set(metrics["iteration"]))
    rows = []
    for (stage, metric), group in metrics.groupby(["stage", "metric"], sort=False):
        cells = [show(group.loc[group["iteration"] == i, "value"], str(metric)) for i in steps]
        rows.append([stage, metric, *cells])
    return {"heads": ["stage", "metric", *(f"iteration {i}" for i in steps)], "rows": rows}


def comparison(run: Run) -> dict[str, Any] | None:
    """Metrics of variants and seeds at their last iteration; None if there is only one."""
    if sum(map(len, run.seeds.values())) == 1:
        return None
    metrics = run.metrics
    last = metrics[metrics["iteration"] == metrics.groupby(["variant", "seed"])["iteration"].transform("max")]
    columns = [column for column in headline(metrics) if column[2] != "share"]
    rows = []
    for variant, seeds in run.seeds.items():
        rows_of_variant = last[last["variant"] == variant]
        parts = [(str(seed), rows_of_variant[rows_of_variant["seed"] == seed]) for seed in seeds]
        for label, part in [*parts, ("mean ± sd", rows_of_variant)] if len(seeds) > 1 else parts:
            cells = [show(pick(part, stages, metric)["value"], metric) for _, stages, metric in columns]
            rows.append({"variant": variant, "seed": label, "cells": cells, "total": part is rows_of_variant})
    return {"heads": [heading for heading, _, _ in columns], "rows": rows}
