"""What are a few labels worth? Clusters pooled videos with 0, 1, 2, 5 labelled videos of each class.

    python benchmarks/few_labels.py results/RUN --clusters K [--labels 0,1,2,5] [--seeds 0,1,2] [--method consensus]
    python benchmarks/few_labels.py results/RUN --clusters K --write FOLDER

Takes the pooled vectors of iteration 1 and the annotations of a run. The labelled videos of a class are drawn by the
seed; with more labels, further ones are added. NMI, and the share of videos in the cluster of their class (accuracy:
clusters matched one to one), are of the videos without a label. A class with fewer videos than labels gives all but
one. "without" is the clustering without labels, judged on the same videos. With --write, nothing is clustered: the
labelled videos are written as FOLDER/labels-COUNT-SEED.csv for runs with dataset.labels, which measure mAP.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import normalized_mutual_info_score

from benchmarks.confidence import classes
from feel_steps.cli.loop import _split
from feel_steps.cluster import cluster, consensus
from feel_steps.tables import tables
from feel_steps.tables.given import Given


def draw(truth: np.ndarray, labels: int, seed: int) -> np.ndarray:
    """Labelled videos, bool [N]: so many of each class; those of a smaller number are among those of a larger one."""
    order = np.random.default_rng(seed).permutation(len(truth))
    chosen = np.zeros(len(truth), bool)
    for k in np.unique(truth):
        own = order[truth[order] == k]
        chosen[own[: min(labels, len(own) - 1)]] = True
    return chosen


def accuracy(found: np.ndarray, truth: np.ndarray, clusters: int) -> float:
    """Share of videos in the right cluster, clusters matched one to one with classes."""
    shared = np.zeros((clusters, clusters), int)
    np.add.at(shared, (found, truth), 1)
    return float(shared[linear_sum_assignment(-shared)].sum() / len(truth))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--clusters", type=int, required=True)
    parser.add_argument("--labels", default="0,1,2,5")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--method", default="consensus", choices=["consensus", "kmeans"])
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    path = next(arguments.run.glob("*/seed-*/iter-1/pooled.parquet"))
    pooled = tables.read(path, "pooled")
    label = classes(tables.read(arguments.run / "annotations.parquet", "annotations"))
    truth = np.unique([label[video] for video in pooled["video_id"]], return_inverse=True)[1]
    numbers = [int(n) for n in arguments.labels.split(",")]
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    if arguments.write:
        arguments.write.mkdir(parents=True, exist_ok=True)
        for count, seed in product(numbers, seeds):
            chosen = pooled["video_id"][draw(truth, count, seed)]
            rows = ["video_id,label", *(f"{video},{label[video]}" for video in chosen)]
            (arguments.write / f"labels-{count}-{seed}.csv").write_text("\n".join(rows) + "\n")
        return
    K, views = arguments.clusters, _split(pooled["feature"], path)

    def find(seed: int, given: Given | None) -> np.ndarray:
        if arguments.method == "kmeans":
            return cluster(pooled["feature"], K, seed, given=given)[0]
        return consensus(views, K, seed, given=given)[0]["cluster"]

    bare = {seed: find(seed, None) for seed in seeds}
    size = max(K, int(truth.max()) + 1)
    for count in numbers:
        rows = []
        for seed in seeds:
            chosen = draw(truth, count, seed)
            said = Given(np.where(chosen, truth, -1), np.empty((0, 2), int), np.zeros(len(truth), bool))
            pair = find(seed, said) if count else bare[seed], bare[seed]
            judged = [(own[~chosen], truth[~chosen]) for own in pair]
            rows.append(
                [
                    f
                    for own, right in judged
                    for f in (normalized_mutual_info_score(right, own), accuracy(own, right, size))
                ]
            )
        mean, spread = np.mean(rows, 0), np.std(rows, 0, ddof=1)
        cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(mean, spread, strict=True)]
        print(
            f"{count} labels a class, {(~chosen).sum()} videos judged: NMI {cells[0]} (without {cells[2]}), "
            f"accuracy {cells[1]} (without {cells[3]})",
            flush=True,
        )


if __name__ == "__main__":
    main()
