"""Pool the snippets of each video into one vector per view: what is clustered (docs/explanation/method.md).

The mean over a video's snippets mostly shows who is seen, and where. Three views of ours, not the paper's, drop that.
With z_t the first d principal components of snippet t (fitted on the training snippets), p_t its weight (1 / T, or its
share of the actionness), m = Σ p_t z_t the mean of the video and C_0 = Σ p_t (z_t - m)(z_t - m)ᵀ its covariance:

    second     S = C_0^(1/2), upper triangle: which movements occur
    lag        A = (C_1 - C_1ᵀ) / 2 with C_1 the covariance of z_t and z_(t+1), strict upper triangle, signed square
               root of each entry: in which direction movements go
    whitened   (m - mean of m) (C_w + 0.01 tr(C_w) / d I)^(-1/2) with C_w the mean of C_0 over the videos: what varies
               within videos is damped, what tells them apart stays

Dimensions: N videos, S snippets in all, D features, d components.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

import numpy as np
from scipy import sparse
from scipy.linalg import eigh

from feel_steps.errors import InputError
from feel_steps.tables.kinds import Columns
from feel_steps.tables.snippets import Snippets
from feel_steps.tables.tables import runs

COMPONENTS = {"second": 32, "lag": 32, "whitened": 64}  # d
RIDGE = 0.01  # of the mean variance within videos, added to C_w
NULL = 1e-6  # what varies along a direction, over the size of the rows, that is rounding
FLAT = 1e-6  # deviation of a column, over its largest value, that is rounding
FITTED = 10_000  # snippets, evenly spaced, that the principal components are fitted on at most
COMPARED = 2000  # videos whose pairs are compared
CHUNK = 8192  # snippets whose outer products are in memory at once
EMBEDDED = {"embedding": "feature", "adapted": "adapted"}  # columns of an embeddings table, by view
VIEWS = ("mean", "actionness", *EMBEDDED, *COMPONENTS)
NORMALIZE = ("none", "length", "standard")
WEIGHTED = {"actionness", *COMPONENTS}  # views that weight the snippets by actionness
FAMILIES = {"motion": ("second", "lag", "embedding"), "network": ("whitened",)}  # views for each kind of features
# of parts, what varies within a part is mostly noise, so damping it tells nothing apart: (views, normalize)
PARTS_OF_NETWORK: tuple[tuple[str, ...], str] = (("mean",), "none")
ALIKE = 0.5  # features of which second and lag agree by more show movements
FLOOR = 0.05  # weight of a snippet without any actionness, where the others have 0.05 to 1.05


def pool(
    snippets: Snippets,
    *,
    views: Sequence[str] = ("mean",),
    attention: Columns | None = None,
    embeddings: Columns | None = None,
    normalize: str = "none",
) -> dict[str, np.ndarray]:
    """Describe N videos by one view or several.

    A view whose table is absent, as at iteration 1, is left out; where none remains, the plain mean is taken.

    Parameters
    ----------
    snippets : Snippets
        Of the videos to pool.
    views : sequence of str
        Published: "mean" of the raw features; "actionness", their mean weighted by actionness (a video whose
        actionness is zero throughout: plain mean); "embedding", the mean of the localizer's embeddings at the T/5
        snippets of highest actionness ("easy action"), which is what an embeddings table holds. Ours: "second", "lag"
        and "whitened", see the formulas above, weighted by actionness where attention is given; "adapted", the
        mean of the adapted features of the easy-action snippets, where the localizer has an adapter.
    attention : columns of an attention table, optional
        For "actionness" and our own views. May hold other videos too, in any order.
    embeddings : columns of an embeddings table, optional
        For "embedding" and "adapted". May hold other videos too, in any order.
    normalize : {"none", "length", "standard"}
        Of the rows of a view: as they are; scaled to length 1; or standardized over the videos, column by column, and
        then scaled to length 1. Zero vectors stay zero. Our own views always have length 1.

    Returns
    -------
    dict of view to float32 [N, D]

    Raises
    ------
    InputError
        Unknown view, a video without snippets, one that a table lacks or has with other snippets, or no adapted
        features in it.
    """
    if unknown := [view for view in views if view not in VIEWS]:
        raise InputError(f"view '{unknown[0]}': unknown; expected some of {', '.join(VIEWS)}")
    if normalize not in NORMALIZE:
        raise InputError(f"normalize '{normalize}': unknown; expected one of {', '.join(NORMALIZE)}")
    if not snippets.lengths.all():
        empty = snippets.video_ids[int(np.argmin(snippets.lengths))]
        raise InputError(f"video '{empty}': no snippets; leave it out or extract it again")
    weights = None if attention is None else _actionness(snippets, attention)
    pooled = {}
    for view in views:
        if view in EMBEDDED and embeddings is not None:
            pooled[view] = _embedded(snippets, embeddings, EMBEDDED[view])
        elif view == "actionness" and weights is not None:
            pooled[view] = _weighted_mean(snippets, weights)
        elif view == "mean":
            pooled[view] = _weighted_mean(snippets, np.ones(len(snippets.features)))
    own = [view for view in views if view in COMPONENTS]
    if not pooled and not own:
        pooled["mean"] = _weighted_mean(snippets, np.ones(len(snippets.features)))
    if normalize == "standard":
        pooled = {view: standardize(vectors) for view, vectors in pooled.items()}
    if normalize != "none":
        pooled = {view: scale(vectors) for view, vectors in pooled.items()}
    if own:
        pooled |= describe(snippets, own, None if weights is None else _raised(snippets, weights))
    return {view: pooled[view].astype(np.float32) for view in (*views, "mean") if view in pooled}


def tell_family(snippets: Snippets) -> str:
    """Tell whether features describe movement, "motion", or are what a network recognizes, "network".

    second and lag are made of different numbers, so they agree on which videos are alike only where the features show
    movements that videos share.

    Parameters
    ----------
    snippets : Snippets
        Of the training videos.
    """
    views = describe(snippets, ["second", "lag"])
    agree = likeness(views["second"], views["lag"])
    family = "motion" if agree > ALIKE else "network"
    print(f"views: second and lag agree by {agree:.2f}, so features count as of kind '{family}'", file=sys.stderr)
    return family


def _raised(snippets: Snippets, actionness: np.ndarray) -> np.ndarray:
    """Weights [S] that keep some of every snippet: actionness from 0 to 1 in each video, plus a floor."""
    first, lengths = snippets.offsets[:-1], snippets.lengths
    low = np.repeat(np.minimum.reduceat(actionness, first), lengths)
    high = np.repeat(np.maximum.reduceat(actionness, first), lengths)
    return (actionness - low) / np.where(high > low, high - low, 1) + FLOOR


def _embedded(snippets: Snippets, embeddings: Columns, column: str) -> np.ndarray:
    """A column of an embeddings table, in the order of the videos."""
    if column not in embeddings:
        raise InputError("embeddings: no adapted features; train and attend again with train.settings.adapter 64")
    return embeddings[column][_rows(snippets.video_ids, embeddings)]


def _weighted_mean(snippets: Snippets, weights: np.ndarray) -> np.ndarray:
    """Mean of each video's features under the weights [S], float32 [N, D]; equal weights where all are zero."""
    lengths = snippets.lengths
    total = np.bincount(np.repeat(np.arange(len(lengths)), lengths), weights, minlength=len(lengths))  # [N]
    share = np.where(np.repeat(total > 0, lengths), weights, 1)
    share = (share / np.repeat(np.where(total > 0, total, lengths), lengths)).astype(np.float32)  # [S], sums to 1
    means = []
    for rows, block in snippets.blocks():
        values = (share[rows], np.arange(len(block.features)), block.offsets)
        means.append(sparse.csr_array(values, shape=(len(block.video_ids), len(block.features))) @ block.matrix)
    return np.concatenate(means)


