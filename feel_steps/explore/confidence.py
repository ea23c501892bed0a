"""Rates clusters and videos without labels: how stable a cluster is, and how clearly a video belongs to it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from feel_steps.cluster import agreement
from feel_steps.tables.kinds import Columns

DOUBT = 2.0  # videos; weight of the prior, which is chance (the rule of succession)


def rate(views: Sequence[np.ndarray], refined: Columns, clusters: int, seed: int = 0, *, runs: int = 20) -> Columns:
    """Say how stable each cluster is and how clear each video is.

    **Stability** of a cluster of n videos starts from their mean co-association m over k-means runs on subsamples (see
    :func:`feel_steps.cluster.agreement`). That is a share of pairs; :func:`share_of_videos` makes it the share p of
    runs in which one video is where it belongs. Then the size counts: a video has n - 1 others that could have gone
    elsewhere. They count as n - 1 observations beside two of chance, which is 1/K (the posterior mean under a Beta
    prior; Laplace's rule of succession if K = 2): ((n - 1) p + 2/K) / (n + 1). A cluster of three videos, however
    alike, reaches (2 + 2/K) / 4.

    **Clarity** of a video is the simplified silhouette: its margin to the runner-up, relative to the distance to it,
    (d2 - d1) / d2, from 0 (another cluster is as near) to 1; empty where K = 1.

    **Confidence** of a video is stability · (1 + clarity) / 2. The video belongs to its cluster or to the runner-up:
    evens where both are as near, certain where the runner-up is far; and no surer than the cluster is.

    Parameters
    ----------
    views : sequence of float32 [N, D]
        Pooled videos in each view.
    refined : columns [N] of a refined table
        In the order of the views' rows.
    clusters : int
        K.
    seed : int
    runs : int
        k-means runs in each view.

    Returns
    -------
    columns [N] of a confidence table
    """
    labels = refined["cluster"]
    agreed = agreement(views, labels, clusters, seed, runs=runs)
    size = np.bincount(labels, minlength=clusters)
    mean = np.bincount(labels, agreed, minlength=clusters) / np.maximum(size, 1)
    stability = shrink(share_of_videos(mean, clusters), size, clusters)[labels]
    clarity = clear(refined["distance"], refined["margin"])
    confidence = stability * (1 + np.nan_to_num(clarity, nan=1.0)) / 2
    return {
        "video_id": refined["video_id"],
        "cluster": labels,
        "agreement": agreed,
        "stability": stability,
        "clarity": clarity,
        "confidence": confidence,
    }


def share_of_videos(together: np.ndarray, clusters: int) -> np.ndarray:
    """Share p of runs in which a video is in its own cluster, from the share m in which two videos are together.

    Two videos are together if both are where they belong, or both in one of the other K - 1 clusters, which are alike:
    m = p² + (1 - p)² / (K - 1). Solved for p; chance, 1/K, stays 1/K, and what is below counts as chance.
    """
    return (1 + np.sqrt((clusters - 1) * (clusters * together - 1).clip(0))) / clusters


def shrink(share: np.ndarray, size: np.ndarray, clusters: int) -> np.ndarray:
    """Pull shares [K] of clusters with ``size`` [K] videos towards chance, 1/K."""
    others = np.maximum(np.asarray(size) - 1, 0)
    return (others * share + DOUBT / clusters) / (others + DOUBT)


def clear(distance: np.ndarray, margin: np.ndarray) -> np.ndarray:
    """Margin to the runner-up relative to the distance to it, [N] in [0, 1]; NaN where the margin is."""
    runner_up = distance + margin
    clarity = np.divide(margin, runner_up, out=np.zeros(len(margin)), where=runner_up > 0)
    return np.where(np.isnan(margin), np.nan, clarity.clip(0, 1))
