"""Localize: from attention to detections, by thresholds, outer-inner contrast and non-maximum suppression.

The post-processing of CoLA (Zhang et al., CVPR 2021), vectorised over thresholds, and what this project changes about
it (:class:`Settings`): T snippets, K clusters, H thresholds, U = 24 T up-sampled positions, P proposals. Every
predicted cluster's detections survive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from feel_steps.errors import InputError
from feel_steps.runtime.progress import Progress
from feel_steps.tables.kinds import Columns
from feel_steps.tables.tables import join, runs

Range = tuple[float, float, float]
UPSAMPLE = 24  # positions of a snippet: the boundaries of segments lie between snippets, by linear interpolation
MARGIN = 0.25  # length of the outer region at either side of a proposal, in lengths of the proposal
LEAST_SOFT = 0.001  # soft-NMS drops segments whose score falls below
Before = Callable[[np.ndarray, np.ndarray], np.ndarray]  # prefix sums: (rows r, positions i) -> sums of signal[r, :i]


@dataclass(frozen=True)
class Settings:
    """How attention becomes detections.

    The defaults are this project's; :data:`PUBLISHED` holds what differs in the published program.

    Parameters
    ----------
    time : {"centre", "start"}
        The moment of a snippet: the centre of its window, or, as published, where its stride begins. The published
        formula puts every segment half a window too early.
    signal : {"both", "activation"}
        What proposals of a cluster are cut from and judged by: ½ class activation + ½ actionness, each scaled to
        [0, 1] in its video, or, as published, the class activation alone. The cuts through actionness alone come
        on top either way.
    class_threshold : float
        A cluster is predicted where its video score reaches this; the best one where none does.
    cas_thresholds, actionness_thresholds : (start, stop, step)
        Levels at which the signal and the actionness, scaled to [0, 1], are cut; ``stop`` included.
    score : {"product", "sum"}
        A detection's score: its outer-inner contrast times the video's score for the cluster, or, as published, the
        contrast plus ``class_weight`` times the video's score.
    class_weight : float
        Used by score "sum".
    nms : float
        Of two detections of a cluster that overlap by this or more, the better one stays.
    soft_nms : float
        Width σ of soft-NMS, which takes the place of NMS: see :func:`soften`. 0: plain NMS.

    Raises
    ------
    InputError
        A setting is out of range.
    """

    time: Literal["centre", "start"] = "centre"
    signal: Literal["both", "activation"] = "both"
    class_threshold: float = 0.2
    cas_thresholds: Range = (0.0, 0.225, 0.025)
    actionness_thresholds: Range = (0.1, 0.9, 0.025)
    score: Literal["product", "sum"] = "product"
    class_weight: float = 0.2
    nms: float = 0.6
    soft_nms: float = 0.3

    def __post_init__(self) -> None:
        if self.time not in ("centre", "start"):
            raise InputError(f"time '{self.time}': expected centre or start")
        if self.signal not in ("both", "activation"):
            raise InputError(f"signal '{self.signal}': expected both or activation")
        if not 0 < self.nms <= 1:
            raise InputError(f"nms: {self.nms} is not an overlap; give a number above 0 and up to 1")
        if not (np.isfinite(self.soft_nms) and self.soft_nms >= 0):
            raise InputError(f"soft_nms: {self.soft_nms} is not a width; give a number such as 0.3, or 0 for plain NMS")
        if not 0 <= self.class_threshold <= 1:
            raise InputError(f"class_threshold: {self.class_threshold} is not a probability; give a number from 0 to 1")
        if self.score not in ("product", "sum"):
            raise InputError(f"score '{self.score}': expected product or sum")
        if not (np.isfinite(self.class_weight) and self.class_weight >= 0):
            raise InputError(f"class_weight: {self.class_weight} is not a finite number from 0 up, such as 0.2")
        self.levels()

    def levels(self) -> tuple[np.ndarray, np.ndarray]:
        """Thresholds of the signal and of actionness, spelt out, float64 [H]."""
        return (
            _levels("cas_thresholds", self.cas_thresholds),
            _levels("actionness_thresholds", self.actionness_thresholds),
        )


# what differs in the published program
PUBLISHED: dict[str, Any] = {"time": "start", "signal": "activation", "score": "sum", "soft_nms": 0.0}


class Runs(NamedTuple):
    """Runs of up-sampled positions [start, stop) above a threshold; ``row`` says which threshold, all int64 [P]."""

    row: np.ndarray
    start: np.ndarray
    stop: np.ndarray


class Segments(NamedTuple):
    """Detections of one video: cluster int64 [P], score, t_start and t_end (seconds) float64 [P]."""

    cluster: np.ndarray
    score: np.ndarray
    t_start: np.ndarray
    t_end: np.ndarray


NOTHING = Segments(np.empty(0, np.int64), np.empty(0), np.empty(0), np.empty(0))


class Timing(NamedTuple):
    """When a video's snippets are: frames a second, and frames of a stride and of a window."""

    fps: float
    stride: int
    window: int