def _place(video_ids: list[str], column: np.ndarray) -> np.ndarray:
    """Index in ``video_ids`` of each row of a table's video_id column, -1 for other videos."""
    place = {video_id: index for index, video_id in enumerate(video_ids)}
    stretches = runs(column)
    index = np.array([place.get(video_id, -1) for video_id, _, _ in stretches], np.int64)
    return np.repeat(index, [stop - start for _, start, stop in stretches])


def _rows(video_ids: list[str], embeddings: Columns) -> np.ndarray:
    """Row of each video in the embeddings table, int64 [N]."""
    place = _place(video_ids, embeddings["video_id"])
    found = np.bincount(place[place >= 0], minlength=len(video_ids))
    if (found != 1).any():
        i = int(np.argmax(found != 1))
        raise InputError(
            f"embeddings: video '{video_ids[i]}' has {found[i]} rows, expected 1; run the attend step again"
        )
    rows = np.flatnonzero(place >= 0)
    return rows[np.argsort(place[rows])]


def _actionness(snippets: Snippets, attention: Columns) -> np.ndarray:
    """Actionness of each of the S snippets, in their order."""
    place = _place(snippets.video_ids, attention["video_id"])
    rows = np.flatnonzero(place >= 0)
    rows = rows[np.lexsort((attention["snippet"][rows], place[rows]))]
    found, lengths = np.bincount(place[rows], minlength=len(snippets.video_ids)), snippets.lengths
    wrong = found != lengths
    if not wrong.any():
        expected = np.arange(len(rows)) - np.repeat(snippets.offsets[:-1], lengths)  # 0 … T - 1 in each video
        wrong[place[rows[attention["snippet"][rows] != expected]]] = True
    if wrong.any():
        i = int(np.argmax(wrong))
        raise InputError(
            f"attention: video '{snippets.video_ids[i]}' has {found[i]} snippets, expected {lengths[i]}, each once, "
            "counted from 0; run the attend step again"
        )
    return attention["actionness"][rows].astype(np.float64)


