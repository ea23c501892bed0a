"""Measures of a segmentation, in which every moment has a cluster: MoF, edit score and F1 (Farha and Gall, CVPR 2019).

Clusters are named by the best one-to-one assignment to classes (Hungarian, by time in common): over all videos, and,
as another reading, within each video alone, which does not ask whether clusters carry over from video to video.
All times are exact: the moments between two borders, of either kind, count by their length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from feel_steps.tables.kinds import Columns

OVERLAPS = (0.1, 0.25, 0.5)
EDGE = 1e-6  # seconds; shorter moments are rounding
Rows = list[tuple[str, str, float]]


class Moments(NamedTuple):
    """Annotated moments of one video in order of time: class and cluster int [M], length float [M] in seconds."""

    truth: np.ndarray
    found: np.ndarray
    length: np.ndarray


def measure_segments(segments: Columns, annotations: Columns) -> Rows:
    """Measure a segmentation by the annotations.

    Moments without an annotation are cut out of both before anything is compared: a segmentation has no background.
    Where annotations overlap, the one that began last counts. Videos without annotations are not judged.

    Parameters
    ----------
    segments : columns of a segments table
        They tile the videos.
    annotations : columns of an annotations table

    Returns
    -------
    list of (stage, metric, value)
        Stage ``segment``, clusters named over all videos, and ``segment_video``, named within each: ``mof`` (share of
        the time that has the right class), ``edit`` (1 - normalized Levenshtein distance of the sequences of segments,
        mean over videos), ``f1@10``, ``f1@25``, ``f1@50`` (of segments, by overlap). Stage ``segment_class``: the share
        of each class's time that is right, named over all videos. Empty without annotations.
    """
    clusters, labels, videos = _pair_up(segments, annotations)
    if not videos:
        return []
    over_all = _assign(_all_together(videos, len(clusters), len(labels)))
    named = [over_all[video.found] for video in videos]
    own = [_assign(_together(video, len(clusters), len(labels)))[video.found] for video in videos]
    rows = [("segment", *row) for row in _scores(videos, named)] + [
        ("segment_video", *row) for row in _scores(videos, own)
    ]
    right, all_ = np.zeros(len(labels)), np.zeros(len(labels))
    for video, names in zip(videos, named, strict=True):
        all_ += np.bincount(video.truth, video.length, len(labels))
        right += np.bincount(video.truth, video.length * (names == video.truth), len(labels))
    return rows + [("segment_class", str(labels[c]), float(right[c] / all_[c])) for c in np.flatnonzero(all_)]


def time_in_common(segments: Columns, annotations: Columns) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Seconds that clusters and classes have in common, over all videos.

    Parameters
    ----------
    segments, annotations : columns
        As in :func:`measure_segments`.

    Returns
    -------
    clusters : int [K]
    labels : str [C]
    seconds : float [K, C]
    """
    clusters, labels, videos = _pair_up(segments, annotations)
    return clusters, labels, _all_together(videos, len(clusters), len(labels))


def _pair_up(segments: Columns, annotations: Columns) -> tuple[np.ndarray, np.ndarray, list[Moments]]:
    """Numbers of the clusters [K], names of the classes [C], and the annotated moments of each video that has both."""
    labels, truth = np.unique(annotations["label"].astype(str), return_inverse=True)
    clusters, found = np.unique(segments["cluster"], return_inverse=True)
    return clusters, labels, list(_moments(segments, found, annotations, truth))


def _moments(segments: Columns, found: np.ndarray, annotations: Columns, truth: np.ndarray) -> Iterator[Moments]:
    """The annotated moments of each video that has both."""
    tiles, marked = _rows_of(segments["video_id"]), _rows_of(annotations["video_id"])
    for video_id in sorted(marked.keys() & tiles.keys()):
        cuts, own = tiles[video_id], marked[video_id]
        cuts = cuts[np.argsort(segments["t_start"][cuts])]
        own = own[np.argsort(annotations["t_start"][own], kind="stable")]
        starts, ends = annotations["t_start"][own], annotations["t_end"][own]
        low, high = segments["t_start"][cuts[0]], segments["t_end"][cuts[-1]]
        edges = np.unique(np.concatenate([starts, ends, segments["t_start"][cuts], [high]]))
        edges = edges[(edges >= low) & (edges <= high)]
        middle, length = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
        inside = (starts <= middle[:, None]) & (middle[:, None] < ends)  # [moments, annotations]
        last = inside.shape[1] - 1 - inside[:, ::-1].argmax(1)
        kept = inside.any(1) & (length > EDGE)
        at = np.searchsorted(segments["t_start"][cuts], middle, side="right") - 1
        if kept.any():
            yield Moments(truth[own[last[kept]]], found[cuts[at[kept]]], length[kept])


