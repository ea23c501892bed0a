"""A segmentation: every moment of every video has a cluster (docs/explanation/parts.md).

Each snippet is described by what happens around it, k-means groups the snippets, and a Viterbi pass makes the clusters
coherent in time; the centres, how long each cluster lasts and when it comes are learnt from its result, and again,
until all agree.

Dimensions: V videos, S snippets in all, T snippets of a video, E numbers of a description, K clusters.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from feel_steps.cluster import cluster
from feel_steps.description import Description
from feel_steps.errors import InputError
from feel_steps.tables.kinds import Columns
from feel_steps.tables.snippets import Snippets
from feel_steps.tables.tables import timing

ROUNDS = 20  # of Viterbi training, at most
BINS = 20  # of the time of a video, for when clusters come


def segment(
    snippets: Snippets,
    videos: Columns,
    clusters: int,
    seed: int,
    *,
    window: float = 2.0,
    train: np.ndarray | None = None,
) -> Columns:
    """Give every moment a cluster.

    Parameters
    ----------
    snippets : Snippets
    videos : columns of a videos table
        Of which ``fps``, ``snippet_stride`` and ``snippet_window`` are used.
    clusters : int
        K.
    seed : int
    window : float
        Seconds around a snippet that describe it; about the length of a short action.
    train : bool [V], optional
        Videos that the centres are learnt from; default: all.

    Returns
    -------
    columns of a segments table
        Segments tile each video; neighbours differ. ``score`` is how much nearer the cluster's centre is than the next
        one, (d2 - d1) / d2, mean over the snippets, from 0 to 1.

    Raises
    ------
    InputError
        The window is not above 0, or there are fewer training snippets than clusters.
    """
    if not window > 0:
        raise InputError(f"window: {window:g} s; expected a number above 0, such as 2")
    own = timing(videos, snippets.video_ids)
    fps, stride, reach = (own[name] for name in ("fps", "snippet_stride", "snippet_window"))
    sizes = np.maximum(1, np.round(window * fps / stride)).astype(int)  # snippets of a window
    description = Description.fit(snippets, sizes, "motion", within=True)
    pairs = zip(snippets.each_video(), sizes, strict=True)
    x = np.concatenate([description.apply(features, size) for features, size in pairs])
    learnt = np.ones(len(fps), bool) if train is None else train
    labels, clarity = _learn(x, snippets.offsets, learnt, clusters, seed, float(np.median(sizes)))
    first = np.flatnonzero(_begins(labels, snippets.offsets))
    stop = np.append(first[1:], len(labels))
    video = np.searchsorted(snippets.offsets, first, side="right") - 1
    # a snippet stands for its stride about the centre of its window; the first one and the last reach to the ends
    offset = np.where(first == snippets.offsets[video], 0, (reach - stride)[video] / 2)
    beyond = np.where(stop == snippets.offsets[video + 1], (reach - stride)[video], (reach - stride)[video] / 2)
    return {
        "video_id": np.array(snippets.video_ids, object)[video],
        "cluster": labels[first].astype(np.int32),
        "score": np.add.reduceat(clarity, first) / (stop - first),
        "t_start": ((first - snippets.offsets[video]) * stride[video] + offset) / fps[video],
        "t_end": ((stop - snippets.offsets[video]) * stride[video] + beyond) / fps[video],
    }


def _learn(
    x: np.ndarray, offsets: np.ndarray, train: np.ndarray, clusters: int, seed: int, size: float
) -> tuple[np.ndarray, np.ndarray]:
    """Viterbi training: cluster of each snippet [S] and how clear it is.

    A snippet at distance r from a centre costs D r² / (2 R τ), with R the mean of r², D the number of directions that x
    really has, (Σ λ)² / Σ λ² of its covariance's eigenvalues, and τ the snippets that make one independent observation
    (:func:`_dependence`; at first ``size``, since so many share a window): a Gaussian of equal spread. To be in a
    cluster when other videos seldom are costs more (:func:`_when`). To leave a cluster that lasts n snippets on average
    costs log(n (K - 1)).
    """
    inside = np.repeat(train, np.diff(offsets))
    learnt = x[inside]
    if len(learnt) < max(2, clusters):
        raise InputError(
            f"segmentation: {len(learnt)} snippets of training videos for {clusters} clusters; lower clusters, or give "
            "longer videos"
        )
    if not np.ptp(learnt, 0).any():
        raise InputError("segmentation: all snippets of the training videos have the same features; extract them again")
    labels, _, centres = cluster(learnt.astype(np.float32), clusters, seed, n_init=5)
    centres = centres.astype(np.float64)
    values = np.linalg.eigvalsh(np.cov(learnt.T))
    directions = values.sum() ** 2 / (values**2).sum()
    leave = np.full(clusters, np.log(size * max(1, clusters - 1)))
    unusual, tau = np.zeros((len(x), clusters)), size
    before = np.full(len(x), -1)
    for _ in range(ROUNDS):
        squares = _squares(x, centres)
        cost = (squares * (directions / (2 * squares.min(1).mean())) + unusual) / tau
        labels = np.concatenate([viterbi(cost[a:b], leave) for a, b in zip(offsets[:-1], offsets[1:], strict=True)])
        if np.array_equal(labels, before):
            break
        before = labels
        own = labels[inside]
        lasting = np.bincount(own, minlength=clusters)  # snippets
        used = lasting > 0
        sums = np.stack([np.bincount(own, column, minlength=clusters) for column in learnt.T], 1)
        centres[used] = sums[used] / lasting[used, None]
        first = _begins(labels, offsets)
        runs = np.bincount(labels[first & inside], minlength=clusters)
        last = (lasting + size) / (runs + 1)  # one bout of a window, before any is seen
        leave = np.log(np.maximum(last, 1) * max(1, clusters - 1))
        tau = _dependence(learnt - centres[own], first[inside])
        unusual = _when(labels, offsets, train, clusters)
    return labels, _clarity(np.sqrt(_squares(x, centres)), labels)


def _begins(labels: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Which snippets [S] begin a segment: the cluster changes, or the video."""
    begins = np.concatenate([[True], labels[1:] != labels[:-1]])
    begins[offsets[:-1]] = True
    return begins