def describe(snippets: Snippets, views: Sequence[str], weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Describe each video by some views.

    Parameters
    ----------
    snippets : Snippets
        Of the training videos, each with one snippet or more.
    views : sequence of {"second", "lag", "whitened"}
    weights : float64 [S], optional
        Weight of each snippet, above 0; equal ones if absent.

    Returns
    -------
    dict of view to float32 [N, E]
        Every row of length 1 (or 0). E = d (d + 1) / 2 for "second", d (d - 1) / 2 for "lag" (1 where d
        is), d for "whitened".
    """
    directions, origin = project(snippets, max(COMPONENTS[view] for view in views))
    shares = _shares(snippets, weights)
    pieces: dict[str, list[np.ndarray]] = {view: [] for view in views}  # what each block of videos gives
    within = np.zeros(())  # sum of C_0 over the videos
    for rows, block in snippets.blocks():
        z = block.matrix @ directions.astype(np.float32) - origin
        for view in views:
            own, covariances = _describe(z[:, : COMPONENTS[view]], shares[rows], block, view)
            pieces[view].append(own)
            if view == "whitened":
                within = within + covariances.sum(0)
    whole = {view: np.concatenate(own) for view, own in pieces.items()}
    if "whitened" in whole:
        whole["whitened"] = _whitened(whole["whitened"], within / len(snippets.video_ids))
    return {view: scale(own if view == "whitened" else standardize(own)) for view, own in whole.items()}


def _describe(z: np.ndarray, shares: np.ndarray, snippets: Snippets, view: str) -> tuple[np.ndarray, np.ndarray]:
    """What a view keeps of each video, before it is scaled over the videos [N, E], and the covariances [N, d, d]."""
    mean = np.add.reduceat(z * shares[:, None], snippets.offsets[:-1], axis=0)  # [N, d]
    centred = z - np.repeat(mean, snippets.lengths, axis=0)
    covariances = _covariances(centred, shares, snippets, int(view == "lag"))
    if view == "whitened":
        return mean, covariances
    return (_directions if view == "lag" else roots)(covariances), covariances


def likeness(first: np.ndarray, second: np.ndarray) -> float:
    """How much two views agree on which videos are alike: correlation of their scalar products over pairs of videos.

    Parameters
    ----------
    first, second : float32 [N, E], [N, F]
        Rows of length 1. Beyond 2,000 videos, as many are taken, evenly spaced.

    Returns
    -------
    float
        -1 to 1; 0 where fewer than three videos leave nothing to compare.
    """
    step = max(1, -(-len(first) // COMPARED))
    first, second = first[::step], second[::step]
    pairs = np.triu_indices(len(first), 1)
    a, b = ((view @ view.T)[pairs].astype(np.float64) for view in (first, second))
    spread = a.std() * b.std() if len(a) > 1 else 0.0
    return float(((a - a.mean()) * (b - b.mean())).mean() / spread) if spread > 0 else 0.0


def project(snippets: Snippets, components: int) -> tuple[np.ndarray, np.ndarray]:
    """Principal components of the features: directions [D, d] and the mean along them [d], see :func:`principal`."""
    rows = thin((block.matrix for _, block in snippets.blocks()), snippets.features.shape)
    return principal(rows, components)[:2]


def thin(pieces: Iterable[np.ndarray], shape: tuple[int, int], dtype: type = np.float32) -> np.ndarray:
    """At most 10,000 of S rows, evenly spaced, that come in pieces [T, D] one after the other; ``shape`` is (S, D)."""
    S, D = shape
    step = max(1, -(-S // FITTED))
    kept: np.ndarray = np.empty((-(-S // step), D), dtype)
    start = 0
    for piece in pieces:  # copied, since a slice would keep all of its piece in memory
        stop = start + len(piece)
        kept[-(-start // step) : -(-stop // step)] = piece[-start % step :: step]
        start = stop
    return kept


def principal(rows: np.ndarray, components: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Principal components of float32 rows [n, D], largest first.

    d is D where that is less, and no direction is kept along which the rows do not vary: what follows gives all
    directions the same variance, which would make rounding errors as large as the rest. The largest entry of each
    direction is positive, so that signs do not depend on the solver. The rows are centred in place, since a copy may be
    large.

    Returns
    -------
    directions : float64 [D, d]
    origin : float64 [d]
        The mean of the rows along them.
    variance : float
        Of the rows along them, summed over the directions.
    """
    n, D = rows.shape
    size = np.linalg.norm(rows)
    mean = rows.mean(0, dtype=np.float64)
    rows -= mean.astype(np.float32)
    d = min(components, D)
    scatter = (rows.T @ rows).astype(np.float64)
    values, directions = eigh(scatter, subset_by_index=(D - d, D - 1))
    directions = directions[:, ::-1]
    directions = directions * np.sign(directions[np.abs(directions).argmax(0), np.arange(d)])
    deviation = np.linalg.norm(rows @ directions.astype(np.float32), axis=0)  # those of the scatter are inexact
    directions = directions[:, (deviation > NULL * size) | (deviation == deviation.max())]
    return directions, mean @ directions, float(values.clip(0).sum() / n)


def standardize(vectors: np.ndarray) -> np.ndarray:
    """Columns [N, E] with mean 0 and standard deviation 1 over the rows; constant ones 0."""
    mean, deviation = spread(vectors)
    return (vectors - mean) / deviation


def spread(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of columns [N, E]; infinite where a column is constant, so that it becomes 0."""
    mean, deviation = vectors.mean(0, dtype=np.float64), vectors.std(0, dtype=np.float64)
    varies = deviation > FLAT * np.abs(vectors).max(0, initial=0)
    return mean, np.where(varies, deviation, np.inf)


def scale(vectors: np.ndarray) -> np.ndarray:
    """Rows [N, E] of length 1; zero vectors stay zero."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(length > 0, length, 1)).astype(np.float32)


def _shares(snippets: Snippets, weights: np.ndarray | None) -> np.ndarray:
    """p_t [S]: the weights, summing to 1 in each video."""
    lengths = snippets.lengths
    if weights is None:
        return np.repeat(1 / lengths, lengths)
    return weights / np.repeat(np.add.reduceat(weights, snippets.offsets[:-1]), lengths)


def _covariances(centred: np.ndarray, shares: np.ndarray, snippets: Snippets, lag: int) -> np.ndarray:
    """Σ_t p_t x_t x_(t+lag)ᵀ of each video, for centred x [S, d]; float64 [N, d, d], zero where T ≤ lag.

    With a lag, p_t is the geometric mean of the two snippets' shares, summing to 1 over the pairs of a video.
    """
    S, d = centred.shape
    N = len(snippets.lengths)
    video = np.repeat(np.arange(N), snippets.lengths)
    first = np.flatnonzero(video[: S - lag] == video[lag:])  # pairs within one video
    p = np.sqrt(shares[first] * shares[first + lag])
    p /= np.bincount(video[first], p, minlength=N)[video[first]]
    total = np.zeros((N, d, d))
    for start in range(0, len(first), CHUNK):
        t = first[start : start + CHUNK]
        products = (centred[t] * p[start : start + CHUNK, None])[:, :, None] * centred[t + lag][:, None, :]
        videos, starts = np.unique(video[t], return_index=True)
        total[videos] += np.add.reduceat(products, starts, axis=0)
    return total


def roots(covariances: np.ndarray) -> np.ndarray:
    """Upper triangles of the symmetric square roots of [N, d, d]."""
    N, d, _ = covariances.shape
    upper = np.triu_indices(d)
    found = np.empty((N, len(upper[0])))
    for start in range(0, N, CHUNK):
        values, vectors = np.linalg.eigh(covariances[start : start + CHUNK])
        whole = (vectors * np.sqrt(values.clip(0))[:, None, :]) @ vectors.transpose(0, 2, 1)
        found[start : start + CHUNK] = whole[:, *upper]
    return found


def _directions(covariances: np.ndarray) -> np.ndarray:
    """Strict upper triangles of the antisymmetric parts of [N, d, d], signed square root of each entry.

    Along one direction nothing turns: a column of zeros.
    """
    if covariances.shape[1] == 1:
        return covariances[:, :, 0] * 0
    turning = (covariances - covariances.transpose(0, 2, 1))[:, *np.triu_indices(covariances.shape[1], 1)] / 2
    return np.sign(turning) * np.sqrt(np.abs(turning))


def _whitened(mean: np.ndarray, within: np.ndarray) -> np.ndarray:
    """Means [N, d] less their mean, times the inverse square root of what varies within videos [d, d]."""
    d = len(within)
    ridge = RIDGE * np.trace(within) / d
    values, vectors = np.linalg.eigh(within + max(ridge, np.finfo(float).tiny) * np.eye(d))
    return (mean - mean.mean(0)) @ (vectors / np.sqrt(values)) @ vectors.T
