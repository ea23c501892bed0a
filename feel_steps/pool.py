"""Pool the snippets of each video into one vector, the thing that is clustered (docs/explanation/method.md, Pooling)."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from feel_steps.errors import InputError
from feel_steps.snippets import Snippets, runs
from feel_steps.tables.kinds import Columns

COLUMNS = {"easy-action": "feature", "adapted": "adapted"}  # what an embeddings table holds, by method
METHODS = ("mean", "actionness", *COLUMNS)


def pool(
    snippets: Snippets,
    *,
    method: str = "mean",
    attention: Columns | None = None,
    embeddings: Columns | None = None,
    normalize: bool = False,
) -> np.ndarray:
    """Pool N videos by one of the three published variants, or as an adapter sees them.

    Where the table that a variant needs is absent, as it is at iteration 1, the plain mean is taken.

    Parameters
    ----------
    snippets : Snippets
        Of the videos to pool.
    method : {"mean", "actionness", "easy-action", "adapted"}
        Mean of the raw features; their mean weighted by actionness (a video whose actionness is zero throughout: plain
        mean); mean of the localizer's embeddings at the T/5 snippets of highest actionness, which is what an
        embeddings table holds; or mean of the adapted features of these snippets, which is what it holds beside where
        the localizer has an adapter.
    attention : columns of an attention table, optional
        For "actionness". May hold other videos too, in any order.
    embeddings : columns of an embeddings table, optional
        For "easy-action" and "adapted". May hold other videos too, in any order.
    normalize : bool
        Scale every pooled vector to length 1; zero vectors stay zero.

    Returns
    -------
    float32 [N, D]
        D of the raw features, or of the embeddings.

    Raises
    ------
    InputError
        Unknown method, a video without snippets, one that the table lacks or has with other snippets, or no adapted
        features in it.
    """
    if method not in METHODS:
        raise InputError(f"method '{method}': unknown; expected one of {', '.join(METHODS)}")
    if method in COLUMNS and embeddings is not None:
        if COLUMNS[method] not in embeddings:
            raise InputError("embeddings: no adapted features; train and attend again with train.settings.adapter 64")
        pooled = embeddings[COLUMNS[method]][_rows(snippets.video_ids, embeddings)]  # [N, D]
    elif method == "actionness" and attention is not None:
        pooled = _weighted_mean(snippets, _actionness(snippets, attention))
    else:
        pooled = _weighted_mean(snippets, np.ones(len(snippets.features)))
    if normalize:
        length = np.linalg.norm(pooled, axis=1, keepdims=True)
        pooled = pooled / np.where(length > 0, length, 1)
    return pooled.astype(np.float32)


def _weighted_mean(snippets: Snippets, weights: np.ndarray) -> np.ndarray:
    """Mean of each video's features under the weights [S], float32 [N, D]; equal weights where all are zero."""
    lengths = snippets.lengths
    if not lengths.all():
        empty = snippets.video_ids[int(np.argmin(lengths))]
        raise InputError(f"video '{empty}': no snippets; leave it out or extract it again")
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
