"""Mean average precision of temporal detections, as the ActivityNet evaluation kit defines it.

P predictions, G ground-truth segments, C classes with ground truth, H tIoU thresholds. In descending order of score,
each prediction is matched to the free segment of its video and class with the largest tIoU, if this reaches the
threshold. The kit loops over the predictions. Here, all predictions propose to their best segment at once, each segment
keeps the prediction with the highest score, and rejected predictions propose to their next segment. This is deferred
acceptance (Gale & Shapley 1962). Since all segments prefer the higher score, it ends in the same matching, after a few
rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from feel_steps.errors import InputError
from feel_steps.tables.kinds import Columns
from feel_steps.tables.segments import temporal_iou

TIOU = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
PAIRS_AT_ONCE = 1 << 21  # pairs of prediction and segment in one block, about 200 MB


@dataclass(frozen=True)
class DetectionMap:
    """Result of :func:`mean_average_precision`.

    Attributes
    ----------
    tiou : float64 [H]
    labels : list of str, [C]
        Classes with ground truth, sorted.
    ap : float64 [C, H]
        Interpolated average precision.
    matched : int32 [H, P]
        Row of the ground-truth segment that each prediction is matched to; -1: a false positive.
    order : int64 [R]
        Predictions of classes with ground truth, sorted by class, then by descending score.
    starts : int64 [C + 1]
        Start of each class in ``order``.
    instances : int64 [C]
        Number of ground-truth segments of each class.
    """

    tiou: np.ndarray
    labels: list[str]
    ap: np.ndarray
    matched: np.ndarray
    order: np.ndarray
    starts: np.ndarray
    instances: np.ndarray

    @property
    def ignored(self) -> int:
        """Number of predictions of classes without ground truth, which do not count."""
        return self.matched.shape[1] - len(self.order)

    @property
    def map(self) -> np.ndarray:
        """Mean over classes for each threshold, [H]."""
        return self.ap.mean(0) if len(self.ap) else np.zeros(len(self.tiou))

    @property
    def average(self) -> float:
        """Mean over classes and thresholds."""
        return float(self.map.mean())


def mean_average_precision(predictions: Columns, truth: Columns, tiou: Sequence[float] = TIOU) -> DetectionMap:
    """Compute the detection mAP of the ActivityNet kit.

    Parameters
    ----------
    predictions : columns video_id, label, score, t_start, t_end, [P]
        A prediction in a video without segments of its class is a false positive. Predictions with equal scores keep
        the order of their rows. ``video_id`` may be numbers, in both tables.
    truth : columns video_id, label, t_start, t_end, [G]
        Each row is one segment: two equal rows can be matched to two predictions. Of segments with equal tIoU, a
        prediction is matched to the first.
    tiou : sequence of float, [H]
        Thresholds on temporal intersection over union, each in (0, 1]. An equal tIoU reaches the threshold.

    Raises
    ------
    InputError
        A threshold is out of range, a column is missing, a score or time is not finite, or a segment ends before it
        starts.
    """
    thresholds = _check_tiou(tiou)
    _check_segments("predictions", predictions, ("video_id", "label", "score", "t_start", "t_end"))
    _check_segments("ground truth", truth, ("video_id", "label", "t_start", "t_end"))
    labels, truth_class = np.unique(truth["label"].astype(object), return_inverse=True)
    videos, truth_video = np.unique(truth["video_id"], return_inverse=True)
    # -1: no ground truth; small numbers, since there may be millions of predictions
    classes = pd.Index(labels).get_indexer(predictions["label"]).astype(np.int32)  # [P]
    video = pd.Index(videos).get_indexer(predictions["video_id"]).astype(np.int32)  # [P]
    instances = np.bincount(truth_class, minlength=len(labels))
    matched = np.full((len(thresholds), len(classes)), -1, np.int32)
    ap = np.zeros((len(labels), len(thresholds)))
    by_class = []
    for c in range(len(labels)):
        rows, own = np.flatnonzero(classes == c), np.flatnonzero(truth_class == c)
        ranked = rows[np.argsort(-predictions["score"][rows], kind="stable")]
        of_class = {name: predictions[name][ranked] for name in ("t_start", "t_end")}
        segments = {name: truth[name][own] for name in ("t_start", "t_end")}
        p, g, overlap = overlapping_pairs(of_class, video[ranked], segments, truth_video[own], thresholds.min())
        for h, threshold in enumerate(thresholds):
            near = overlap >= threshold
            holder, taken = _match(p[near], g[near], len(ranked), len(own))
            matched[h, ranked[holder]] = own[taken]
        hit = matched[:, ranked] >= 0
        ap[c] = (interpolated_precision(hit) * hit).sum(1) / instances[c]
        by_class.append(ranked)
    starts = np.cumsum([0, *map(len, by_class)])
    order = np.concatenate([np.empty(0, np.int64), *by_class])
    return DetectionMap(thresholds, labels.tolist(), ap, matched, order, starts, instances)


def overlapping_pairs(
    predictions: Columns, group: np.ndarray, truth: Columns, truth_group: np.ndarray, least: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of a prediction and a ground-truth segment of one group that overlap by ``least`` or more.

    Parameters
    ----------
    predictions, truth : columns t_start, t_end, [P] and [G]
    group, truth_group : int64 [P] and [G]
        A negative group has no segments.
    least : float
        Temporal intersection over union.

    Returns
    -------
    (prediction, segment, tIoU)
        Sorted by prediction, then by descending tIoU, then by the row of the segment.
    """
    by_group = np.argsort(truth_group, kind="stable")
    begin = np.searchsorted(truth_group[by_group], group)
    count = np.searchsorted(truth_group[by_group], group, side="right") - begin
    pairs = []
    before = np.cumsum(count) - count
    blocks = np.unique(np.searchsorted(before, np.arange(0, count.sum() + 1, PAIRS_AT_ONCE)))
    for a, b in zip(blocks, [*blocks[1:], len(count)], strict=True):
        n = count[a:b]
        p = np.repeat(np.arange(a, b), n)
        g = by_group[np.arange(len(p)) + np.repeat(begin[a:b] - before[a:b] + before[a], n)] if len(p) else p
        overlap = temporal_iou(
            predictions["t_start"][p], predictions["t_end"][p], truth["t_start"][g], truth["t_end"][g]
        )
        near = overlap >= least
        pairs.append((p[near], g[near], overlap[near]))
    p, g, overlap = (np.concatenate(column) for column in zip(*pairs, strict=True))
    order = np.lexsort((g, -overlap, p))
    return p[order], g[order], overlap[order]


