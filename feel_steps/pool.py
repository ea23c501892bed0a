"""Pool the snippets of each video into one vector per view: what is clustered (docs/explanation/method.md)."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from scipy import sparse

from feel_steps.errors import InputError
from feel_steps.snippets import Snippets, runs
from feel_steps.tables.kinds import Columns
from feel_steps.views import COMPONENTS, describe, likeness, scale, standardize

EMBEDDED = {"embedding": "feature", "adapted": "adapted"}  # columns of an embeddings table, by view
VIEWS = ("mean", "actionness", *EMBEDDED, *COMPONENTS)
NORMALIZE = ("none", "length", "standard")
WEIGHTED = {"actionness", *COMPONENTS}  # views that weight the snippets by actionness
FAMILIES = {"motion": ("second", "lag", "embedding"), "network": ("whitened",)}  # views for each kind of features
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
        and "whitened", see :mod:`feel_steps.views`, weighted by actionness where attention is given; "adapted", the
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


def pick_views(snippets: Snippets, family: str = "") -> tuple[str, ...]:
    """Views that suit a kind of features.

    Parameters
    ----------
    snippets : Snippets
        Of the training videos.
    family : {"motion", "network", ""}
        Features that describe movement, as descriptors and skeletons do, or what a network recognizes. Where it is not
        known, the views tell: second and lag are made of different numbers, so they agree on which videos are alike
        only where the features show movements that videos share.
    """
    if not family:
        views = describe(snippets, ["second", "lag"])
        agree = likeness(views["second"], views["lag"])
        family = "motion" if agree > ALIKE else "network"
        print(f"views: second and lag agree by {agree:.2f}, so features count as of kind '{family}'", file=sys.stderr)
    return FAMILIES[family]


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
    share = share / np.repeat(np.where(total > 0, total, lengths), lengths)  # [S], sums to 1 in each video
    rows = (share.astype(np.float32), np.arange(len(share)), snippets.offsets)
    return sparse.csr_array(rows, shape=(len(lengths), len(share))) @ snippets.features  # [N, S] x [S, D]


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
