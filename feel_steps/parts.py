"""Cut videos into parts, for videos that show several actions (docs/explanation/parts.md).

A video is cut where its features change. From then on a part is what a video was: it is pooled, clustered, selected and
learnt from on its own, as a row named ``VIDEO#PART``.

Dimensions: V videos, S snippets in all, T snippets of a video, P parts, d components, K clusters.
"""

from __future__ import annotations

import numpy as np

from feel_steps.description import Description
from feel_steps.errors import InputError
from feel_steps.runtime.progress import Progress
from feel_steps.tables.kinds import Columns
from feel_steps.tables.parts import name_parts
from feel_steps.tables.snippets import Snippets
from feel_steps.tables.tables import timing

# what one more part costs: so many shortest parts of the mean squared deviation
PENALTY = {"motion": 2.0, "network": 0.6}
ROUNDS = 10  # of learning how often neighbouring parts have one cluster


def cut(
    snippets: Snippets,
    seconds: np.ndarray,
    description: Description,
    *,
    shortest: float,
    longest: float,
    penalty: float | None = None,
) -> np.ndarray:
    """Cut videos where their features change.

    The borders of a video minimize Σ_parts (Σ_t |x_t - m|² + β), with x the description of a snippet, m the mean of a
    part, and β = ``penalty`` · ``shortest`` · mean of |x - mean of x|² / seconds of a snippet. Dynamic programming
    finds the minimum among parts of the allowed lengths; of equal ones, that with the earlier borders.

    Parameters
    ----------
    snippets : Snippets
        Of the videos to cut.
    seconds : float [V]
        From one snippet to the next, in each video.
    description : Description
        Learnt from these videos or from others. Of family "motion" it describes windows of ``shortest`` seconds, so
        that a movement that is repeated stays in one part.
    shortest, longest : float
        Length of a part in seconds. A video shorter than twice the shortest stays whole.
    penalty : float
        Above 0; more gives longer parts. Default: 2 of "motion", 0.6 of "network".

    Returns
    -------
    int64 [P + 1]
        First snippet of each part, counted over all videos, and S. Every video begins a part.

    Raises
    ------
    InputError
        See :func:`check_lengths`.
    """
    check_lengths(shortest, longest)
    penalty = PENALTY[description.family] if penalty is None else penalty
    beta = penalty * shortest * float(description.variance)
    borders = [np.zeros(1, np.int64)]
    videos = zip(snippets.each_video(), snippets.offsets[:-1], seconds, count(shortest, seconds), strict=True)
    with Progress("cutting", len(seconds), "video") as progress:
        for features, start, step, least in videos:
            most = max(2 * least, round(longest / step))
            borders.append(start + _cut(description.apply(features, least), least, most, beta / step))
            progress.advance()
    return np.concatenate(borders)


def count(length: float, seconds: np.ndarray) -> np.ndarray:
    """How many snippets of each video, int [V], last so many seconds; at least one."""
    return np.maximum(1, np.round(length / seconds)).astype(int)


def check_lengths(shortest: float, longest: float) -> None:
    """Check the lengths of parts before work starts.

    Raises
    ------
    InputError
        The longest part is not twice the shortest, which leaves lengths that no parts add up to.
    """
    if longest < 2 * shortest:
        raise InputError(
            f"parts: longest {longest:g} s is less than twice the shortest ({shortest:g} s); raise it, since not every "
            "video could be cut"
        )


def _cut(x: np.ndarray, least: int, most: int, beta: float) -> np.ndarray:
    """Ends of the parts of one video [T, d], the last one T."""
    T = len(x)
    if 2 * least > T:
        return np.array([T])
    x = x - x.mean(0)
    total = np.concatenate([np.zeros((1, x.shape[1])), np.cumsum(x, axis=0)])  # [T + 1, d]
    squares = np.concatenate([[0.0], np.cumsum(np.einsum("td,td->t", x, x))])
    best = np.full(T + 1, np.inf)
    best[0] = 0
    previous = np.zeros(T + 1, np.int64)
    for stop in range(least, T + 1):
        start = np.arange(max(0, stop - most), stop - least + 1)
        sums = total[stop] - total[start]
        within = squares[stop] - squares[start] - np.einsum("td,td->t", sums, sums) / (stop - start)
        cost = best[start] + within + beta
        first = int(cost.argmin())
        best[stop], previous[stop] = cost[first], start[first]
    ends = [T]
    while previous[ends[-1]]:
        ends.append(int(previous[ends[-1]]))
    return np.array(ends[::-1])


