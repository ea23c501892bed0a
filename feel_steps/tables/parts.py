"""The table of parts, and tables of parts in the place of those of videos: from one to the other and back.

A part is a row named ``VIDEO#PART``.
"""

from __future__ import annotations

import numpy as np

from feel_steps.errors import InputError
from feel_steps.tables.kinds import Columns
from feel_steps.tables.tables import runs


def name_parts(parts: Columns) -> np.ndarray:
    """The name of each row of a parts table, ``VIDEO#PART``, object [P]."""
    return np.array([f"{video}#{part}" for video, part in zip(parts["video_id"], parts["part"], strict=True)], object)


def chain_of(rows: np.ndarray, parts: Columns) -> np.ndarray:
    """Video of each row that is named after a part, int64 [N]; rows must be in the order of the parts table.

    Raises
    ------
    InputError
        A row is no part.
    """
    return np.unique(parts["video_id"].astype(str), return_inverse=True)[1][_rows(rows, parts)]


def relabel(attention: Columns, parts: Columns) -> Columns:
    """An attention table by parts: ``video_id`` is the part's name, and ``snippet`` counts from 0 in it.

    Parameters
    ----------
    attention : columns of an attention table
        Rows of one video stand together, in order of time. Videos without parts are left out.
    parts : columns of a parts table

    Raises
    ------
    InputError
        A part has snippets that the attention table lacks.
    """
    begins = {video_id: (start, stop) for video_id, start, stop in runs(attention["video_id"])}
    bounds = np.array([begins.get(video_id, (0, 0)) for video_id in parts["video_id"]], np.int64).reshape(-1, 2)
    first, n = bounds[:, 0] + parts["first"], parts["n_snippets"].astype(np.int64)
    if (short := first + n > bounds[:, 1]).any():
        video_id = parts["video_id"][int(np.argmax(short))]
        raise InputError(f"attention: video '{video_id}' has fewer snippets than its parts; attend again")
    snippet = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
    rows = np.repeat(first, n) + snippet
    own = {name: column[rows] for name, column in attention.items()}
    return own | {"video_id": np.repeat(name_parts(parts), n), "snippet": snippet.astype(np.int32)}


def gather_embeddings(embeddings: Columns, parts: Columns) -> Columns:
    """Embeddings of videos from those of their parts, in the parts' order.

    The score of a video for a cluster is the highest among its parts: a video shows what one of its parts shows.
    Features are means over the parts, weighted by their snippets.
    """
    n = parts["n_snippets"]
    first = np.flatnonzero(np.concatenate([[True], parts["video_id"][1:] != parts["video_id"][:-1]]))
    weight = n / np.repeat(np.add.reduceat(n, first), np.diff(np.append(first, len(n))))
    found: Columns = {"video_id": parts["video_id"][first], "score": np.maximum.reduceat(embeddings["score"], first)}
    for name in ("feature", "adapted"):
        if name in embeddings:
            found[name] = np.add.reduceat(embeddings[name] * weight[:, None], first).astype(np.float32)
    return found


def join(refined: Columns, selected: Columns, parts: Columns) -> tuple[Columns, Columns]:
    """Tables of videos from those of their parts.

    Returns
    -------
    refined : columns of a refined table
        A row a video: the cluster that most of its time has, ``distance`` the share of the time that has another,
        ``margin`` how much less time the runner-up has, ``second`` the runner-up (-1 where there is none).
    selected : columns of a selected table
        A row for each cluster of a video's selected parts: the set of labels of the video.
    """
    row = _rows(refined["video_id"], parts)
    videos, video = _first_seen(parts["video_id"][row])
    K = int(refined["cluster"].max(initial=0)) + 1
    time = np.bincount(video * K + refined["cluster"], (parts["t_end"] - parts["t_start"])[row], len(videos) * K)
    share = time.reshape(-1, K) / np.add.reduceat(time, np.arange(0, len(time), K))[:, None]
    order = np.argsort(-share, 1, kind="stable")
    best = np.take_along_axis(share, order, 1)
    runner_up = best[:, 1] if K > 1 else np.zeros(len(videos))
    joined = {
        "video_id": videos,
        "cluster": order[:, 0].astype(np.int32),
        "distance": 1 - best[:, 0],
        "jaccard": np.full(len(videos), np.nan),
        "euclidean": np.bincount(video, refined["euclidean"]) / np.bincount(video),
        "margin": best[:, 0] - runner_up if K > 1 else np.full(len(videos), np.nan),
        "second": np.where(runner_up > 0, order[:, min(1, K - 1)], -1).astype(np.int32),
    }
    owner = parts["video_id"][_rows(selected["video_id"], parts)]
    keys = [f"{k} {video_id}" for k, video_id in zip(selected["cluster"], owner, strict=True)]
    kept = np.sort(np.unique(np.array(keys, str), return_index=True)[1])  # the most reliable part of each stands first
    labels = {name: selected[name][kept] for name in ("cluster", "distance")} | {"video_id": owner[kept]}
    order = np.lexsort((labels["distance"], labels["cluster"]))
    labels = {name: column[order] for name, column in labels.items()}
    _, start, size = np.unique(labels["cluster"], return_index=True, return_counts=True)
    return joined, labels | {"rank": (np.arange(len(order)) - np.repeat(start, size)).astype(np.int32)}


def to_videos(confidence: Columns, parts: Columns) -> Columns:
    """A confidence table of videos: a row for each cluster of a video's parts, means over them weighted by time.

    A video's rows rise with the time that has the cluster, so the last one is of the cluster that most of it has.
    """
    row = _rows(confidence["video_id"], parts)
    videos, video = _first_seen(parts["video_id"][row])
    K = int(confidence["cluster"].max(initial=0)) + 1
    seconds = (parts["t_end"] - parts["t_start"])[row]
    pairs, pair = np.unique(video * K + confidence["cluster"], return_inverse=True)
    time = np.bincount(pair, seconds)
    means = {
        name: np.bincount(pair, confidence[name] * seconds) / time
        for name in ("agreement", "stability", "clarity", "confidence")
    }
    order = np.lexsort((-(pairs % K), time, pairs // K))
    columns = {"video_id": videos[pairs // K], "cluster": (pairs % K).astype(np.int32)} | means
    return {name: column[order] for name, column in columns.items()}


def _first_seen(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct values in the order of their first row, and which one each row has."""
    index = {value: i for i, value in enumerate(dict.fromkeys(values.tolist()))}
    return np.array(list(index), object), np.array([index[value] for value in values.tolist()], np.int64)


def _rows(names: np.ndarray, parts: Columns) -> np.ndarray:
    """Row of each name in the parts table, int64 [N]."""
    place = {name: row for row, name in enumerate(name_parts(parts))}
    if missing := [name for name in names if name not in place]:
        raise InputError(f"parts table: no part '{missing[0]}'; pool again with the same parts")
    return np.array([place[name] for name in names], np.int64)
