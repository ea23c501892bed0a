"""Applies a person's corrections to what is shown: the moments, and the numbers and names of clusters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from feel_steps.dataset.corrections import (
    Corrections,
    Mark,
    check_clusters,
    list_constraints,
    match_videos,
    read_corrections,
)
from feel_steps.dataset.videos import strings
from feel_steps.errors import InputError
from feel_steps.explore.moments import TRIMMED, Moment, Rule, join
from feel_steps.tables import tables
from feel_steps.tables.kinds import Columns
from feel_steps.tables.run import identify
from feel_steps.tables.segments import temporal_iou

SAME = 0.5  # tIoU from which a moment is the one that a person judged: iterations move borders


def load_corrections(path: Path, videos: Columns, centres: Path) -> Corrections:
    """Read corrections, match their ids with the data set's, and check that they are for these clusters and videos.

    Parameters
    ----------
    path : path
    videos : columns of a videos table
    centres : path
        Table of the clusters that were corrected.

    Raises
    ------
    InputError
        See :func:`feel_steps.dataset.corrections.read_corrections`; or the corrections are for other clusters, or a
        moment ends after its video.
    """
    found, table = read_corrections(path), tables.read(centres, "centres")
    if found.centres != identify(table["feature"]):
        raise InputError(
            f"{path}: made for other clusters than those of {found.variant}, seed {found.seed}, iteration "
            f"{found.iteration}, which were computed anew since; correct the present page"
        )
    check_clusters(found, len(table["cluster"]), path)
    return match_videos(found, videos, path)


def correct_moments(
    moments: Columns,
    corrections: Corrections,
    assigned: Mapping[str, int],
    rule: Rule | None = None,
    former: Mapping[str, int] | None = None,
) -> Columns:
    """Apply corrections to moments.

    Parameters
    ----------
    moments : columns of a moments table
    corrections : Corrections
        With the data set's ids.
    assigned : mapping of str to int
        Cluster of each video before the corrections.
    rule : Rule, optional
        Whether moments of different clusters may overlap.
    former : mapping of str to int, optional
        Cluster of each video in the iteration that was corrected, if the moments are of a later one.

    Returns
    -------
    columns of a moments table
        Clusters have the numbers under which they are shown. In a moved video, moments and marks of its former cluster
        are of the new one. An ignored video has none. Wrong moments are gone. A moment with a mark or new borders has
        confidence 1; what overlaps it is trimmed, or is gone if less than half is left. A judged moment is found again
        by its cluster and a tIoU of at least 0.5. Moments that are of one cluster now, and overlap or follow each other
        within the rule's gap, are one, apart from those with a mark or new borders.
    """
    rule = rule or Rule()
    segments, marks = _find_marked(moments, corrections, assigned, rule, former or assigned)
    rows = []
    for video_id, found in segments.items():
        if video_id in corrections.ignored:
            continue
        own = marks.get(video_id, [])
        judged = {moment for _, _, theirs in own for moment in theirs}
        found = [moment for moment in found if moment not in judged]
        right = list[Moment]()  # where two overlap, the later one trims the earlier
        for mark, cluster, _ in own:
            if mark.mark != "wrong":
                moment = (cluster, *mark.segment, 1.0)
                found, right = _trim(found, moment, rule), [*_trim(right, moment, rule), moment]
        rows += [(video_id, *moment) for moment in join([*found, *right], rule, right)]
    names, types = ("video_id", "cluster", "t_start", "t_end", "confidence"), (object, np.int32, float, float, float)
    values = list(zip(*rows, strict=True)) or [()] * 5
    return {name: np.array(column, type_) for name, column, type_ in zip(names, values, types, strict=True)}


def list_unmatched(
    corrections: Corrections,
    results: Iterable[tuple[Columns, Mapping[str, int]]],
    former: Mapping[str, int],
    rule: Rule | None = None,
) -> list[Mark]:
    """Marks that are for no moment: they were made on the page of another result, or written by hand.

    ``results`` are moments, and the cluster of each video, of the iterations on whose pages the marks may have been
    made. The rest is as of :func:`correct_moments`.
    """
    unmatched = set(corrections.moments)
    for moments, assigned in results:
        _, marks = _find_marked(moments, corrections, assigned, rule or Rule(), former)
        unmatched -= {mark for own in marks.values() for mark, _, judged in own if judged}
    return [mark for mark in corrections.moments if mark in unmatched]


def name_clusters(clusters: int, corrections: Corrections | None, labels: Columns | None) -> Columns:
    """Table of kind "names": labels name clusters, and corrections win over them."""
    names: dict[int, str] = {}
    if labels is not None:
        names |= dict(zip(labels["cluster"].tolist(), labels["name"], strict=True))
    shown = list(range(clusters))
    if corrections:
        shown = corrections.shown_as(clusters)
        names |= {shown[cluster]: name for cluster, name in corrections.names.items()}
    return {
        "cluster": np.arange(clusters, dtype=np.int32),
        "shown_as": np.array(shown, np.int32),
        "name": strings(names.get(number) for number in shown),  # type: ignore[misc]
    }


def list_given(corrections: Corrections | None) -> Columns:
    """Constraints as columns of a table of kind "given"."""
    rows = list_constraints(corrections) if corrections else []
    return {
        "video_id": strings(video for video, _, _ in rows),
        "role": strings(role for _, role, _ in rows),
        "cluster": np.array([-1 if cluster is None else cluster for _, _, cluster in rows], np.int32),
        "name": np.full(len(rows), None, object),
    }


def _find_marked(
    moments: Columns, corrections: Corrections, assigned: Mapping[str, int], rule: Rule, former: Mapping[str, int]
) -> tuple[dict[str, list[Moment]], dict[str, list[tuple[Mark, int, set[Moment]]]]]:
    """Moments of each video under the numbers that are shown, and its marks: each with its number and its moments."""
    shown = corrections.shown_as(1 + max([*assigned.values(), *_numbers(moments, corrections)], default=0))

    def number(video_id: str, cluster: int) -> int:
        before = shown[assigned[video_id]], shown[former[video_id]]
        moved = video_id in corrections.moves and shown[cluster] in before
        return shown[corrections.moves[video_id] if moved else cluster]

    segments: dict[str, list[Moment]] = {video_id: [] for video_id in assigned}
    columns = (moments[name].tolist() for name in ("cluster", "t_start", "t_end", "confidence"))
    for video_id, cluster, start, end, confidence in zip(moments["video_id"], *columns, strict=True):
        segments[video_id].append((number(video_id, cluster), start, end, confidence))
    marks: dict[str, list[tuple[Mark, int, set[Moment]]]] = {}
    for mark in corrections.moments:
        found, cluster = segments[mark.video_id], number(mark.video_id, mark.cluster)
        judged = _find_judged(found, cluster, (mark.t_start, mark.t_end), rule)
        marks.setdefault(mark.video_id, []).append((mark, cluster, judged))
    return segments, marks


def _numbers(moments: Columns, corrections: Corrections) -> list[int]:
    merged = [cluster for group in corrections.merges for cluster in group]
    marked = [mark.cluster for mark in corrections.moments]
    return [*set(moments["cluster"].tolist()), *merged, *marked, *corrections.moves.values()]


def _find_judged(found: list[Moment], cluster: int, segment: tuple[float, float], rule: Rule) -> set[Moment]:
    """The moments that a mark is for: those near it, or all parts of one if the page showed them joined."""
    overlap = {
        moment: float(temporal_iou(*moment[1:3], *segment))
        for moment in (*found, *join(found, rule))
        if moment[0] == cluster
    }
    nearest = max(overlap, key=overlap.__getitem__, default=None)
    if nearest is None or overlap[nearest] < SAME:
        return set()
    _, start, end, _ = nearest
    own = [moment for moment in found if moment[0] == cluster]
    return {moment for moment in own if overlap[moment] >= SAME or (start <= moment[1] and moment[2] <= end)}


def _trim(found: list[Moment], kept: Moment, rule: Rule) -> list[Moment]:
    """Trim moments that a kept moment may not overlap to their longer free side; drop those of which little is left."""
    own, start, end, _ = kept
    left = []
    for cluster, a, b, confidence in found:
        length = b - a
        if a < end and start < b and (rule.overlap == "all" or cluster == own):
            a, b = max(((a, min(b, start)), (max(a, end), b)), key=lambda side: side[1] - side[0])
        if b - a >= TRIMMED * length:
            left.append((cluster, a, b, confidence))
    return left
