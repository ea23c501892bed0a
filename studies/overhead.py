"""What CCI costs over plain Euclidean clustering (the paper's second open question), by measurement."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from feel_steps.cluster import cluster
from feel_steps.jaccard import refine
from feel_steps.runtime.progress import track
from feel_steps.tables.kinds import Columns
from studies.measures import NONE, Pooled, Row, to_rows, to_table

Times = tuple[float, float]  # wall, cpu seconds


def overhead(pooled: Pooled, *, clusters: int, limit: int = 8000) -> Columns:
    """Time k-means (the ten starts of the workflow) and CCI on synthetic features of the run's D and K.

    Unlike the other studies this one gives other numbers each time. Memory is measured on Linux only.

    Parameters
    ----------
    pooled : mapping of (seed, iteration) to columns of a pooled table
        Only the seeds and the dimension at the first iteration are taken.
    clusters : int
        K
    limit : int
        Most videos: 500, 1000, 2000, … up to it.

    Returns
    -------
    columns of a study table
        Settings ``k-means`` and ``CCI`` over the number of videos x: ``seconds`` by the clock, ``cpu seconds`` of all
        threads, ``MiB`` above what is held before (small amounts may be served from freed memory); and of CCI
        ``share of k-means``, in cpu seconds.
    """
    first = {seed: table["feature"].shape[1] for (seed, iteration), table in pooled.items() if iteration == 1}
    sizes = [size for size in (500 * 2**i for i in range(20)) if clusters <= size <= limit]
    problems = [(seed, D, N) for seed, D in first.items() for N in sizes]
    cluster(sample("noise", 10, 2, 2), 2, 0)  # imports scikit-learn before the clock runs
    rows: list[Row] = []
    for seed, D, N in track(problems, "CCI's overhead", "problem"):
        features = sample("groups", N, D, clusters, seed)
        plain, plain_memory, (_, _, centres) = peak(lambda: cluster(features, clusters, seed))  # noqa: B023
        refined, refined_memory, _ = peak(lambda: refine(features, centres))  # noqa: B023
        for setting, (wall, cpu), memory in (("k-means", plain, plain_memory), ("CCI", refined, refined_memory)):
            measured = {"seconds": wall, "cpu seconds": cpu, "MiB": memory}
            rows += to_rows(setting, N, seed, 1, measured)
        rows += to_rows("CCI", N, seed, 1, {"share of k-means": refined[1] / plain[1]})
    return to_table(row for row in rows if np.isfinite(row[-1]))


def timed(function: Callable[[], Any]) -> tuple[Times, Any]:
    """Wall and processor seconds of a call, and its result."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = function()
    return (time.perf_counter() - wall, time.process_time() - cpu), result


def peak(function: Callable[[], Any]) -> tuple[Times, float, Any]:
    """Times of a call, the memory in MiB that it took above what was held before (Linux, else NaN), and its result."""
    resets = Path("/proc/self/clear_refs")
    linux = resets.exists()
    if linux:
        resets.write_text("5")  # the peak
    before = _memory("VmRSS") if linux else NONE
    times, result = timed(function)
    return times, _memory("VmHWM") - before if linux else NONE, result


def _memory(key: str) -> float:
    """A value of this process's /proc/self/status in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024


def sample(kind: str, N: int, D: int, K: int, seed: int = 0) -> np.ndarray:
    """Seeded videos [N, D]: "groups", K of them, non-negative, of 64 inner dimensions; or "noise", the worst case."""
    generator = np.random.default_rng(seed)
    if kind == "noise":
        return generator.standard_normal((N, D), np.float32)
    basis = generator.standard_normal((64, D), np.float32) / 8
    inner = generator.standard_normal((K, 64), np.float32)[generator.integers(0, K, N)]
    inner += 0.8 * generator.standard_normal((N, 64), np.float32)
    features = inner @ basis
    features += 0.3 * generator.standard_normal((N, D), np.float32)
    return np.maximum(features, 0, out=features)
