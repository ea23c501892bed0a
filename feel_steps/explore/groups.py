"""Compares groups of videos by their moments: how much, how often, how long, how soon, and what follows what.

Dimensions: V videos of some group, K clusters. The unit of every test is the video, never the moment: moments of one
video depend on each other.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from feel_steps.dataset.annotations import match_ids
from feel_steps.dataset.files import list_names, read_csv
from feel_steps.errors import InputError
from feel_steps.tables import tables
from feel_steps.tables.kinds import Columns

MEASURES = ("time_share", "bouts_per_minute", "bout_length", "latency")
TABLES = {"videos": "group_videos", "means": "group_means", "tests": "group_tests", "transitions": "group_transitions"}
LEVEL = 0.95  # of the intervals
SHOWN = 12  # tests in the terminal, the smallest p first
Frame = pd.DataFrame


@dataclass(frozen=True)
class Comparison:
    """Tables of a comparison; ``correction`` and ``skipped`` (videos without a group) are for the reader.

    Attributes
    ----------
    videos : DataFrame
        video_id, group, cluster, and the four measures of each video and cluster.
    means : DataFrame
        group, cluster, measure, videos, mean, low, high.
    tests : DataFrame
        cluster, measure, group, other, difference, low, high, effect, p, p_corrected.
    transitions : DataFrame
        group, cluster, following, count, expected.
    """

    videos: Frame
    means: Frame
    tests: Frame
    transitions: Frame
    correction: str
    skipped: int


def read_groups(path: str | Path, video_ids: np.ndarray) -> dict[str, str]:
    """Read a CSV with the columns video_id and group.

    Ids may differ from the run's by a video suffix or the prefix ``v_``.

    Raises
    ------
    InputError
        A video is not in the run or stands twice, a group is empty, there are fewer than two groups, or a group has
        fewer than two videos.
    """
    find, groups = match_ids(video_ids.tolist()), dict[str, str]()
    for line, row in read_csv(path, ("video_id", "group")):
        video_id = find(row["video_id"])
        if video_id is None:
            raise InputError(f"{path}, row {line}: no video '{row['video_id']}' in the run; correct the id")
        if video_id in groups:
            raise InputError(f"{path}, row {line}: video '{video_id}' stands there twice; remove one")
        if not row["group"]:
            raise InputError(f"{path}, row {line}: video '{video_id}' has no group; name one, or remove the row")
        groups[video_id] = row["group"]
    sizes = pd.Series(groups, dtype=object).value_counts()
    if len(sizes) < 2:
        raise InputError(f"{path}: {len(sizes)} group; a comparison needs two or more")
    if small := sorted(sizes.index[sizes < 2]):
        raise InputError(f"{path}: too few videos in {list_names(small)}; a group needs two or more")
    return groups


def compare_groups(
    moments: Columns,
    durations: Mapping[str, float],
    groups: Mapping[str, str],
    clusters: int,
    *,
    correction: Literal["holm", "bh"] = "holm",
    permutations: int = 9999,
    seed: int = 0,
) -> Comparison:
    """Compare all pairs of groups, cluster by cluster.

    For each measure, the difference of the groups' means is held against those of random regroupings of the videos of
    both groups: all of them where there are no more than ``permutations``, or so many random ones. The p-value is
    two-sided. All tests of the comparison are corrected together: for the chance of any false alarm (Holm 1979), or
    for the share of false ones among the alarms (Benjamini and Hochberg 1995).

    Parameters
    ----------
    moments : columns of a moments table
    durations : mapping of str to float
        Length of each video in seconds.
    groups : mapping of str to str
        Group of each video; others of the run are left out.
    clusters : int
        K.
    correction : {"holm", "bh"}
    permutations : int
    seed : int

    Returns
    -------
    Comparison
        The effect is Cliff's delta: the chance that a video of the first group has more than one of the other, minus
        the chance that it has less. Intervals are 95 % percentile bootstraps over videos. Bout length and latency are
        of the videos that show the cluster; a test that has fewer than two videos in a group is not made.
    """
    if correction not in ("holm", "bh"):
        raise InputError(f"correction '{correction}': expected holm or bh")
    videos = measure(moments, durations, groups, clusters)
    values = videos.melt(["video_id", "group", "cluster"], list(MEASURES), "measure", "value").dropna(subset="value")
    samples = {
        key: {str(group): part["value"].to_numpy() for group, part in table.groupby("group")}
        for key, table in values.groupby(["cluster", "measure"], sort=False)
    }
    names = sorted(set(groups.values()))
    keys = [(c, m) for c in range(clusters) for m in MEASURES if (c, m) in samples]
    means = [
        (group, c, m, len(own := samples[c, m][group]), own.mean(), *_interval([own], seed))
        for c, m in keys
        for group in names
        if group in samples[c, m]
    ]
    tests = [
        (c, m, one, two, *_test(samples[c, m][one], samples[c, m][two], permutations, seed))
        for c, m in keys
        for one, two in combinations(names, 2)
        if min(len(samples[c, m].get(group, ())) for group in (one, two)) > 1
    ]
    columns = ["cluster", "measure", "group", "other", "difference", "low", "high", "effect", "p"]
    tested = Frame(tests, columns=columns)
    tested["p_corrected"] = correct(tested["p"].to_numpy(float), correction)
    return Comparison(
        videos,
        Frame(means, columns=["group", "cluster", "measure", "videos", "mean", "low", "high"]),
        tested,
        transitions(moments, groups, clusters),
        correction,
        len(durations) - len(groups),
    )


def measure(moments: Columns, durations: Mapping[str, float], groups: Mapping[str, str], clusters: int) -> Frame:
    """The four measures of each video and cluster, [V · K] rows.

    ``time_share``: of the video's length. ``bouts_per_minute``: moments per minute of video. ``bout_length``: their
    mean length, seconds. ``latency``: start of the first, seconds. The last two are NaN where there is none.
    """
    index = pd.MultiIndex.from_product([list(groups), range(clusters)], names=["video_id", "cluster"])
    table = Frame({name: moments[name] for name in ("video_id", "cluster", "t_start", "t_end")})
    table["length"] = table["t_end"] - table["t_start"]
    by = table.groupby(["video_id", "cluster"])
    found = Frame({"total": by["length"].sum(), "bouts": by.size(), "latency": by["t_start"].min()}).reindex(index)
    found = found.reset_index()
    duration = found["video_id"].map(dict(durations)).to_numpy(float)
    total, bouts = (found[name].fillna(0).to_numpy(float) for name in ("total", "bouts"))
    found["group"] = found["video_id"].map(dict(groups))
    found["time_share"], found["bouts_per_minute"] = total / duration, bouts / duration * 60
    found["bout_length"] = np.divide(total, bouts, out=np.full(len(found), np.nan), where=bouts > 0)
    return found[["video_id", "group", "cluster", *MEASURES]]


def transitions(moments: Columns, groups: Mapping[str, str], clusters: int) -> Frame:
    """How often a moment of a cluster is followed by one of another, and how often it would be by chance, per group.

    The expectation is that of independence in each video, summed over the group's videos: moments with a follower, of
    one cluster, times moments that follow, of the other, by all transitions. So clusters that merely occur in the same
    videos do not seem to follow each other.
    """
    table = Frame({name: moments[name] for name in ("video_id", "cluster", "t_start", "t_end")})
    table = table[table["video_id"].isin(list(groups))].sort_values(["video_id", "t_start", "t_end"], kind="stable")
    counts = {group: np.zeros((2, clusters, clusters)) for group in sorted(set(groups.values()))}
    for video_id, part in table.groupby("video_id"):
        order = part["cluster"].to_numpy()
        if len(order) > 1:
            own = np.zeros((clusters, clusters))
            np.add.at(own, (order[:-1], order[1:]), 1)
            counts[groups[str(video_id)]] += own, own.sum(1)[:, None] * own.sum(0) / own.sum()
    first, second = np.divmod(np.arange(clusters**2), clusters)
    parts = [
        Frame({"group": group, "cluster": first, "following": second, "count": n.ravel(), "expected": e.ravel()})
        for group, (n, e) in counts.items()
    ]
    return pd.concat(parts, ignore_index=True).astype({"count": int})


def correct(p: np.ndarray, correction: str) -> np.ndarray:
    """Correct p-values for multiple tests, by Holm's or Benjamini and Hochberg's step procedure."""
    if correction == "bh":
        return stats.false_discovery_control(p) if len(p) else p
    order = np.argsort(p, kind="stable")
    corrected = np.empty(len(p))
    corrected[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    return corrected


def _test(one: np.ndarray, two: np.ndarray, permutations: int, seed: int) -> tuple[float, float, float, float, float]:
    """Difference of means, its interval, Cliff's delta, and p."""

    def distance(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        return np.abs(a.mean(axis) - b.mean(axis))

    chance = np.random.default_rng(seed)
    tested = stats.permutation_test(
        (one, two), distance, vectorized=True, n_resamples=permutations, alternative="greater", random_state=chance
    )
    delta = float(np.sign(one[:, None] - two).mean())
    return float(one.mean() - two.mean()), *_interval([one, two], seed), delta, float(tested.pvalue)


def _interval(samples: list[np.ndarray], seed: int, resamples: int = 2000) -> tuple[float, float]:
    """Percentile bootstrap of the mean of a sample, or of the difference of two samples' means."""
    chance = np.random.default_rng(seed)
    drawn = [sample[chance.integers(0, len(sample), (resamples, len(sample)))].mean(1) for sample in samples]
    values = drawn[0] - drawn[1] if len(drawn) > 1 else drawn[0]
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def write(comparison: Comparison, out: Path, names: Mapping[int, str]) -> None:
    """Write each table as ``{table}.parquet`` and, with the clusters' names, as ``{table}.csv``."""
    for name, kind in TABLES.items():
        table: Frame = getattr(comparison, name)
        tables.write(out / f"{name}.parquet", kind, {str(column): table[column].to_numpy() for column in table})
        called = table.copy()
        for column in {"cluster", "following"} & set(table.columns):
            called[column] = called[column].map(lambda c: names.get(c, f"cluster-{c}"))
        tables.write_text(out / f"{name}.csv", called.to_csv(index=False, lineterminator="\n"))


def summary(comparison: Comparison, names: Mapping[int, str]) -> str:
    """A table for the terminal: the tests with the smallest p."""
    from rich.console import Console
    from rich.table import Table

    tests = comparison.tests.sort_values(["p_corrected", "p"], kind="stable")
    means = {(row["group"], row["cluster"], row["measure"]): row["mean"] for row in _rows(comparison.means)}
    table = Table(box=None, padding=(0, 2, 0, 0))
    heads = ("cluster", "measure", "groups", "means", "difference", "95 %", "effect", f"p ({comparison.correction})")
    for head in heads:
        table.add_column(head, no_wrap=True, justify="left" if head in heads[:3] else "right")
    for row in _rows(tests.head(SHOWN)):
        a, b = (means[row[side], row["cluster"], row["measure"]] for side in ("group", "other"))
        table.add_row(
            names.get(row["cluster"], f"cluster-{row['cluster']}"),
            row["measure"].replace("_", " "),
            f"{row['group']} – {row['other']}",
            f"{a:.3g}, {b:.3g}",
            f"{row['difference']:.3g}",
            f"{row['low']:.3g} to {row['high']:.3g}",
            f"{row['effect']:+.2f}",
            f"{row['p_corrected']:.3f}",
        )
    console = Console(file=io.StringIO(), width=160, color_system=None)
    console.print(table)
    below = int((tests["p_corrected"] < 1 - LEVEL).sum())
    lines = [f"{below} of {len(tests)} tests below p = 0.05 after correction" + (", the first:" if len(tests) else "")]
    lines += console.file.getvalue().splitlines() if len(tests) else []  # type: ignore[attr-defined]
    if comparison.skipped:
        lines.append(f"{comparison.skipped} videos of the run have no group and were left out")
    return "\n".join(line.rstrip() for line in lines)


def _rows(table: Frame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
