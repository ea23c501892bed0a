"""Compares two variants of a run: mAP over seeds, and a paired bootstrap over videos for the difference.

Videos are drawn with replacement. Each draw is used for both variants and all seeds, since a hard video is hard for
both. A draw is a weight per video, so detections are matched only once. B draws, V videos, C classes, H tIoU
thresholds, R ranked predictions, G ground-truth segments.
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

AT_ONCE = 1 << 22  # draws times predictions in one block, about 100 MB


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
        Default: the thresholds of the run's metrics.
    samples : int
        Number of bootstrap draws.
    seed : int
        Seed of the draws.

    Returns
    -------
    DataFrame
        Result of :func:`difference` for the published mapping, followed by the one for the one-to-one mapping.

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
    found: dict[str, list[tuple[Columns, Columns]]] = {a: [], b: []}  # detections and mapping of each seed
    for variant, iterations in folders.items():
        for folder in iterations:
            detections = tables.stream(folder / "detections.parquet", "detections")
            kept, truth = judged(detections, annotations, videos)
            found[variant].append((kept, tables.read(folder / "mapping.parquet", "mapping")))
    if not len(truth["video_id"]):
        raise InputError(f"{run / 'annotations.parquet'}: no annotated video; a comparison needs annotations")
    tiou, differences = _thresholds(metrics) if tiou is None else tiou, []
    for protocol, metric in PROTOCOLS.items():
        first, second = ([relabelled(*of_seed, protocol) for of_seed in found[variant]] for variant in (a, b))
        differences.append(difference(first, second, truth, metric=metric, tiou=tiou, samples=samples, seed=seed))
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
    """Compute the mAP of two variants, their difference, and its uncertainty over videos.

    Parameters
    ----------
    a, b : sequence of columns video_id, label, score, t_start, t_end
        Predictions of each variant, one table per seed. The variants may have different seeds.
    truth : columns video_id, label, t_start, t_end
        Ground truth of the videos of the predictions.
    metric : str
        Name of the first row; the other rows are ``{metric}@{tIoU}``.

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
    weights = np.concatenate([np.ones((1, len(videos)), np.int64), draws])  # the first row is the data itself
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
    """Compute the mAP with each video counted as often as its weight; the matching does not change.

    Parameters
    ----------
    result : DetectionMap
        Result for the predictions and the truth.
    predicted_in, true_in : int64 [P] and [G]
        Index of the video of each prediction and segment, 0 to V - 1.
    truth : columns label
    weights : int64 [B, V]

    Returns
    -------
    float64 [B, H]
        Mean over the classes that have segments in the draw.
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
        hits = np.flatnonzero(matched >= 0)  # recall grows only at hits
        c = rank_class[hits]
        starts = np.searchsorted(c, np.arange(C + 1))
        hit_weight = _running(weight[:, hits])
        precision = (hit_weight[:, 1:] - hit_weight[:, starts[c]]) / np.maximum(
            seen[:, hits + 1] - seen[:, result.starts[c]], 1
        )
        # best precision from each hit on; an offset per class keeps the maximum within the class
        lifted = np.maximum.accumulate((precision + (C - c))[:, ::-1], axis=1)[:, ::-1] - (C - c)
        area = _running(lifted * weight[:, hits])
        ap = (area[:, starts[1:]] - area[:, starts[:-1]]) / np.maximum(positives, 1)
        mean[:, h] = ap.sum(1) / np.maximum((positives > 0).sum(1), 1)
    return mean


def _running(values: np.ndarray) -> np.ndarray:
    """Prefix sums [B, n + 1]: column i is the sum of the first i columns."""
    sums = np.zeros((len(values), values.shape[1] + 1), values.dtype)
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums


def _sd(values: np.ndarray) -> np.ndarray:
    """Standard deviation over seeds, [seeds, …]; NaN for one seed."""
    return values.std(0, ddof=1) if len(values) > 1 else np.full(values.shape[1:], np.nan)


def sentences(table: pd.DataFrame, a: str, b: str) -> str:
    """Format a comparison, one line per metric: "mAP  feel 0.41 ± 0.02  no-cci 0.38  feel adds +0.03 ± …"."""
    lines = []
    for row in table.to_dict("records"):
        left, right = (f"{name} {_plus_minus(row[key], row[key + '_sd'])}" for name, key in ((a, "a"), (b, "b")))
        gap = f"{row['difference']:+.3f} ± {row['sd']:.3f}, 95 % interval {row['low']:+.3f} to {row['high']:+.3f}"
        lines.append(f"{row['metric']:<18} {left}   {right}   {a} adds {gap}")
    return "\n".join(lines)


def _plus_minus(mean: float, sd: float) -> str:
    return f"{mean:.3f}" if np.isnan(sd) else f"{mean:.3f} ± {sd:.3f}"


def last_iterations(run: str | Path, variants: Sequence[str]) -> dict[str, dict[int, int]]:
    """Last iteration of each seed of the variants, from the run's metrics or, for variants of studies, from the files.

    Raises
    ------
    InputError
        A variant has no evaluated iteration, or its seeds end at different iterations.
    """
    run = Path(run)
    return _last(run, _metrics(run), variants)


def _last(run: Path, metrics: Columns, variants: Sequence[str]) -> dict[str, dict[int, int]]:
    evaluated, last = _evaluated(run, metrics), {}
    for variant in variants:
        pairs = [(seed, iteration) for name, seed, iteration in evaluated if name == variant]
        if not pairs:
            names = ", ".join(dict.fromkeys(name for name, _, _ in evaluated))
            raise InputError(f"{run}: no evaluated iteration of variant '{variant}'; there are: {names or 'none'}")
        seeds = {seed: max(i for one, i in pairs if one == seed) for seed in sorted({seed for seed, _ in pairs})}
        if len(set(seeds.values())) > 1:
            ends = ", ".join(f"seed {seed} at {iteration}" for seed, iteration in seeds.items())
            raise InputError(
                f"{run}: seeds of variant '{variant}' end at different iterations ({ends}); finish the run"
            )
        last[variant] = seeds
    return last


def _evaluated(run: Path, metrics: Columns) -> list[tuple[str, int, int]]:
    """Variant, seed and iteration of all evaluated iterations; variants of the run come before those of studies."""
    columns = (metrics["variant"], metrics["seed"].tolist(), metrics["iteration"].tolist())
    known = dict.fromkeys(zip(*columns, strict=True))
    names = {name for name, _, _ in known}  # ignore iterations that are left from a run with more iterations
    studied = []
    for file in sorted(run.glob(f"{EVERY}/mapping.parquet")):
        iteration = read_place(file.parent)
        if iteration and iteration[0] not in names:
            studied.append(iteration)
    return [*known, *studied]


def _thresholds(metrics: Columns) -> list[float]:
    """The tIoU thresholds that the run was evaluated at."""
    matches = (re.fullmatch(r"mAP@([\d.]+)", metric) for metric in dict.fromkeys(metrics["metric"]))
    return sorted(float(match[1]) for match in matches if match) or list(TIOU)


def _metrics(run: Path) -> Columns:
    """Metrics of the run; if only studies were run, the metrics of their iterations."""
    whole = run / "metrics.parquet"
    files = [whole] if whole.exists() else sorted(run.glob(f"{EVERY}/metrics.parquet")) or [whole]
    return tables.join([tables.read(file, "metrics") for file in files])
