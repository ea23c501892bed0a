"""What the studies share: the rows of their tables, and how a clustering is judged.

N videos; a video's class is its first annotated label, as an integer, or -1 where nobody annotated it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score

from feel_steps.cluster import cluster
from feel_steps.errors import InputError
from feel_steps.jaccard import refine
from feel_steps.selection import select
from feel_steps.tables import tables
from feel_steps.tables.folders import read_place
from feel_steps.tables.kinds import Columns

Pooled = Mapping[tuple[int, int], Columns]  # pooled tables by seed and iteration
Row = tuple[str, float, float, int, int, str, float]  # setting, x, y, seed, iteration, metric, value

NONE = float("nan")  # of x and y that a setting does not have


def read_pooled(files: Iterable[Path]) -> dict[tuple[int, int], Columns]:
    """Read pooled tables by seed and iteration, which their folders tell.

    Raises
    ------
    InputError
        A file does not lie in ``…/seed-S/iter-I/``, or is damaged.
    """
    pooled = {}
    for file in files:
        folder = read_place(file.parent)
        if not folder:
            raise InputError(f"{file}: expected a table in …/seed-S/iter-I/, whose folders tell seed and iteration")
        pooled[folder[1:]] = tables.read(file, "pooled")
    return pooled


def to_rows(setting: str, x: float, seed: int, iteration: int, measured: Mapping[str, float]) -> list[Row]:
    """Make a row of each measure of a setting, which has a place on the first axis at most."""
    return [(setting, float(x), NONE, seed, iteration, metric, float(value)) for metric, value in measured.items()]


def to_table(rows: Iterable[Row]) -> Columns:
    """Make the columns of a study table of its rows."""
    setting, x, y, seed, iteration, metric, value = zip(*rows, strict=True)
    return {
        "setting": np.array(setting, object),
        "x": np.array(x, np.float64),
        "y": np.array(y, np.float64),
        "seed": np.array(seed, np.int64),
        "iteration": np.array(iteration, np.int32),
        "metric": np.array(metric, object),
        "value": np.array(value, np.float64),
    }


def first_classes(video_ids: np.ndarray, annotations: Columns) -> np.ndarray:
    """Class of each video, int64 [N]: the place of its first annotated label among all, or -1.

    Raises
    ------
    InputError
        None of the videos is annotated.
    """
    first = pd.Series(annotations["label"], annotations["video_id"], dtype=object).groupby(level=0).first()
    classes = pd.factorize(first.reindex(video_ids), sort=True)[0]
    if (classes < 0).all():
        raise InputError("annotations: no training video has any; this study compares clusters with annotated classes")
    return classes


def judge(classes: np.ndarray, labels: np.ndarray, distance: np.ndarray, rate: float = 0.25) -> dict[str, float]:
    """Say how well clusters agree with classes, and how well the most reliable share of each cluster does.

    Parameters
    ----------
    classes : int64 [N]
    labels : int32 [N]
    distance : float [N]
        The smaller, the more reliable.
    rate : float
        Share of each cluster that is selected.

    Returns
    -------
    dict
        ``NMI``; ``AMI``, the same corrected for chance, comparable over numbers of clusters and videos; ``purity``,
        the share of videos in their cluster's majority class. ``NMI selected`` and ``purity selected`` of the selected
        videos, by the majorities of the whole clusters.
    """
    known = classes >= 0
    selected = np.zeros(len(classes), bool)
    selected[select(labels, distance, rate)[0]] = True
    selected &= known
    majority = pd.crosstab(labels[known], classes[known]).idxmax(axis=1)
    right = classes == majority.reindex(labels).to_numpy()
    return {
        "NMI": float(normalized_mutual_info_score(classes[known], labels[known])),
        "AMI": float(adjusted_mutual_info_score(classes[known], labels[known])),
        "purity": float(right[known].mean()),
        "NMI selected": float(normalized_mutual_info_score(classes[selected], labels[selected])),
        "purity selected": float(right[selected].mean()),
    }


def compare(
    features: np.ndarray, classes: np.ndarray, clusters: int, seed: int, settings: Mapping[str, dict[str, float]]
) -> dict[str, dict[str, float]]:
    """Cluster by k-means, refine under each of the named settings, and judge all of them.

    Returns
    -------
    dict of dict
        What :func:`judge` says of ``k-means`` and of each name.
    """
    labels, distances, centres = cluster(features, clusters, seed)
    found = {"k-means": judge(classes, labels, distances)}
    for name, options in settings.items():
        refined = refine(features, centres, **options)  # type: ignore[arg-type]
        found[name] = judge(classes, refined["cluster"], refined["distance"])
    return found


def mean(measured: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each measure over draws."""
    return {str(name): float(value) for name, value in pd.DataFrame(list(measured)).mean().items()}
