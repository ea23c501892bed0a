"""Compare two variants of a run: mAP over seeds, and a paired bootstrap over videos for the difference.

Videos are drawn with replacement, the same ones for both variants and all seeds (paired: a hard video is hard for
both). A draw is a weight for each video, so detections are matched once and never again: B draws, V videos, C
classes, H tIoU thresholds, R ranked predictions, G ground-truth segments.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from feel_steps.errors import InputError
from feel_steps.evaluation.detection_map import TIOU, DetectionMap, mean_average_precision
from feel_steps.evaluation.evaluate import PROTOCOLS, judged, relabelled
from feel_steps.tables import tables
from feel_steps.tables.folders import EVERY, iteration_folder, read_place
from feel_steps.tables.kinds import Columns

AT_ONCE = 1 << 22  # weights of draws times predictions, about 100 MB


def compare(
    run: str | Path, a: str, b: str, *, tiou: Sequence[float] | None = None, samples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Compare the last iterations of two variants of a finished run.

    Parameters
    ----------
    run : path
        results/{run}
    a, b : str
        Names of the variants.
    tiou : sequence of float, optional
        By default those that the run was evaluated at.
    samples : int
        Draws of the bootstrap.
    seed : int
        Of the draws.

    Returns
    -------
    DataFrame
        As :func:`difference` gives, for the published mapping and then the one-to-one mapping.

    Raises
    ------
    InputError
        The run has no such variant or no annotations, its seeds end at different iterations, or a table is missing.
    """
    run = Path(run)
    if samples < 2:
        raise InputError(f"samples: {samples} draws; give 2 or more, 1000 as a rule")
    videos = tables.read(run / "videos.parquet", "videos")
    annotations = tables.read(run / "annotations.parquet", "annotations")
    metrics = _metrics(run)
    folders = {
        variant: [iteration_folder(run, variant, one, i) for one, i in seeds.items()]
        for variant, seeds in _last(run, metrics, (a, b)).items()
    }
    tiou, differences = _thresholds(metrics) if tiou is None else tiou, []
    for protocol, metric in PROTOCOLS.items():
        predictions: dict[str, list[Columns]] = {a: [], b: []}
        for variant, places in folders.items():
            for place in places:
                detections = tables.read(place / "detections.parquet", "detections")
                mapping = tables.read(place / "mapping.parquet", "mapping")
                found, truth = judged(detections, annotations, videos)
                predictions[variant].append(relabelled(found, mapping, protocol))
        if not len(truth["video_id"]):
            raise InputError(f"{run / 'annotations.parquet'}: no annotated video to judge by; a comparison needs some")
        differences.append(
            difference(predictions[a], predictions[b], truth, metric=metric, tiou=tiou, samples=samples, seed=seed)
        )
    return pd.concat(differences, ignore_index=True)