def _rows_of(video_ids: np.ndarray) -> dict[str, np.ndarray]:
    """Rows of each video in a table."""
    codes, names = pd.factorize(video_ids)
    order = np.argsort(codes, kind="stable")
    return dict(zip(names, np.split(order, np.cumsum(np.bincount(codes)))[:-1], strict=True))


def _together(video: Moments, clusters: int, classes: int) -> np.ndarray:
    """Seconds that each cluster and each class have in common, [K, C]."""
    pair = video.found * classes + video.truth
    return np.bincount(pair, video.length, clusters * classes).reshape(clusters, classes)


def _all_together(videos: Sequence[Moments], clusters: int, classes: int) -> np.ndarray:
    """Seconds that each cluster and each class have in common in all videos, [K, C]."""
    return sum((_together(video, clusters, classes) for video in videos), np.zeros((clusters, classes)))


def _assign(together: np.ndarray) -> np.ndarray:
    """Class of each cluster, int [K]; those that get none have negative numbers of their own."""
    named = -1 - np.arange(len(together))
    cluster, label = linear_sum_assignment(together, maximize=True)
    shared = together[cluster, label] > 0
    named[cluster[shared]] = label[shared]
    return named


def _scores(videos: Sequence[Moments], named: Sequence[np.ndarray]) -> list[tuple[str, float]]:
    time = sum(video.length.sum() for video in videos)
    right = sum(video.length[names == video.truth].sum() for video, names in zip(videos, named, strict=True))
    hits, of = np.zeros(len(OVERLAPS)), 0
    edits = []
    for video, names in zip(videos, named, strict=True):
        end = np.cumsum(video.length)
        found, truth = _runs(names, end), _runs(video.truth, end)
        edits.append(1 - _levenshtein(found[0], truth[0]) / max(len(found[0]), len(truth[0])))
        hits += [_hits(found, truth, overlap) for overlap in OVERLAPS]
        of += len(found[0]) + len(truth[0])
    f1 = [(f"f1@{round(100 * overlap)}", float(2 * n / of)) for overlap, n in zip(OVERLAPS, hits, strict=True)]
    return [("mof", float(right / time)), ("edit", float(np.mean(edits))), *f1]


def _runs(values: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs of equal neighbours: value, start and end."""
    last = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)
    return values[last], np.concatenate([[0.0], end[last[:-1]]]), end[last]


def _levenshtein(a: np.ndarray, b: np.ndarray) -> int:
    before = np.arange(len(b) + 1)
    for i, value in enumerate(a, 1):
        now = np.minimum(before[1:] + 1, before[:-1] + (b != value))
        now = np.concatenate([[i], now]) - np.arange(len(b) + 1)
        before = np.minimum.accumulate(now) + np.arange(len(b) + 1)  # insertions, all at once
    return int(before[-1])


def _hits(found: tuple[np.ndarray, ...], truth: tuple[np.ndarray, ...], overlap: float) -> int:
    """Segments that overlap one of their class that nobody took before, each with the one they overlap most."""
    values, start, end = truth
    free, hits = np.ones(len(values), bool), 0
    for value, a, b in zip(*found, strict=True):
        shared = np.minimum(b, end) - np.maximum(a, start)
        tiou = np.where(values == value, shared.clip(0) / (np.maximum(b, end) - np.minimum(a, start)), -1)
        best = int(tiou.argmax())
        if free[best] and tiou[best] >= overlap:
            free[best] = False
            hits += 1
    return hits
