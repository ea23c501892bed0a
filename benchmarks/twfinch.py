"""TW-FINCH, our reading of Sarfraz et al., "Temporally-Weighted Hierarchical Clustering for Unsupervised Action
Segmentation" (CVPR 2021), for comparison; and k-means on the snippets themselves.

    python benchmarks/twfinch.py arrays annotations.csv --fps 15 --clusters 10

Rows of each array in the folder are clustered within their video, as the paper does, to as many clusters as the video
has classes. Every row is joined to its nearest neighbour, where distance is (1 - cosine) · |difference in time|; the
connected components are the first partition, and their means are joined in the same way, until at most the number that
is wanted remains. If a round ends below it, the last partition above it is merged pair by pair instead.
Prints MoF, edit score and F1 (feel_steps/evaluation/segmentation.py) of both, and of the project's segmentation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from feel_steps.evaluation.segmentation import measure_segments
from feel_steps.explore.segment import segment
from feel_steps.tables.kinds import Columns
from feel_steps.tables.snippets import Snippets


def distances(means: np.ndarray, times: np.ndarray, rows: int) -> np.ndarray:
    """(1 - cosine) · |difference in time| / rows, [N, N]; the diagonal is infinite."""
    length = np.linalg.norm(means, axis=1, keepdims=True)
    unit = means / np.where(length > 0, length, 1)
    apart = (1 - unit @ unit.T).clip(0) * np.abs(times[:, None] - times) / rows
    np.fill_diagonal(apart, np.inf)
    return apart


def join_neighbours(means: np.ndarray, times: np.ndarray, rows: int) -> np.ndarray:
    """Connected components of the graph of first neighbours, int [N]."""
    nearest = distances(means, times, rows).argmin(1)
    N = len(means)
    graph = coo_array((np.ones(N), (np.arange(N), nearest)), shape=(N, N))
    return connected_components(graph, directed=False)[1]


def average(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each cluster, and its mean time."""
    n = np.bincount(labels)
    means = np.stack([np.bincount(labels, column) for column in features.T], 1) / n[:, None]
    return means, np.bincount(labels, np.arange(len(labels))) / n


def twfinch(features: np.ndarray, clusters: int) -> np.ndarray:
    """Labels [T] of the rows of one video [T, D]."""
    T = len(features)
    labels = np.arange(T)
    while labels.max() + 1 > clusters:
        merged = join_neighbours(*average(features, labels), T)[labels]
        if merged.max() + 1 < clusters or merged.max() == labels.max():
            break
        labels = merged
    while labels.max() + 1 > clusters:
        apart = distances(*average(features, labels), T)
        a, b = sorted(np.unravel_index(apart.argmin(), apart.shape))
        labels = np.where(labels == b, a, labels)
        labels = np.unique(labels, return_inverse=True)[1]
    return labels


def to_segments(labels: list[np.ndarray], video_ids: list[str], fps: float) -> Columns:
    """A segments table from a label for each row."""
    rows = []
    for video_id, own in zip(video_ids, labels, strict=True):
        edges = np.concatenate([[0], np.flatnonzero(np.diff(own)) + 1, [len(own)]])
        rows += [(video_id, own[a], a / fps, b / fps) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    ids, cluster, start, end = zip(*rows, strict=True)
    return {
        "video_id": np.array(ids, object), "cluster": np.array(cluster), "t_start": np.array(start),
        "t_end": np.array(end),
    }  # fmt: skip


def say(name: str, segments: Columns, annotations: Columns) -> None:
    rows = measure_segments(segments, annotations)
    for stage in ("segment", "segment_video"):
        print(f"{name:28s}{stage:15s}" + "  ".join(f"{m} {v:.3f}" for s, m, v in rows if s == stage), flush=True)


def main(
    arrays: Annotated[Path, typer.Argument(help="folder of .npy files [rows, numbers]")],
    annotations: Annotated[Path, typer.Argument(help="CSV video_id,label,t_start,t_end")],
    clusters: Annotated[int, typer.Option(help="K")],
    fps: Annotated[float, typer.Option(help="rows a second")],
    window: Annotated[float, typer.Option(help="seconds around a row that describe it")] = 2.0,
    seeds: Annotated[int, typer.Option(help="how many")] = 3,
) -> None:
    from sklearn.cluster import KMeans

    files = sorted(arrays.glob("*.npy"))
    own = [np.load(file).astype(np.float32) for file in files]
    offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in own])])
    snippets = Snippets([file.stem for file in files], np.concatenate(own), offsets)
    truth = read_truth(annotations)
    n = np.ones(len(files), int)
    videos = {
        "video_id": np.array(snippets.video_ids, object),
        "fps": n * fps,
        "snippet_stride": n,
        "snippet_window": n,
    }
    classes = [max(1, len(set(truth["label"][truth["video_id"] == file.stem]))) for file in files]
    labels = [twfinch(rows, k) for rows, k in zip(own, classes, strict=True)]
    say("TW-FINCH, K of the video", to_segments(labels, snippets.video_ids, fps), truth)
    for seed in range(seeds):
        found = KMeans(clusters, n_init=10, random_state=seed).fit(snippets.features).labels_
        say(f"k-means, seed {seed}", to_segments(np.split(found, offsets[1:-1]), snippets.video_ids, fps), truth)
        say(f"segment, seed {seed}", segment(snippets, videos, clusters, seed, window=window), truth)


def read_truth(path: Path) -> Columns:
    import pandas as pd

    table = pd.read_csv(path, dtype={"video_id": str, "label": str})
    return {name: table[name].to_numpy() for name in ("video_id", "label", "t_start", "t_end")}


if __name__ == "__main__":
    typer.run(main)