def to_table(snippets: Snippets, borders: np.ndarray, videos: Columns) -> Columns:
    """A parts table: when each part begins and ends, and which snippets it has.

    A snippet stands for its stride, the last one of a video for its whole window, as in an attention table.
    """
    video = np.searchsorted(snippets.offsets, borders[:-1], side="right") - 1  # [P]
    own = timing(videos, snippets.video_ids)
    fps, stride, window = (own[name][video] for name in ("fps", "snippet_stride", "snippet_window"))
    first, stop = borders[:-1] - snippets.offsets[video], borders[1:] - snippets.offsets[video]
    last = stop == snippets.lengths[video]
    return {
        "video_id": np.array(snippets.video_ids, object)[video],
        "part": (np.arange(len(video)) - np.searchsorted(video, video)).astype(np.int32),
        "first": first.astype(np.int32),
        "n_snippets": (stop - first).astype(np.int32),
        "t_start": first * stride / fps,
        "t_end": ((stop - 1) * stride + np.where(last, np.maximum(window, stride), stride)) / fps,
    }


def split(snippets: Snippets, parts: Columns) -> tuple[Snippets, Columns]:
    """Parts in the place of videos: the same features, with a row of offsets each.

    Returns
    -------
    snippets : Snippets
        Named as :func:`name_parts` does. Features are not copied.
    parts : columns
        Rows of the parts table that are of these videos, in their order.

    Raises
    ------
    InputError
        The parts do not add up to the videos.
    """
    place = {video_id: i for i, video_id in enumerate(snippets.video_ids)}
    video = np.array([place.get(video_id, -1) for video_id in parts["video_id"]], np.int64)
    order = np.lexsort((parts["part"], video))
    order = order[video[order] >= 0]
    own = {name: column[order] for name, column in parts.items()}
    offsets = np.concatenate([[0], np.cumsum(own["n_snippets"], dtype=np.int64)])
    begins = snippets.offsets[video[order]] + own["first"]
    covered = np.bincount(video[order], own["n_snippets"], minlength=len(place))
    if not np.array_equal(begins, offsets[:-1]) or not np.array_equal(covered, snippets.lengths):
        raise InputError("parts table: its parts do not add up to the videos; cut the videos again")
    return Snippets(name_parts(own).tolist(), snippets.features, offsets), own


def smooth(evidence: np.ndarray, video: np.ndarray) -> np.ndarray:
    """Let neighbouring parts speak for each other: the probability of each cluster, in a chain of parts.

    A hidden Markov model of one parameter: a part has the cluster of the part before it with probability ρ, and any
    other one with (1 - ρ) / (K - 1). ρ is learnt (Baum-Welch, the K clusters' evidence as it is), so that parts of
    one long action are pulled together, and parts of changing actions are left alone.

    Parameters
    ----------
    evidence : float [P, K]
        How well each cluster suits each part, from 0; only ratios within a row count.
    video : int [P]
        Video of each part; those of one video stand together, in order of time.

    Returns
    -------
    float64 [P, K]
        Rows sum to 1.
    """
    P, K = evidence.shape
    if K == 1 or P == 0:
        return np.ones((P, K))
    b = evidence + 1e-3
    b /= b.sum(1, keepdims=True)
    first = np.flatnonzero(np.concatenate([[True], video[1:] != video[:-1]]))
    stay = 0.5
    for _ in range(ROUNDS):
        after, together = _chain(b, first, stay)
        stay = (together.sum() + 1) / (len(together) + 2)
    return after


def _chain(b: np.ndarray, first: np.ndarray, stay: float) -> tuple[np.ndarray, np.ndarray]:
    """Forward and backward over chains that stand one after the other in [P, K] and begin at ``first``.

    Gives the probability of each cluster [P, K], and for each part with one before it that the two share a cluster.
    """
    P, K = b.shape
    move = (1 - stay) / (K - 1)
    lengths = np.diff(np.append(first, P))
    longest = first[np.argsort(-lengths, kind="stable")]
    running = np.searchsorted(np.sort(-lengths), -np.arange(lengths.max()))  # chains that have a part t

    def step(p: np.ndarray) -> np.ndarray:  # p @ transitions, which are symmetric
        return move * p.sum(-1, keepdims=True) + (stay - move) * p

    forward, backward = b.copy(), np.ones_like(b)
    steps = [longest[:n] + t for t, n in enumerate(running.tolist())][1:]  # the parts t of all chains, all at once
    for now in steps:
        p = step(forward[now - 1]) * b[now]
        forward[now] = p / p.sum(1, keepdims=True)
    for now in steps[::-1]:
        p = step(b[now] * backward[now])
        backward[now - 1] = p / p.sum(1, keepdims=True)
    p = forward * backward
    later = np.setdiff1d(np.arange(P), first)
    before, seen = forward[later - 1], b[later] * backward[later]
    product = (before * seen).sum(-1)
    same = stay * product
    both = same + move * (before.sum(-1) * seen.sum(-1) - product)
    return p / p.sum(-1, keepdims=True), same / both