def localize(
    attention: Columns | Iterable[Columns], embeddings: Columns, videos: Columns, settings: Settings
) -> Columns:
    """Detect segments in every video that has attention; see :func:`localize_in_pieces` for more than memory holds.

    Parameters
    ----------
    attention, embeddings, videos, settings
        As there; ``attention`` may be a whole table.

    Returns
    -------
    columns of a detections table
        In the order of the videos table, then by cluster, then by descending score.

    Raises
    ------
    InputError
        A video with attention has no embedding, is not in the videos table, or its rows do not stand together.
    """
    groups = [attention] if isinstance(attention, dict) else attention
    found = join(list(localize_in_pieces(groups, embeddings, videos, settings)))
    place = {video_id: index for index, video_id in enumerate(videos["video_id"])}
    order = np.array([place[video_id] for video_id in found["video_id"]], int).argsort(kind="stable")
    return {name: column[order] for name, column in found.items()}


def localize_in_pieces(
    attention: Iterable[Columns], embeddings: Columns, videos: Columns, settings: Settings
) -> Iterator[Columns]:
    """Detect segments in every video that has attention, a piece of the table at a time.

    Parameters
    ----------
    attention : row groups of an attention table, one after the other
        The rows of one video stand together, in time order.
    embeddings : columns of an embeddings table
        ``score`` [N, K] decides which clusters a video shows.
    videos : columns of a videos table
        Of which ``video_id``, ``fps``, ``snippet_stride`` and ``snippet_window`` are used.
    settings : Settings

    Yields
    ------
    columns of a detections table
        Of the videos that end in a row group: in the order of the attention table, then by cluster, then by descending
        score. No video is cut in two.

    Raises
    ------
    InputError
        A video with attention has no embedding, is not in the videos table, or its rows do not stand together.
    """
    place = {video_id: index for index, video_id in enumerate(videos["video_id"])}
    scored = {video_id: index for index, video_id in enumerate(embeddings["video_id"])}
    scores, again = embeddings["score"], "run the attend step again"
    seen = np.zeros(len(place), bool)
    with Progress("localizing", len(scored), "video") as progress:
        for whole in _whole_videos(attention):
            named, found = [np.empty(0, object)], [NOTHING]
            for video_id, cas, actionness in whole:
                if (index := place.get(video_id)) is None:
                    raise InputError(f"attention table: video '{video_id}' is not in the videos table; {again}")
                if seen[index]:
                    raise InputError(f"attention table: the rows of video '{video_id}' do not stand together; {again}")
                if video_id not in scored:
                    raise InputError(f"embeddings table: video '{video_id}' is missing; {again}")
                if scores.shape[1] != cas.shape[1]:
                    raise InputError(
                        f"embeddings table: scores of {scores.shape[1]} clusters, but activations of {cas.shape[1]} in "
                        f"the attention table; {again}"
                    )
                seen[index] = True
                timing = Timing(*(videos[name][index] for name in ("fps", "snippet_stride", "snippet_window")))
                found.append(detect(cas, actionness, scores[scored[video_id]], timing, settings))
                named.append(np.full(len(found[-1].score), video_id, object))
                progress.advance()
            segments = Segments(*(np.concatenate(column) for column in zip(*found, strict=True)))
            columns = segments._asdict() | {"cluster": segments.cluster.astype(np.int32)}
            yield {"video_id": np.concatenate(named), **columns}


