"""Group the pooled videos: by k-means, as published, or by the consensus of many k-means over several views (ours).

Two videos belong together as far as k-means puts them together, over many starts and numbers of clusters, whatever view
they are seen in. Dimensions: N videos, K clusters, R k-means runs, M landmarks.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import eigh

from feel_steps.errors import InputError
from feel_steps.parts import smooth
from feel_steps.tables.given import Given
from feel_steps.tables.kinds import Columns

if TYPE_CHECKING:
    from sklearn.cluster import KMeans
    from threadpoolctl import ThreadpoolController


COMPONENTS = 64  # principal components of a view that a consensus clusters
BLOCK = 1 << 15  # videos whose agreement with the clusters is computed at once
MOST_STEPS = 20  # of one of its k-means runs: a co-association needs no converged ones


def cluster(
    features: np.ndarray,
    clusters: int,
    seed: int,
    *,
    n_init: int = 10,
    given: Given | None = None,
    before: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run k-means++ and Lloyd's algorithm, best of ``n_init`` starts.

    With ``given``, k-means starts from the means of the videos whose clusters are known (seeded k-means: Basu et al.,
    ICML 2002), and draws the other centres by k-means++ from the rest. One video of a cluster is too few to start from;
    it only numbers the cluster. At the end the videos are put back.

    Parameters
    ----------
    features : float32 [N, D]
        Pooled videos.
    clusters : int
        K. Where fewer than K videos differ, clusters stay empty: they are kept, with a warning.
    seed : int
    n_init : int
        Starts, of which the one with the least inertia is taken.
    given : Given, optional
        What a person said about videos.
    before : int [N], optional
        With ``given``: clusters of the iteration before, which keep their numbers.

    Returns
    -------
    labels : int32 [N]
    distances : float64 [N]
        Euclidean, to the own centre.
    centres : float32 [K, D]

    Raises
    ------
    InputError
        K below 1 or above N, or features that are not finite.
    """
    _check(features, clusters)
    if given is None:
        kmeans = _kmeans(features, clusters, seed, n_init)
        labels, centres = kmeans.labels_.astype(np.int32), kmeans.cluster_centers_.astype(np.float32)
    else:
        labels, centres = _seeded_kmeans(features, clusters, seed, n_init, given, given.known(before))
    _say_empty(len(np.unique(labels)), clusters)
    difference = features - centres[labels]  # [N, D]
    distances = np.sqrt(np.einsum("nd,nd->n", difference, difference, dtype=np.float64))
    return labels, distances, centres


def consensus(
    views: Sequence[np.ndarray],
    clusters: int,
    seed: int,
    *,
    starts: int = 60,
    landmarks: int = 5000,
    given: Given | None = None,
    before: np.ndarray | None = None,
    chain: np.ndarray | None = None,
) -> tuple[Columns, np.ndarray]:
    """Cluster by what many k-means runs agree on, in all views (evidence accumulation: Fred and Jain, TPAMI 2005).

    In each view k-means runs ``starts`` times, once from each start, with a number of clusters drawn from K to 2K. The
    co-association of two videos is the share of all runs that puts them together. Each video is described by its
    co-association with all others (Kuncheva, Hadjitodorov and Todorova, Information Fusion 2006). Average linkage of
    the distances between these rows, cut at K clusters, gives the result. Beyond ``landmarks`` videos, so many of them
    are drawn and linked, and the others join the cluster that they agree with most: memory grows with M² and N (R + K),
    not with N².

    With ``given``, the clusters first get the numbers of the known ones that they share most videos with. A cluster of
    which a person named several videos starts from these alone. Then every other video joins the cluster that it agrees
    with most, again and again until nothing changes.

    Parameters
    ----------
    views : sequence of float32 [N, D]
        Pooled videos in each view; all views count the same.
    clusters : int
        K. Where fewer than K videos differ, clusters stay empty: they are kept, with a warning.
    seed : int
    starts : int
        k-means runs in each view.
    landmarks : int
        M, at most.
    given, before
        See :func:`cluster`.
    chain : int [N], optional
        Where rows are parts of videos: the video of each, in order of time. Neighbours then speak for each other, see
        :func:`feel_steps.parts.smooth`.

    Returns
    -------
    columns : dict of columns [N]
        ``cluster`` int32, numbered by the first landmark in them; float64: ``distance``, 1 - agreement with the own
        cluster, and ``margin``, how much less the agreement with the runner-up is (NaN where K = 1); ``second`` int32,
        the runner-up (-1 where K = 1). The agreement of a video with a cluster is its mean co-association with the
        cluster's other landmarks (0 where there is none).
    centres : float32 [K, ΣD]
        Mean of each cluster's videos, the views side by side.

    Raises
    ------
    InputError
        K below 1 or above N, or features that are not finite.
    """
    for view in views:
        _check(view, clusters)
    N = len(views[0])
    draws = np.random.default_rng(seed)
    runs = np.concatenate([_runs(view, clusters, starts, draws) for view in views])  # [R, N]
    linked = np.arange(N) if landmarks >= N else np.sort(draws.permutation(N)[: max(landmarks, clusters)])
    labels = np.full(N, -1)
    used = min(clusters, len(np.unique(runs[:, linked], axis=1).T))  # identical videos are together in every run
    _say_empty(used, clusters)
    labels[linked] = _link(runs[:, linked], used)
    agreement = _agreement(runs, labels, clusters)
    labels = np.where(labels < 0, agreement.argmax(1), labels).astype(np.int32)
    if chain is not None:
        agreement = smooth(agreement, chain)
        labels = agreement.argmax(1).astype(np.int32)
    if given is not None:
        labels, agreement = _settle(runs, labels, clusters, given, before)
    rows = np.arange(N)
    own = agreement[rows, labels]
    agreement[rows, labels] = -np.inf
    alone = clusters == 1
    columns = {
        "cluster": labels,
        "distance": 1 - own,
        "margin": np.full(N, np.nan) if alone else own - agreement.max(1),
        "second": np.full(N, -1, np.int32) if alone else agreement.argmax(1).astype(np.int32),
    }
    together, sizes = np.concatenate(views, 1), np.bincount(labels, minlength=clusters)
    members = [(labels == k) | (sizes[k] == 0) for k in range(clusters)]  # an empty cluster has the mean of all videos
    centres = np.stack([together[own].mean(0) for own in members]).astype(np.float32)
    return columns, centres


