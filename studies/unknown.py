"""The number of clusters without labels: four estimates of K against the number of annotated classes.

N videos; candidates are K = 2 … 2√N, which asks for at least √N / 2 videos a cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import eigh
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_mutual_info_score, silhouette_score

from feel_steps.cluster import cluster
from feel_steps.jaccard import jaccard_distance
from feel_steps.runtime.progress import track
from feel_steps.tables.kinds import Columns
from studies.measures import Pooled, Row, first_classes, to_rows, to_table

SUBSAMPLES = 3  # of the stability


def unknown_clusters(
    pooled: Pooled, annotations: Columns, *, counts: Sequence[int] = (3, 5, 10), images: int = 300
) -> Columns:
    """Estimate K on subsets of the classes, and on scikit-learn's digits beside them.

    Parameters
    ----------
    pooled : mapping of (seed, iteration) to columns of a pooled table
    annotations : columns of an annotations table
    counts : sequence of int
        Numbers of classes, one random subset a seed; those beyond what is annotated are left out, and all classes are
        added.
    images : int
        Digits drawn, of ten classes or the counts below; 0 for none.

    Returns
    -------
    columns of a study table
        A setting each estimate of :func:`estimates`, and one with ``, digits``, over the true number of classes x:
        ``estimate``, and ``relative error``, how far off it is as a share of the truth.

    Raises
    ------
    InputError
        No video is annotated.
    """
    problems = []  # features, class of each row, seed, iteration, how it is called
    for (seed, iteration), table in pooled.items():
        problems.append((table["feature"], first_classes(table["video_id"], annotations), seed, iteration, ""))
    for seed in sorted({seed for seed, _ in pooled}) if images else []:
        from sklearn.datasets import load_digits

        pixels, digit = load_digits(return_X_y=True)
        drawn = np.random.default_rng(seed).permutation(len(digit))[:images]
        problems.append((pixels[drawn].astype(np.float32), digit[drawn], seed, 1, ", digits"))
    rows: list[Row] = []
    for features, classes, seed, iteration, where in track(problems, "estimating K", "problem"):
        C, random = classes.max() + 1, np.random.default_rng(seed)
        for count in [count for count in counts if count < C] + [C]:
            videos = np.flatnonzero(np.isin(classes, random.permutation(C)[:count]))
            for setting, K in estimates(features[videos], seed).items():
                measured = {"estimate": K, "relative error": abs(K - count) / count}
                rows += to_rows(setting + where, count, seed, iteration, measured)
    return to_table(rows)


def estimates(features: np.ndarray, seed: int) -> dict[str, int]:
    """Estimate K in four ways.

    Parameters
    ----------
    features : float32 [N, D]
        At least 4 videos.
    seed : int
        Of k-means and of the subsamples.

    Returns
    -------
    dict
        ``eigengap``: the largest gap in the spectrum of the normalised Laplacian of the refined graph, whose weights
        are 1 - d_J (von Luxburg, "A tutorial on spectral clustering", 2007). ``silhouette`` and
        ``silhouette, refined``: the K whose k-means clusters have the highest one, in Euclidean and in k-reciprocal
        Jaccard distance. ``stability``: the K at which clusterings of subsamples of 80 % agree best (Ben-Hur et al.,
        2002), by mutual information corrected for chance, which grows with K otherwise.
    """
    N = len(features)
    features = PCA().fit_transform(features).astype(np.float32)  # the same distances in N dimensions
    candidates = np.arange(2, min(round(2 * N**0.5), N - 2) + 1)
    jaccard = jaccard_distance(features).astype(np.float64)
    jaccard = np.maximum((jaccard + jaccard.T) / 2, 0)
    np.fill_diagonal(jaccard, 0)
    labels = [cluster(features, int(K), seed, n_init=3)[0] for K in candidates]
    scores: dict[str, ArrayLike] = {
        "eigengap": np.diff(_spectrum(1 - jaccard, len(candidates) + 2))[1:],
        "silhouette": [silhouette_score(features, own) for own in labels],
        "silhouette, refined": [silhouette_score(jaccard, own, metric="precomputed") for own in labels],
        "stability": _stability(features, candidates, seed),
    }
    return {name: int(candidates[np.argmax(score)]) for name, score in scores.items()}


def _spectrum(similarity: np.ndarray, n: int) -> np.ndarray:
    """The n smallest eigenvalues of the normalised Laplacian of a graph's weights [N, N], ascending."""
    weights = similarity - np.diag(np.diag(similarity))
    degree = weights.sum(1)
    scale = 1 / np.sqrt(np.where(degree > 0, degree, 1))
    laplacian = np.eye(len(weights)) - scale[:, None] * weights * scale
    return eigh(laplacian, eigvals_only=True, subset_by_index=(0, n - 1))


def _stability(features: np.ndarray, candidates: np.ndarray, seed: int) -> list[float]:
    """Mean agreement, for each candidate, of clusterings of subsamples on the videos that two of them share."""
    N, random = len(features), np.random.default_rng(seed)
    inside = np.array([random.permutation(N) < 0.8 * N for _ in range(SUBSAMPLES)])  # [B, N]
    agreement = []
    for K in candidates:
        labels = np.zeros(inside.shape, np.int32)
        for place, some in enumerate(inside):
            labels[place, some] = cluster(features[some], min(int(K), some.sum()), seed + place, n_init=3)[0]
        pairs = combinations(range(SUBSAMPLES), 2)
        shared = ((inside[a] & inside[b], labels[a], labels[b]) for a, b in pairs)
        agreement.append(float(np.mean([adjusted_mutual_info_score(a[both], b[both]) for both, a, b in shared])))
    return agreement