def _whole_videos(groups: Iterable[Columns]) -> Iterator[list[tuple[str, np.ndarray, np.ndarray]]]:
    """Id, activation and actionness of the videos that end in each row group, which may cut videos in two."""
    cut: tuple[str, np.ndarray, np.ndarray] | None = None  # the last video of a row group may go on in the next one
    for group in groups:
        whole = []
        for video_id, start, stop in runs(group["video_id"]):
            cas, actionness = group["activation"][start:stop], group["actionness"][start:stop]
            if cut and cut[0] == video_id:
                cas, actionness = np.concatenate([cut[1], cas]), np.concatenate([cut[2], actionness])
            elif cut:
                whole.append(cut)
            cut = video_id, cas, actionness
        yield whole
    yield [cut] if cut else []


def detect(cas: np.ndarray, actionness: np.ndarray, scores: np.ndarray, timing: Timing, settings: Settings) -> Segments:
    """Detect segments in one video.

    Parameters
    ----------
    cas : float32 [T, K]
        Class activation sequence.
    actionness : float32 [T]
    scores : float [K]
        The video's score for each cluster.
    timing : Timing
    settings : Settings

    Returns
    -------
    Segments
        By cluster, then by descending score. A signal that is the same at every snippet yields no proposals.
    """
    cas_levels, actionness_levels = settings.levels()
    edges = _edges(len(cas), timing, settings.time)  # [U + 1]
    U = len(edges) - 1
    scaled = _scaled(actionness)
    active = _long(_runs_above(_upsampled(scaled)[:U], actionness_levels))
    found = []
    for k in predicted_clusters(scores, settings.class_threshold):
        signal = _scaled(cas[:, k])
        signal = _upsampled(signal if settings.signal == "activation" else (signal + scaled) / 2)[:U]
        total = np.concatenate([[0.0], np.cumsum(signal)])  # [U + 1]
        above = _runs_above(signal, cas_levels)
        own = _long(above)
        # both are judged by the signal: its own proposals by what their threshold leaves of it, the others by all of it
        by_own = _contrast(_kept_before(total, above), own, U)
        by_all = _contrast(_all_before(total), active, U)
        contrast = np.concatenate([by_own, by_all])
        score = contrast * scores[k] if settings.score == "product" else contrast + settings.class_weight * scores[k]
        score = score.round(12)  # so that ties are ties, however the sums were rounded
        t_start = edges[np.concatenate([own.start, active.start])]
        t_end = edges[np.concatenate([own.stop, active.stop])]
        if settings.soft_nms:
            best, score = soften(t_start, t_end, score, settings.soft_nms)
        else:
            best = suppress(t_start, t_end, score, settings.nms)
        found.append(Segments(np.full(len(best), k), score[best], t_start[best], t_end[best]))
    return Segments(*(np.concatenate(column) for column in zip(*found, strict=True)))


def _edges(T: int, timing: Timing, time: str) -> np.ndarray:
    """Seconds at which the up-sampled positions begin, and the last one ends, float64 [U + 1].

    Position u lies u / 24 snippets after the first snippet. At ``centre``, a segment that reaches the first snippet
    starts with its window, positions beyond the last window are cut off, and the last position ends with it.
    """
    seconds = np.arange(T * UPSAMPLE + 1) * (T * timing.stride / timing.fps / (T * UPSAMPLE))
    if time == "start":
        return seconds
    end = ((T - 1) * timing.stride + timing.window) / timing.fps
    seconds = seconds[:-1] + timing.window / 2 / timing.fps
    seconds[0] = 0.0
    return np.append(seconds[seconds < end - 1e-9], end)


