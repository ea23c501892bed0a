"""Anatomy of a detection score: precision by recall, recall by number of proposals, and kinds of false positives.

After DETAD (Alwassel et al., "Diagnosing Error in Temporal Action Detectors", ECCV 2018). P predictions, G
ground-truth segments, C classes, H tIoU thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from feel_steps.evaluation.detection_map import (
    TIOU,
    DetectionMap,
    interpolated_precision,
    mean_average_precision,
    overlapping_pairs,
)
from feel_steps.tables.kinds import Columns

THRESHOLD = 0.5  # tIoU from which on a detection is correct
BACKGROUND = 0.1  # tIoU below which a detection and a segment are unrelated
RECALLS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
PROPOSALS = (1, 5, 10, 50, 100)
ERRORS = ("true", "double", "wrong_label", "localisation", "confusion", "background")


def anatomy(
    detections: Columns, predictions: Columns, truth: Columns, tiou: Sequence[float] = TIOU
) -> list[tuple[str, float]]:
    """Break down a detection score.

    Parameters
    ----------
    detections : columns of a detections table
    predictions : columns video_id, label, score, t_start, t_end, [P]
        The detections with clusters mapped to classes.
    truth : columns video_id, label, t_start, t_end, [G]
    tiou : sequence of float
        Thresholds over which recall is averaged; everything else is at 0.5.

    Returns
    -------
    list of (metric, value)
        ``precision@recall0.1`` …, ``recall@1`` … and the shares ``true``, ``double``, ``wrong_label``,
        ``localisation``, ``confusion``, ``background``; see the functions of this module.
    """
    recall = recall_at(detections, truth, tiou).mean(1)
    result = mean_average_precision(predictions, truth, [THRESHOLD])
    precision = precision_at_recall(result)[:, 0].mean(0)
    shares = error_shares(result, predictions, truth)
    return [
        *((f"precision@recall{level:g}", float(value)) for level, value in zip(RECALLS, precision, strict=True)),
        *((f"recall@{k}", float(value)) for k, value in zip(PROPOSALS, recall, strict=True)),
        *zip(ERRORS, shares.tolist(), strict=True),
    ]


def precision_at_recall(result: DetectionMap, levels: Sequence[float] = RECALLS) -> np.ndarray:
    """Precision-recall curves: the best precision at each recall or more, and 0 where the recall is not reached.

    Returns
    -------
    float64 [C, H, R]
    """
    curves = np.zeros((len(result.labels), len(result.tiou), len(levels)))
    for c, (a, b) in enumerate(zip(result.starts[:-1], result.starts[1:], strict=True)):
        hit = result.matched[:, result.order[a:b]] >= 0  # [H, P of the class]
        precision = interpolated_precision(hit)
        needed = np.maximum(np.ceil(np.asarray(levels) * result.instances[c] - 1e-9), 1)  # number of hits
        for h, hits in enumerate(np.cumsum(hit, axis=1)):
            rank = np.searchsorted(hits, needed)
            reached = rank < len(hits)
            curves[c, h, reached] = precision[h, rank[reached]]
    return curves


def recall_at(
    detections: Columns, truth: Columns, tiou: Sequence[float] = TIOU, proposals: Sequence[int] = PROPOSALS
) -> np.ndarray:
    """Share of the segments that one of the k best detections of their video overlaps enough, in any class.

    Parameters
    ----------
    detections : columns video_id, score, t_start, t_end
        Equal scores keep the order of the rows.
    truth : columns video_id, t_start, t_end, [G]
    tiou : sequence of float, [H]
    proposals : sequence of int, [k]

    Returns
    -------
    float64 [k, H]
    """
    videos = pd.Index(pd.unique(truth["video_id"]))
    video = videos.get_indexer(detections["video_id"]).astype(np.int32)
    order = np.lexsort((-detections["score"], video))
    ranked, video = {name: detections[name][order] for name in ("t_start", "t_end")}, video[order]
    rank = np.arange(len(order)) - np.searchsorted(video, video)  # within its video
    p, g, overlap = overlapping_pairs(ranked, video, truth, videos.get_indexer(truth["video_id"]), min(tiou))
    best = np.full((len(tiou), len(truth["video_id"])), np.inf)  # rank of the best detection of each segment
    for h, threshold in enumerate(tiou):
        near = overlap >= threshold
        np.minimum.at(best[h], g[near], rank[p[near]])
    return (best < np.asarray(proposals)[:, None, None]).mean(2)


def error_shares(result: DetectionMap, predictions: Columns, truth: Columns) -> np.ndarray:
    """Shares of :data:`ERRORS` among each class's G most confident predictions, G being its number of segments.

    The first of these conditions that holds decides. ``true``: matched to a segment. ``double``: on a segment of its
    class that a better prediction is matched to. ``wrong_label``: on a segment of another class. ``localisation``: near
    a segment of its class. ``confusion``: near a segment of another class. ``background``: anything else. "On" means a
    tIoU of at least the threshold of the result, and "near" one of at least 0.1.

    Parameters
    ----------
    result : DetectionMap
        Result for these predictions and this truth, at one threshold.

    Returns
    -------
    float64 [6]
        Their sum is 1; all are 0 without predictions.
    """
    top = np.concatenate(
        [result.order[a:b][:n] for a, b, n in zip(result.starts[:-1], result.starts[1:], result.instances, strict=True)]
    )
    chosen = {name: column[top] for name, column in predictions.items()}
    videos = pd.Index(pd.unique(truth["video_id"]))
    p, g, overlap = overlapping_pairs(
        chosen, videos.get_indexer(chosen["video_id"]), truth, videos.get_indexer(truth["video_id"]), BACKGROUND
    )
    agrees = chosen["label"][p] == truth["label"][g]
    same_class, other_class = np.zeros((2, len(top)))  # best tIoU with a segment of its class, and of another class
    np.maximum.at(same_class, p[agrees], overlap[agrees])
    np.maximum.at(other_class, p[~agrees], overlap[~agrees])
    threshold = result.tiou[0]
    conditions = [
        result.matched[0, top] >= 0,
        same_class >= threshold,
        other_class >= threshold,
        same_class >= BACKGROUND,
        other_class >= BACKGROUND,
    ]
    kind = np.select(conditions, np.arange(5), 5)
    return np.bincount(kind, minlength=6) / max(len(top), 1)
