"""Chooses moments, segments that do not overlap, from detections, which overlap by design.

Detections serve a measure that ranks them: many lie over each other. A person wants segments that do not.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from feel_steps.errors import InputError
from feel_steps.tables.kinds import Columns
from feel_steps.tables.tables import runs

Moment = tuple[int, float, float, float]  # cluster, start, end, confidence
TRIMMED = 0.5  # share of a detection that must be left beside stronger moments of other clusters


@dataclass(frozen=True)
class Rule:
    """Which segments are moments.

    Parameters
    ----------
    overlap : {"all", "cluster"}
        ``all``: no two moments of a video overlap. ``cluster``: no two of the same cluster do.
    shortest : float
        Seconds; shorter detections are no moments.
    gap : float
        Seconds; two moments of one cluster that follow each other with no more between them become one.

    Raises
    ------
    InputError
        A setting is out of range.
    """

    overlap: Literal["all", "cluster"] = "all"
    shortest: float = 0.5
    gap: float = 0.5

    def __post_init__(self) -> None:
        if self.overlap not in ("all", "cluster"):
            raise InputError(f"moments.overlap '{self.overlap}': expected all or cluster")
        for name in ("shortest", "gap"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < np.inf:
                raise InputError(f"moments.{name}: {value!r} is not a number of seconds from 0 up, such as 0.5")


def read_rule(settings: Mapping[str, Any]) -> Rule:
    """Rule of some settings; those that are not named are the default's."""
    if unknown := sorted(settings.keys() - {field.name for field in fields(Rule)}):
        raise InputError(f"moments.{unknown[0]}: unknown; expected overlap, shortest or gap")
    return Rule(**settings)


class Trust:
    """Confidence in the clusters of videos, to be looked up.

    Parameters
    ----------
    confidence : columns of a confidence table, optional
        Absent: 1 for all.
    """

    def __init__(self, confidence: Columns | None) -> None:
        self._given = confidence is not None
        if confidence is not None:
            clusters = confidence["cluster"].tolist()
            pairs = zip(confidence["video_id"], clusters, strict=True)
            self._videos = dict(zip(pairs, confidence["confidence"].tolist(), strict=True))
            self._clusters = dict(zip(clusters, confidence["stability"].tolist(), strict=True))

    def of(self, detections: Columns) -> np.ndarray:
        """Confidence in the cluster of each detection in its video, float64 [P] in [0, 1]."""
        clusters = detections["cluster"].tolist()
        if not self._given:
            return np.ones(len(clusters))
        pairs = zip(detections["video_id"], clusters, strict=True)
        of_clusters = [self._clusters.get(c, 0.0) for c in clusters]  # 0 for a cluster without videos
        return np.array([self._videos.get(*known) for known in zip(pairs, of_clusters, strict=True)], float)


def find_moments(detections: Columns, rule: Rule, confidence: Columns | Trust | None = None) -> Columns:
    """Choose the moments of every video: the strongest detection first, then what it leaves room for.

    A detection is left out if it overlaps a stronger moment of its own cluster. One that overlaps stronger moments of
    other clusters (``overlap: all``) is trimmed to what is free beside them, and left out if that is less than half of
    it. Detections with a score of 0 or less, which are weaker inside than outside, are no moments.

    Parameters
    ----------
    detections : columns of a detections table
        The rows of one video stand together.
    rule : Rule
    confidence : columns of a confidence table, or a Trust that many pieces of the detections share; optional
        How sure the clusters and the training videos are. Absent: all as sure as can be.

    Returns
    -------
    columns of a moments table
        In the order of the videos, then of time. ``confidence`` is the detection's score, held to [0, 1], times the
        confidence of the video in its cluster; in another cluster, and in a video that was not clustered, times the
        stability of the cluster. A joined moment has the mean of its parts, weighted by their length.
    """
    trust = confidence if isinstance(confidence, Trust) else Trust(confidence)
    certainty = detections["score"].clip(0, 1) * trust.of(detections)
    chosen: list[tuple[str, int, float, float, float]] = []
    for video_id, start, stop in runs(detections["video_id"]):
        pieces = _choose(_part(detections, start, stop), rule)
        joined = join([(c, a, b, float(certainty[start + row])) for c, a, b, row in pieces], rule)
        chosen += [(video_id, *moment) for moment in joined]
    columns = list(zip(*chosen, strict=True)) or [()] * 5
    names, types = ("video_id", "cluster", "t_start", "t_end", "confidence"), (object, np.int32, float, float, float)
    return {name: np.array(column, type_) for name, column, type_ in zip(names, columns, types, strict=True)}