def predicted_clusters(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Clusters whose score [K] reaches the threshold, or the best one; indices, ascending."""
    return np.flatnonzero(scores >= threshold) if (scores >= threshold).any() else np.argmax(scores, keepdims=True)


def suppress(t_start: np.ndarray, t_end: np.ndarray, score: np.ndarray, threshold: float) -> np.ndarray:
    """Greedy non-maximum suppression, resolved in rounds over the pairs that overlap.

    Overlap is the published program's: intersection over union of the segments, each made one second longer. Equal
    scores go by earlier start, then by earlier end.

    Parameters
    ----------
    t_start, t_end, score : float64 [P]
    threshold : float
        In (0, 1]; a segment goes where it overlaps a better one that stays by this or more.

    Returns
    -------
    int64 array
        Indices of what stays, best first.
    """
    order = np.lexsort((t_end, t_start, -score))
    a, b, _ = _overlapping(t_start[order], t_end[order], threshold)  # pairs a < b of ranks: a is the better one
    undecided = np.ones(len(order), bool)
    kept = np.ones(len(order), bool)
    while len(a):
        threatened = np.zeros(len(order), bool)
        threatened[b] = True
        beaten = b[~threatened[a]]  # by one that nothing can remove any more
        kept[beaten] = False
        undecided[beaten] = False
        undecided[~threatened] = False
        open_ = undecided[a] & undecided[b]
        a, b = a[open_], b[open_]
    return order[kept]


def soften(t_start: np.ndarray, t_end: np.ndarray, score: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Soft non-maximum suppression (Bodla et al., ICCV 2017), Gaussian; overlap and ties as in :func:`suppress`.

    The best segment stays as it is, and each other one's score is multiplied by exp(-overlap² / σ); again with the best
    of the rest. Segments that end up below 0.001 go.

    Returns
    -------
    (int64 array, float64 [P])
        Indices of what stays, best first; the scores of all.
    """
    order = np.lexsort((t_end, t_start, -score))
    a, b, overlap = _overlapping(t_start[order], t_end[order], 0.0)
    decay = np.exp(-(np.tile(overlap, 2) ** 2) / sigma).clip(1e-300)
    by_first = np.argsort(np.concatenate([a, b]), kind="stable")
    others, decay = np.concatenate([b, a])[by_first], decay[by_first]
    starts = np.concatenate([[0], np.cumsum(np.bincount(np.concatenate([a, b]), minlength=len(order)))])
    left, final = score[order], score[order]
    kept: list[int] = []
    while len(kept) < len(order) and left[best := int(np.argmax(left))] >= LEAST_SOFT:
        kept.append(best)
        final[best], left[best] = left[best], -np.inf
        near = slice(starts[best], starts[best + 1])
        left[others[near]] *= decay[near]
    softened = np.empty_like(final)
    softened[order] = final
    return order[kept], softened


def _overlapping(t_start: np.ndarray, t_end: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs (i < j) of segments whose overlap reaches the threshold, and their overlap."""
    by_start = np.argsort(t_start, kind="stable")
    s, e = t_start[by_start], t_end[by_start] + 1
    length = e - s
    # of two that overlap by θ, the second starts within the first (1 - θ) of the first
    reach = np.searchsorted(s, s + (1 - threshold) * length * (1 + 1e-9), side="right")
    count = np.maximum(reach - np.arange(len(s)) - 1, 0)
    first = np.repeat(np.arange(len(s)), count)
    second = np.arange(len(first)) + np.repeat(np.arange(1, len(s) + 1) + count - np.cumsum(count), count)
    inner = np.maximum(0.0, np.minimum(np.repeat(e, count), e[second]) - s[second])
    overlap = inner / (np.repeat(length, count) + length[second] - inner)
    close = overlap >= threshold
    i, j = by_start[first[close]], by_start[second[close]]
    return np.minimum(i, j), np.maximum(i, j), overlap[close]


def _scaled(signal: np.ndarray) -> np.ndarray:
    """Scale the positive range of a signal [T] to [0, 1]; a constant one to 0."""
    low, high = max(signal.min(), 0), max(signal.max(), 0)
    return ((signal - low) / (high - low if high > low else 1)).clip(0, 1)


def _upsampled(signal: np.ndarray, factor: int = UPSAMPLE) -> np.ndarray:
    """Interpolate [T] linearly to [T · factor]; what lies beyond the last snippet continues its slope."""
    T = len(signal)
    if T == 1:
        return np.repeat(signal.astype(np.float64), factor)
    left = np.minimum(np.arange(T), T - 2)
    beyond = np.arange(T * factor).reshape(T, factor) / factor - left[:, None]  # snippets from left to each position
    return (signal[left, None] + beyond * np.diff(signal)[left, None]).ravel()


def _runs_above(signal: np.ndarray, levels: np.ndarray) -> Runs:
    """Find the runs where a signal [U] is positive and not below each level [H], ascending."""
    reached = np.zeros(len(signal) + 2, np.int64)  # so many levels, at every position; closed at both ends
    reached[1:-1] = np.where(signal > 0, np.searchsorted(levels, signal, side="right"), 0)
    place = np.flatnonzero(reached[1:] != reached[:-1])
    low, high = np.sort([reached[place], reached[place + 1]], axis=0)  # where these levels are crossed, up or down
    count = high - low
    row = np.arange(count.sum()) + np.repeat(low + count - np.cumsum(count), count)
    by_row = np.argsort(row, kind="stable")
    edges = np.repeat(place, count)[by_row]  # start, stop, start, stop, … of each row
    return Runs(row[by_row][::2], edges[::2], edges[1::2])


def _long(above: Runs) -> Runs:
    """Proposals: the runs of two positions at least."""
    long = above.stop - above.start > 1
    return Runs(*(column[long] for column in above))


def _all_before(total: np.ndarray) -> Before:
    """Sums of a signal by its running sums ``total`` [U + 1], the same in every row."""
    return lambda row, place: total[place]


def _kept_before(total: np.ndarray, above: Runs) -> Before:
    """Sums of what a row's threshold leaves of a signal with running sums ``total`` [U + 1]: nothing outside its runs.

    Rows are laid end to end: a sum counts the rows before its own as well, which differences within a row cancel.
    """
    row, first, end = (np.concatenate([[0], column]) for column in above)  # an empty run, to be before all others
    shift = row * len(total)
    until = np.concatenate([[0.0], np.cumsum(total[end] - total[first])])  # whole runs before each

    def before(row: np.ndarray, place: np.ndarray) -> np.ndarray:
        place = place + row * len(total)
        last = np.searchsorted(first + shift, place, side="right") - 1  # the run around the place, or before it
        within = total[np.minimum(place - shift[last], end[last])] - total[first[last]]
        return until[last] + within

    return before


def _contrast(before: Before, proposals: Runs, U: int) -> np.ndarray:
    """Outer-inner contrast: mean inside a proposal minus mean over its margins, of a signal [U] by its sums."""
    row, start, stop = proposals
    reach = MARGIN * (stop - start)
    left = np.maximum(start - reach, 0).astype(np.int64)
    right = np.minimum((stop - 1 + reach).astype(np.int64), U - 1) + 1
    inner = before(row, stop) - before(row, start)
    outer = before(row, right) - before(row, left) - inner
    around = (start - left) + (right - stop)  # positions in the margins: none where they would leave the video
    return inner / (stop - start) - outer / np.maximum(around, 1)


def _levels(name: str, levels: Range) -> np.ndarray:
    """Spell out (start, stop, step), stop included."""
    if len(levels) != 3 or not np.isfinite(levels).all() or levels[2] <= 0 or levels[1] < levels[0]:
        raise InputError(
            f"{name}: {list(levels)} is not start, stop, step; give three numbers with stop ≥ start and step > 0"
        )
    start, stop, step = levels
    return np.arange(start, stop + step / 2, step)