def difference(
    a: Sequence[Columns],
    b: Sequence[Columns],
    truth: Columns,
    *,
    metric: str = "mAP",
    tiou: Sequence[float] = TIOU,
    samples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Measure two variants and their difference, with its uncertainty over videos.

    Parameters
    ----------
    a, b : sequence of columns video_id, label, score, t_start, t_end
        Predictions of each variant, one table a seed; the variants need not have the same seeds.
    truth : columns video_id, label, t_start, t_end
        Of the videos that the predictions are in.
    metric : str
        Name of the first row; the others are ``{metric}@{tIoU}``.

    Returns
    -------
    DataFrame
        ``metric``; ``a`` and ``b``, means over seeds, with ``a_sd`` and ``b_sd``, standard deviations over seeds (NaN
        for one seed); ``difference``, a minus b; ``sd``, its standard deviation over draws of videos; ``low`` and
        ``high``, its 95 % interval (2.5 and 97.5 percentiles).
    """
    videos, true_in = np.unique(truth["video_id"].astype(object), return_inverse=True)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(videos), np.full(len(videos), 1 / len(videos)), samples)  # [B, V]
    weights = np.concatenate([np.ones((1, len(videos)), np.int64), draws])  # the videos as they are come first
    values = {}
    for name, by_seed in (("a", a), ("b", b)):
        seeds = []
        for predictions in by_seed:
            result = mean_average_precision(predictions, truth, tiou)
            predicted_in = pd.Index(videos).get_indexer(predictions["video_id"])
            by_threshold = weighted_map(result, predicted_in, true_in, truth, weights)  # [1 + B, H]
            seeds.append(np.column_stack([by_threshold.mean(1), by_threshold]))
        values[name] = np.stack(seeds)  # [seeds, 1 + B, 1 + H]
    gap = values["a"].mean(0) - values["b"].mean(0)
    low, high = np.percentile(gap[1:], [2.5, 97.5], axis=0)
    return pd.DataFrame(
        {
            "metric": [metric, *(f"{metric}@{threshold:g}" for threshold in tiou)],
            "a": values["a"][:, 0].mean(0),
            "a_sd": _sd(values["a"][:, 0]),
            "b": values["b"][:, 0].mean(0),
            "b_sd": _sd(values["b"][:, 0]),
            "difference": gap[0],
            "sd": gap[1:].std(0, ddof=1),
            "low": low,
            "high": high,
        }
    )


def weighted_map(
    result: DetectionMap, predicted_in: np.ndarray, true_in: np.ndarray, truth: Columns, weights: np.ndarray
) -> np.ndarray:
    """Compute mAP again as if each video stood in the data as often as its weight says, with the matching as it is.

    Parameters
    ----------
    result : DetectionMap
        Of the predictions and the truth.
    predicted_in, true_in : int64 [P] and [G]
        Video of each prediction and of each segment, 0 to V - 1.
    truth : columns label
    weights : int64 [B, V]

    Returns
    -------
    float64 [B, H]
        Mean over the classes that a draw has segments of.
    """
    C, V = len(result.labels), weights.shape[1]
    if (predicted_in < 0).any():
        row = int(np.argmin(predicted_in))
        raise InputError(f"predictions: row {row}: its video has no ground truth; compare on annotated videos only")
    classes = pd.Index(result.labels).get_indexer(pd.Index(truth["label"]))
    instances = np.bincount(true_in * C + classes, minlength=V * C).reshape(V, C)
    size = max(1, AT_ONCE // max(len(result.order), 1))
    blocks = [
        _weighted_block(result, predicted_in, instances, weights[i : i + size]) for i in range(0, len(weights), size)
    ]
    return np.concatenate(blocks)


def _weighted_block(
    result: DetectionMap, predicted_in: np.ndarray, instances: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    C = len(result.labels)
    positives = weights @ instances  # [B, C]
    weight = weights[:, predicted_in[result.order]]  # [B, R]
    seen = _running(weight)
    rank_class = np.repeat(np.arange(C), np.diff(result.starts))
    mean = np.empty((len(weights), len(result.tiou)))
    for h, matched in enumerate(result.matched[:, result.order]):
        hits = np.flatnonzero(matched >= 0)  # only at a hit does recall grow
        c = rank_class[hits]
        starts = np.searchsorted(c, np.arange(C + 1))
        found = _running(weight[:, hits])
        precision = (found[:, 1:] - found[:, starts[c]]) / np.maximum(seen[:, hits + 1] - seen[:, result.starts[c]], 1)
        # best from each hit on; classes are lifted over those that follow, so that none looks beyond its own end
        lifted = np.maximum.accumulate((precision + (C - c))[:, ::-1], axis=1)[:, ::-1] - (C - c)
        area = _running(lifted * weight[:, hits])
        ap = (area[:, starts[1:]] - area[:, starts[:-1]]) / np.maximum(positives, 1)
        mean[:, h] = ap.sum(1) / np.maximum((positives > 0).sum(1), 1)
    return mean


def _running(values: np.ndarray) -> np.ndarray:
    """Sums [B, n + 1] of the first 0, 1, … n columns."""
    sums = np.zeros((len(values), values.shape[1] + 1), values.dtype)
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums


def _sd(values: np.ndarray) -> np.ndarray:
    """Standard deviation over seeds, [seeds, …]; NaN for one seed."""
    return values.std(0, ddof=1) if len(values) > 1 else np.full(values.shape[1:], np.nan)


def sentences(table: pd.DataFrame, a: str, b: str) -> str:
    """Write a comparison for people, one line a metric: "mAP  feel 0.41 ± 0.02  no-cci 0.38  feel adds +0.03 ± …"."""
    lines = []
    for row in table.to_dict("records"):
        left, right = (f"{name} {_plus_minus(row[key], row[key + '_sd'])}" for name, key in ((a, "a"), (b, "b")))
        gap = f"{row['difference']:+.3f} ± {row['sd']:.3f}, 95 % interval {row['low']:+.3f} to {row['high']:+.3f}"
        lines.append(f"{row['metric']:<18} {left}   {right}   {a} adds {gap}")
    return "\n".join(lines)


def _plus_minus(mean: float, sd: float) -> str:
    return f"{mean:.3f}" if np.isnan(sd) else f"{mean:.3f} ± {sd:.3f}"


def last_iterations(run: str | Path, variants: Sequence[str]) -> dict[str, dict[int, int]]:
    """Last iteration of each variant's seeds: as the run's metrics tell or, of a variant of a study, as its files do.

    Raises
    ------
    InputError
        A variant has none, or its seeds do not end at the same one.
    """
    run = Path(run)
    return _last(run, _metrics(run), variants)


def _last(run: Path, metrics: Columns, variants: Sequence[str]) -> dict[str, dict[int, int]]:
    places, last = _evaluated(run, metrics), {}
    for variant in variants:
        own = [(seed, iteration) for name, seed, iteration in places if name == variant]
        if not own:
            there = ", ".join(dict.fromkeys(name for name, _, _ in places))
            raise InputError(f"{run}: no evaluated iteration of variant '{variant}'; there are: {there or 'none'}")
        seeds = {seed: max(i for one, i in own if one == seed) for seed in sorted({seed for seed, _ in own})}
        if len(set(seeds.values())) > 1:
            ends = ", ".join(f"seed {seed} at {iteration}" for seed, iteration in seeds.items())
            raise InputError(
                f"{run}: seeds of variant '{variant}' end at different iterations ({ends}); finish the run"
            )
        last[variant] = seeds
    return last


def _evaluated(run: Path, metrics: Columns) -> list[tuple[str, int, int]]:
    """Variant, seed and iteration of all that is evaluated, the run's own first."""
    columns = (metrics["variant"], metrics["seed"].tolist(), metrics["iteration"].tolist())
    known = dict.fromkeys(zip(*columns, strict=True))
    names = {name for name, _, _ in known}  # what a lowered number of iterations left behind is not the run's
    studied = []
    for file in sorted(run.glob(f"{EVERY}/mapping.parquet")):
        place = read_place(file.parent)
        if place and place[0] not in names:
            studied.append(place)
    return [*known, *studied]


def _thresholds(metrics: Columns) -> list[float]:
    """The tIoU thresholds that the run was evaluated at."""
    found = (re.fullmatch(r"mAP@([\d.]+)", metric) for metric in dict.fromkeys(metrics["metric"]))
    return sorted(float(one[1]) for one in found if one) or list(TIOU)


def _metrics(run: Path) -> Columns:
    """The run's metrics; where studies were all that was asked for, so that it has none, those of their iterations."""
    whole = run / "metrics.parquet"
    places = [] if whole.exists() else sorted(run.glob(f"{EVERY}/metrics.parquet"))
    read = [tables.read(place, "metrics") for place in places or [whole]]
    return {name: np.concatenate([table[name] for table in read]) for name in read[0]}