def join(moments: Collection[Moment], rule: Rule, apart: Collection[Moment] = ()) -> list[Moment]:
    """Join moments of one video and cluster that follow each other over a gap, or overlap since clusters were merged.

    Those in ``apart`` stay as they are. The list is in order of time.
    """
    joined: list[tuple[int, float, float, float, float]] = []  # with the length of the parts
    last: dict[int, int] = {}  # of each cluster, or of all: where its last moment stands in the list
    for c, a, b, sure in sorted(moments, key=lambda moment: (moment[1:3], moment[0])):
        line = c if rule.overlap == "cluster" else -1
        before = joined[last[line]] if line in last else (-1, 0.0, 0.0, 0.0, 0.0)
        other, start, end, mean, length = before
        if other == c and a - end <= rule.gap and before[:4] not in apart and (c, a, b, sure) not in apart:
            total = length + b - a
            joined[last[line]] = (c, start, max(b, end), (mean * length + sure * (b - a)) / total, total)
        else:
            last[line] = len(joined)
            joined.append((c, a, b, sure, b - a))
    return [moment[:4] for moment in joined]


def one_at_a_time(segments: Columns) -> Columns:
    """What subtitles can show: segments of which no two in a video overlap, whatever their clusters and scores.

    Parameters
    ----------
    segments : columns of a detections or a moments table

    Returns
    -------
    columns of the same table
        The strongest ones, trimmed as in :func:`find_moments`; by video, then in order of time.
    """
    segments = {name: values[np.argsort(segments["video_id"], kind="stable")] for name, values in segments.items()}
    strength = segments["confidence" if "confidence" in segments else "score"]
    positive = {**segments, "score": strength - strength.min(initial=0) + 1}
    pieces = [
        (start + row, a, b)
        for _, start, stop in runs(segments["video_id"])
        for _, a, b, row in _choose(_part(positive, start, stop), Rule("all", shortest=0, gap=0))
    ]
    rows, t_start, t_end = (np.array(column) for column in zip(*pieces, strict=True)) if pieces else [np.empty(0)] * 3
    chosen = {name: values[rows.astype(int)] for name, values in segments.items()}
    return chosen | {"t_start": t_start, "t_end": t_end}


def as_detections(moments: Columns) -> Columns:
    """Moments as columns of a detections table, whose score is the confidence: what exports take."""
    return {"score" if name == "confidence" else name: values for name, values in moments.items()}


def _part(table: Columns, start: int, stop: int) -> Columns:
    return {name: values[start:stop] for name, values in table.items()}


def _choose(video: Columns, rule: Rule) -> list[tuple[int, float, float, int]]:
    """Segments of one video that keep the rule, as (cluster, start, end, row), in order of time."""
    cluster, score, t_start, t_end = (video[name] for name in ("cluster", "score", "t_start", "t_end"))
    order = np.lexsort((t_end, t_start, -score))
    good = (score > 0) & (t_end > t_start) & (t_end - t_start >= rule.shortest)
    taken: dict[int, list[tuple[float, float, int, int]]] = {}  # disjoint and sorted; of each cluster, or of all
    for row in order[good[order]].tolist():
        own, a, b = int(cluster[row]), float(t_start[row]), float(t_end[row])
        others = taken.setdefault(own if rule.overlap == "cluster" else -1, [])
        if (free := _trim(others, own, a, b)) is None:
            continue
        length = free[1] - free[0]
        if length >= rule.shortest and length >= TRIMMED * (b - a):
            others.insert(bisect_left(others, free), (*free, own, row))
    chosen = [(a, b, c, row) for others in taken.values() for a, b, c, row in others]
    return [(c, a, b, row) for a, b, c, row in sorted(chosen)]


def _trim(others: list[tuple[float, float, int, int]], own: int, a: float, b: float) -> tuple[float, float] | None:
    """What others leave of a segment at its ends; None if one of its cluster overlaps it, or one lies inside of it."""
    first = max(0, bisect_right(others, (a,)) - 1)
    for start, end, cluster, _ in others[first:]:
        if start >= b:
            break
        if end <= a:
            continue
        if cluster == own or (a < start and end < b):
            return None
        a, b = (end, b) if start <= a else (a, start)
    return (a, b) if a < b else None