def _say_empty(used: int, clusters: int) -> None:
    if used < clusters:
        warnings.warn(f"only {used} of clusters={clusters} have videos: too many videos are identical", stacklevel=3)


def agreement(
    views: Sequence[np.ndarray], labels: np.ndarray, clusters: int, seed: int, *, runs: int = 20, share: float = 0.8
) -> np.ndarray:
    """Mean co-association of every video with the others of its cluster, over k-means runs on subsamples.

    This is the item consensus of Monti et al. (Machine Learning 2003): whatever made the clusters, k-means groups a
    part of the videos anew, from one start in one view at a time, and puts the rest to the nearest centres.

    Parameters
    ----------
    views : sequence of float32 [N, D]
        Pooled videos in each view; all views count the same.
    labels : int [N]
        The clusters to judge.
    clusters : int
        K, of the runs too; N where there are fewer videos.
    seed : int
    runs : int
        k-means runs in each view.
    share : float
        Of the videos, what each run is made of.

    Returns
    -------
    float64 [N]
        From 0 to 1; 0 for a video that is alone in its cluster.
    """
    N = len(labels)
    draws = np.random.default_rng(seed)
    groups = min(clusters, N)
    part = max(groups, int(np.ceil(share * N)))
    found = []
    for view in views:
        _check(view, groups)
        features = _principal(np.asarray(view, np.float32))
        for _ in range(runs):
            drawn, start = np.sort(draws.permutation(N)[:part]), int(draws.integers(0, 2**31))
            found.append(_kmeans(features[drawn], groups, start, 1, MOST_STEPS).predict(features))
    return _agreement(np.stack(found), labels, clusters)[np.arange(N), labels]


def alike(features: np.ndarray, labels: np.ndarray, clusters: int) -> list[tuple[int, int]]:
    """Pairs of clusters whose centres are closer than their spread.

    Spread is the root mean square distance of a cluster's videos from its centre, here the mean of both clusters'.

    Parameters
    ----------
    features : float32 [N, D]
        Pooled videos.
    labels : int [N]
    clusters : int
        K.

    Returns
    -------
    list of (int, int)
        Ascending. Clusters with fewer than two videos have no spread and are in no pair.
    """
    from scipy.spatial.distance import pdist, squareform

    used = np.flatnonzero(np.bincount(labels, minlength=clusters) > 1)
    if len(used) < 2:
        return []
    members = [features[labels == k].astype(np.float64) for k in used]
    centres = np.stack([own.mean(0) for own in members])
    spread = np.array([np.sqrt(own.var(0).sum()) for own in members])
    close = squareform(pdist(centres)) < (spread[:, None] + spread) / 2
    first, second = np.nonzero(np.triu(close, 1))
    return list(zip(used[first].tolist(), used[second].tolist(), strict=True))