def _match(p: np.ndarray, g: np.ndarray, P: int, G: int) -> tuple[np.ndarray, np.ndarray]:
    """Matched predictions (numbered in order of score) and their segments; pairs (p, g) are sorted by preference."""
    choice = np.searchsorted(p, np.arange(P))  # position of each prediction in its list of segments
    end = np.searchsorted(p, np.arange(P), side="right")
    holder = np.full(G, P)  # best prediction so far of each segment
    proposing = np.flatnonzero(choice < end)
    while len(proposing):
        wanted = g[choice[proposing]]
        previous = holder[wanted]
        np.minimum.at(holder, wanted, proposing)
        lost = np.concatenate([proposing[holder[wanted] != proposing], previous[(holder[wanted] != previous)]])
        lost = np.unique(lost[lost < P])
        choice[lost] += 1
        proposing = lost[choice[lost] < end[lost]]
    taken = np.flatnonzero(holder < P)
    return holder[taken], taken


def interpolated_precision(hit: np.ndarray) -> np.ndarray:
    """Best precision at the recall of each rank or more, [H, P]; hits [H, P] are in descending order of score."""
    precision = np.cumsum(hit, axis=1) / np.arange(1, hit.shape[1] + 1)
    return np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]


def _check_tiou(tiou: Sequence[float]) -> np.ndarray:
    thresholds = np.asarray(tiou, np.float64).reshape(-1)
    if not len(thresholds):
        raise InputError("tiou: no threshold; give numbers above 0 and up to 1, as 0.1,0.2,0.3")
    for value in thresholds:
        if not 0 < value <= 1:
            raise InputError(f"tiou: {value:g} is not above 0 and up to 1")
    return thresholds


def _check_segments(name: str, columns: Columns, needed: tuple[str, ...]) -> None:
    if missing := [column for column in needed if column not in columns]:
        raise InputError(f"{name}: column '{missing[0]}' is missing; expected {', '.join(needed)}")
    for column in ("score", "t_start", "t_end"):
        if column in needed and not (finite := np.isfinite(columns[column])).all():
            raise InputError(f"{name}: row {int(np.argmin(finite))}: {column} is not a finite number")
    if (wrong := columns["t_end"] < columns["t_start"]).any():
        raise InputError(f"{name}: row {int(np.argmax(wrong))}: the segment ends before it starts")
