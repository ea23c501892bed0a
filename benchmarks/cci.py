"""What CCI costs and what it changes.

    python benchmarks/cci.py                                     # small: one minute
    python benchmarks/cci.py --sizes 1000,2000,5000,10000,20000,50000,100000,200000
    python benchmarks/cci.py --activitynet                       # N = 4819, K = 100, D = 2048
    python benchmarks/cci.py --approximate --sizes 100000,1000000 --dimension 64  # exact, too, up to 10^5 videos
    python benchmarks/cci.py --cola-folder FOLDER --clusters 12  # NMI on the training videos of a CoLA folder

Times are given in units of one N x D x N float32 matrix product, measured beside each run on the same machine, by the
clock ("wall") and by the processor time of all threads ("cpu", which other programs disturb less); seconds are cpu.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package studies is not installed

from feel_steps.cluster import cluster
from feel_steps.jaccard import refine
from feel_steps.ranking import Ranker, Ranking, rank, rank_approximately
from feel_steps.selection import select
from studies.overhead import Times, peak, sample, timed

EXACT = 100_000  # videos up to which CCI with an approximate ranking is compared with exact CCI
SAMPLE = 10_000  # videos whose approximate neighbours are compared with the exact ones


def unit(features: np.ndarray) -> Times:
    """Seconds of one N x D x N float32 product, from blocks of rows where N² would not fit."""
    other = features.copy()  # numpy would use the symmetry of X X'
    rows = min(len(features), 4096)
    scale = len(features) / rows
    wall, cpu = min(timed(lambda: features[:rows] @ other.T)[0] for _ in range(2))
    return wall * scale, cpu * scale


def refine_in_parts(
    features: np.ndarray, centres: np.ndarray, ranker: Ranker = rank
) -> tuple[Times, np.ndarray, np.ndarray]:
    """Refine, and give the times that the ranking took of it, its lists of neighbours, and the refined clusters."""
    ranked = []

    def timed_ranker(features: np.ndarray, n: int) -> Ranking:
        times, ranking = timed(lambda: ranker(features, n))
        ranked.append((times, ranking.neighbours))
        return ranking

    columns = refine(features, centres, ranker=timed_ranker)
    return *ranked[0], columns["cluster"]


def speed(problems: list[tuple[str, int, int, int]], starts: int) -> Table:
    """Time and memory of k-means and CCI."""
    table = Table(title=f"k-means ({starts} of its starts), then CCI (k1 20, k2 6, λ 0.3)")
    heads = "videos,N,D,K,unit s,ranking cpu,CCI cpu,CCI wall,CCI s,k-means s,CCI / k-means,CCI MiB"
    for head in heads.split(","):
        table.add_column(head, justify="left" if head == "videos" else "right")
    cluster(sample("noise", 10, 2, 2), 2, 0)  # imports scikit-learn before the clock runs
    for kind, N, D, K in problems:
        features = sample(kind, N, D, K)
        product = unit(features)
        kmeans, (_, _, centres) = timed(lambda: cluster(features, K, 0, n_init=starts))  # noqa: B023
        cci, mebibytes, (ranking, *_) = peak(lambda: refine_in_parts(features, centres))  # noqa: B023
        again = unit(features)
        wall, cpu = ((a + b) / 2 for a, b in zip(product, again, strict=True))
        table.add_row(
            kind, str(N), str(D), str(K), f"{cpu:.2f}", f"{ranking[1] / cpu:.2f}", f"{cci[1] / cpu:.2f}",
            f"{cci[0] / wall:.2f}", f"{cci[1]:.1f}", f"{kmeans[1]:.1f}", f"{cci[1] / kmeans[1]:.2f}",
            f"{mebibytes:.0f}",
        )  # fmt: skip
    return table


def approximation(sizes: list[int], dimension: int, clusters: int) -> Table:
    """What an approximate ranking finds of the exact one, and what it changes; vectors of clusters that overlap."""
    from sklearn.metrics import normalized_mutual_info_score as nmi

    table = Table(title="CCI (k1 20, k2 6, λ 0.3), ranked exactly and approximately; seconds are of processors")
    heads = "N,seed,exact ranking s,approximate s,exact CCI s,approximate s,MiB,recall,NMI of both,exact NMI,approx NMI"
    for head in heads.split(","):
        table.add_column(head, justify="right")
    for N in sizes:
        for seed in range(3 if N <= EXACT else 1):
            generator = np.random.default_rng(seed)
            truth = generator.integers(0, clusters, N)
            features = (0.5 * generator.standard_normal((clusters, dimension), np.float32))[truth]
            features += generator.standard_normal((N, dimension), np.float32)
            centres = cluster(features[:EXACT], clusters, seed, n_init=1)[2]
            step = partial(refine_in_parts, features, centres)
            cci, mebibytes, (ranking, lists, found) = peak(partial(step, rank_approximately))
            some = np.sort(generator.choice(N, min(N, SAMPLE), replace=False))
            nearest = rank(features, lists.shape[1], rows=some).neighbours[some]
            shared = [len(np.intersect1d(*pair)) - 1 for pair in zip(lists[some], nearest, strict=True)]  # not itself
            recall = f"{np.mean(shared) / (lists.shape[1] - 1):.4f}"
            row = ["–", f"{ranking[1]:.1f}", "–", f"{cci[1]:.1f}", f"{mebibytes:.0f}", recall, "–", "–"]
            if N <= EXACT:
                cci, _, (ranking, _, exact) = peak(step)
                row[0], row[2] = f"{ranking[1]:.1f}", f"{cci[1]:.1f}"
                row[6:] = f"{nmi(exact, found):.4f}", f"{nmi(truth, exact):.4f}"
            table.add_row(str(N), str(seed), *row, f"{nmi(truth, found):.4f}")
    return table


def quality(folder: Path, clusters: int) -> Table:
    """NMI of k-means and of the refined labels against the first class of each training video.

    Over all videos, and over the quarter of each cluster that is selected first.
    """
    from sklearn.metrics import normalized_mutual_info_score

    names = (folder / "split_train.txt").read_text().split()
    database = json.loads((folder / "gt.json").read_text())["database"]
    truth = np.array([database[name]["annotations"][0]["label"] for name in names])
    streams = [[np.load(folder / f"features/train/{s}/{n}.npy").mean(0) for n in names] for s in ("rgb", "flow")]
    features = np.hstack([np.array(stream, np.float32) for stream in streams])  # [N, 2048]
    table = Table(title=f"NMI, {len(names)} training videos, {clusters} clusters")
    for head in ("seed", "k-means", "refined", "k-means, first quarter", "refined, first quarter", "videos that moved"):
        table.add_column(head, justify="right")
    scores = []
    for seed in range(5):
        labels, distances, centres = cluster(features, clusters, seed)
        refined = refine(features, centres)
        found = [(labels, distances), (refined["cluster"], refined["distance"])]
        rows = [np.arange(len(names))] * 2 + [select(*pair, 0.25)[0] for pair in found]
        scores.append([normalized_mutual_info_score(truth[r], c[r]) for r, (c, _) in zip(rows, found * 2, strict=True)])
        moved = int((labels != refined["cluster"]).sum())
        table.add_row(str(seed), *(f"{score:.3f}" for score in scores[-1]), str(moved))
    table.add_row("mean", *(f"{score:.3f}" for score in np.mean(scores, 0)), "")
    return table


def main(
    sizes: Annotated[str, typer.Option(help="Numbers of videos.")] = "1000,2000,4000",
    dimension: Annotated[int, typer.Option(help="Of the features.")] = 512,
    clusters: Annotated[int, typer.Option(help="Number of centres.")] = 100,
    starts: Annotated[int, typer.Option(help="Starts of k-means (the workflow: 10).")] = 1,
    activitynet: Annotated[bool, typer.Option("--activitynet", help="ActivityNet v1.2's size instead.")] = False,
    approximate: Annotated[bool, typer.Option("--approximate", help="Exact against approximate ranking.")] = False,
    cola_folder: Annotated[Path | None, typer.Option(help="NMI on CoLA's folders instead.")] = None,
) -> None:
    """Measure the cost of CCI, or its effect on labelled videos."""
    if cola_folder is not None:
        table = quality(cola_folder, clusters)
    elif approximate:
        table = approximation([int(size) for size in sizes.split(",")], dimension, clusters)
    elif activitynet:
        table = speed([(kind, 4819, 2048, 100) for kind in ("groups", "noise")], starts)
    else:
        table = speed([("groups", int(size), dimension, clusters) for size in sizes.split(",")], starts)
    Console(width=140).print(table)


if __name__ == "__main__":
    typer.run(main)