def _dependence(rest: np.ndarray, begins: np.ndarray) -> float:
    """Snippets that make one independent observation, 1 or more.

    Were snippets independent, the mean of n of them would vary by 1/n of what one varies. It varies by τ/n (the method
    of batch means). Windows share snippets, and one person repeats a movement in one way, which makes τ larger.

    Parameters
    ----------
    rest : float [S, E]
        Snippets minus the centres of their clusters.
    begins : bool [S]
        Where segments begin.
    """
    first = np.flatnonzero(begins)
    sums = np.add.reduceat(rest, first, axis=0)
    lengths = np.diff(np.append(first, len(rest)))
    one = (rest**2).sum(1).mean()
    return max(1.0, float(((sums**2).sum(1) / lengths).mean() / one)) if one > 0 else 1.0


def _when(labels: np.ndarray, offsets: np.ndarray, train: np.ndarray, clusters: int) -> np.ndarray:
    """-log of how much more often than on average a cluster comes at this time in other videos, [S, K].

    Time is relative, in twentieths of a video, smoothed by one of them. A uniform density of half the weight is added.
    Where videos follow no script this is about 0, and for the only video it is 0.
    """
    lengths, V = np.diff(offsets), len(offsets) - 1
    video = np.repeat(np.arange(V), lengths)
    bins = (np.arange(len(labels)) - offsets[video]) * BINS // lengths[video]
    share = np.bincount((video * clusters + labels) * BINS + bins, 1 / lengths[video], V * clusters * BINS)
    share = gaussian_filter1d(share.reshape(V, clusters, BINS), 1, axis=2, mode="nearest") * train[:, None, None]
    density = share.sum(0) - share  # [V, K, BINS], of the other videos
    density += density.mean(2, keepdims=True) / 2 + 1e-9
    density /= density.mean(2, keepdims=True)
    return -np.log(density[video, :, bins])


def _clarity(distances: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(d2 - d1) / d2 for distances [S, K]: d1 to the own centre, d2 to the nearest other, 0 where that is nearer."""
    rows = np.arange(len(labels))
    own = distances[rows, labels]
    others = distances.copy()
    others[rows, labels] = np.inf
    other = others.min(1)
    return (1 - own / np.maximum(other, 1e-12)).clip(0, 1)


def _squares(x: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Squared distances of [S, E] from [K, E], [S, K]."""
    return ((x**2).sum(1)[:, None] - 2 * x @ centres.T + (centres**2).sum(1)).clip(0)


def viterbi(cost: np.ndarray, leave: np.ndarray) -> np.ndarray:
    """The cheapest path through costs [T, K], where leaving cluster k costs ``leave[k]``; int64 [T].

    Of equally cheap paths, one that stays goes first, then the lower cluster.
    """
    T, K = cost.shape
    came = np.empty((T, K), np.int64)
    best, every = cost[0].copy(), np.arange(K)
    for t in range(1, T):
        other = best + leave
        first = int(other.argmin())
        moved = other[first] < best
        came[t] = np.where(moved, first, every)
        best = np.where(moved, other[first], best) + cost[t]
    path = np.empty(T, np.int64)
    path[-1] = best.argmin()
    for t in range(T - 1, 0, -1):
        path[t - 1] = came[t, path[t]]
    return path