def _seeded_kmeans(
    features: np.ndarray, clusters: int, seed: int, n_init: int, given: Given, known: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Labels int32 [N] and centres float32 [K, D] of k-means that starts from the known videos and obeys."""
    from scipy.spatial.distance import cdist

    draws, best = np.random.default_rng(seed), None
    sure = np.flatnonzero(np.bincount(known[known >= 0], minlength=clusters) > 1).tolist()
    if not sure:
        best = _kmeans(features, clusters, seed, n_init)
    for _ in range(0 if not sure else n_init if len(sure) < clusters else 1):
        start = np.full((clusters, features.shape[1]), np.nan)
        for k in sure:
            start[k] = features[known == k].mean(0)
        for k in np.flatnonzero(np.isnan(start[:, 0])).tolist():  # k-means++: far from the centres so far
            there = start[~np.isnan(start[:, 0])]
            far = cdist(features, there, "sqeuclidean").min(1)
            far = far if far.sum() > 0 else np.ones(len(features))
            start[k] = features[draws.choice(len(features), p=far / far.sum())]
        found = _kmeans(features, clusters, seed, 1, start=start)
        best = found if best is None or found.inertia_ < best.inertia_ else best
    assert best is not None
    centres = best.cluster_centers_.astype(np.float32)
    centres = centres[np.argsort(_renumber(best.labels_, known, clusters))]
    labels = given.obey(-cdist(features, centres)).astype(np.int32)
    for k in np.unique(labels).tolist():
        centres[k] = features[labels == k].mean(0)
    return labels, centres


def _renumber(labels: np.ndarray, known: np.ndarray, clusters: int) -> np.ndarray:
    """A number for each cluster, int [K]: that of the known cluster with which it shares most videos, one to one."""
    from scipy.optimize import linear_sum_assignment

    shared = np.zeros((clusters, clusters), int)
    np.add.at(shared, (labels[known >= 0], known[known >= 0]), 1)
    return linear_sum_assignment(-shared)[1]


def _settle(
    runs: np.ndarray, labels: np.ndarray, clusters: int, given: Given, before: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Labels int32 [N] that obey, numbered as what is known, and the agreement float64 [N, K] with their clusters."""
    labels = _renumber(labels, given.known(before), clusters)[labels]
    if before is None:  # several seeds say more than what was found without them; one is too few to start from
        seeds = np.bincount(given.fixed[given.fixed >= 0], minlength=clusters)
        labels = np.where(seeds[labels] > 1, -1, labels)
    labels = np.where(given.fixed >= 0, given.fixed, labels)
    for _ in range(MOST_STEPS):
        agreement = _agreement(runs, np.where(given.ignored, -1, labels), clusters)
        last, labels = labels, given.obey(agreement)
        if (labels == last).all():
            break
    return labels.astype(np.int32), _agreement(runs, labels, clusters)


def _runs(features: np.ndarray, clusters: int, starts: int, draws: np.random.Generator) -> np.ndarray:
    """Labels of one-start k-means runs with K to 2K clusters, int32 [R, N]."""
    features = _principal(np.asarray(features, np.float32))
    N = len(features)
    most = min(2 * clusters, N)
    sizes, seeds = draws.integers(min(clusters, most), most + 1, starts), draws.integers(0, 2**31, starts)
    return np.stack(
        [_kmeans(features, int(k), int(s), 1, MOST_STEPS).labels_ for k, s in zip(sizes, seeds, strict=True)]
    )


def _principal(features: np.ndarray) -> np.ndarray:
    """The first principal components of [N, D], float32 [N, min(N, D, COMPONENTS)]: k-means many times faster."""
    centred = features - features.mean(0)
    N, D = centred.shape
    if D <= COMPONENTS:
        return centred
    product = (centred @ centred.T if N < D else centred.T @ centred).astype(np.float64)
    size = len(product)
    values, vectors = eigh(product, subset_by_index=(max(0, size - COMPONENTS), size - 1))
    return (vectors * np.sqrt(values.clip(0)) if N < D else centred @ vectors).astype(np.float32)


def _link(runs: np.ndarray, clusters: int) -> np.ndarray:
    """Average linkage of the rows of the co-association of M videos in [R, M] runs, cut at K clusters; int [M].

    Rows are alike where two videos have the same companions. Linking the co-association itself leaves doubtful videos
    alone, in clusters of one or two, and then has to merge classes (docs/results/method.md).
    """
    from scipy.cluster.hierarchy import linkage
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    M = runs.shape[1]
    if M == 1:
        return np.zeros(1, int)
    together = np.zeros((M, M))
    for run in runs:
        together += run[:, None] == run
    products = together @ together  # whole numbers, so exact in any order of summation
    del together
    length = products.diagonal().copy()
    apart = np.empty(M * (M - 1) // 2)  # pairs (i, j), i < j, row by row, as linkage wants them
    for i in range(M - 1):
        first = i * M - i * (i + 1) // 2
        apart[first : first + M - 1 - i] = length[i] + length[i + 1 :] - 2 * products[i, i + 1 :]
    np.sqrt(apart, out=apart)
    del products
    merges = linkage(apart, "average")[: M - clusters, :2].astype(np.int64)  # the first leave K clusters
    merged = np.repeat(np.arange(M, M + len(merges)), 2)
    size = M + len(merges)
    tree = coo_array((np.ones(len(merged)), (merges.ravel(), merged)), shape=(size, size))
    return connected_components(tree, directed=False)[1][:M]


def _agreement(runs: np.ndarray, labels: np.ndarray, clusters: int) -> np.ndarray:
    """Mean co-association of every video with the labelled videos of each cluster but itself, float64 [N, K].

    Videos labelled -1 are in no cluster.
    """
    R, N = runs.shape
    known = labels >= 0
    size = np.bincount(labels[known], minlength=clusters).astype(float)  # [K]
    counts = [  # of each run: videos of each cluster that are in each of its groups
        np.bincount(run[known] * clusters + labels[known], minlength=(run.max() + 1) * clusters).reshape(-1, clusters)
        for run in runs
    ]
    mean = np.zeros((N, clusters))
    for a in range(0, N, BLOCK):
        part = slice(a, a + BLOCK)
        total = sum(count[run[part]] for run, count in zip(runs, counts, strict=True)) / R
        others = np.tile(size, (len(total), 1))
        rows, own = np.flatnonzero(known[part]), labels[part][known[part]]
        total[rows, own] -= 1  # a video is always with itself
        others[rows, own] -= 1
        np.divide(total, others, out=mean[part], where=others > 0)
    return mean


def _kmeans(
    features: np.ndarray, clusters: int, seed: int, starts: int, steps: int = 300, start: np.ndarray | None = None
) -> KMeans:
    """Fit scikit-learn's k-means, the same at every call; from the centres ``start`` [K, D], if there are any."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    # scikit-learn adds up the threads' partial sums in the order they finish: two commute, three would not
    openmp = _openmp()
    threads = min([2, *(library["num_threads"] for library in openmp.info())])
    with openmp.limit(limits=threads), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # said by the caller, in the user's words
        how = "k-means++" if start is None else np.asarray(start, np.float32)
        kmeans = KMeans(clusters, init=how, n_init=starts, random_state=seed, max_iter=steps)
        return kmeans.fit(np.asarray(features, np.float32))


@functools.cache
def _openmp() -> ThreadpoolController:
    """The OpenMP libraries that are loaded with scikit-learn; finding them takes as long as a small k-means."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="openmp")


def _check(features: np.ndarray, clusters: int) -> None:
    if not 1 <= clusters <= len(features):
        N = len(features)
        raise InputError(f"clusters={clusters}, but only {N} training videos (or parts of videos); expected 1 … {N}")
    finite = np.isfinite(features).all(1)
    if not finite.all():
        raise InputError(f"pooled features, row {int(np.argmin(finite))}: NaN or infinite; extract that video again")


def keep_clusters(features: np.ndarray, centres: np.ndarray, clusters: Columns) -> Columns:
    """Stand in for the refinement (``refine: method: none``): the clusters as they are, and how reliable they are.

    Parameters
    ----------
    features : float32 [N, D]
    centres : float32 [K, D]
    clusters : columns [N] of a clusters table
        ``cluster``; and ``distance``, ``margin`` and ``second`` where a consensus knows them.

    Returns
    -------
    dict of columns [N]
        As :func:`feel_steps.jaccard.refine` gives them. ``euclidean`` is the Euclidean distance to the own centre,
        ``jaccard`` NaN. ``distance``, ``margin`` and ``second`` are those of the consensus; of k-means, they are the
        Euclidean distance to the own centre, how much farther the nearest other centre is (NaN where K = 1), and which
        one that is (-1 where K = 1).
    """
    from scipy.spatial.distance import cdist

    labels, rows = clusters["cluster"], np.arange(len(features))
    distances = cdist(features.astype(np.float64), centres.astype(np.float64))
    own = distances[rows, labels]
    columns = {"cluster": labels, "distance": own, "jaccard": np.full(len(features), np.nan), "euclidean": own}
    if "margin" in clusters:
        return columns | {name: clusters[name] for name in ("distance", "margin", "second")}
    distances[rows, labels] = np.inf
    alone = len(centres) == 1
    margin = np.full(len(features), np.nan) if alone else distances.min(1) - own
    second = np.full(len(features), -1) if alone else distances.argmin(1)
    return columns | {"margin": margin, "second": second.astype(np.int32)}
