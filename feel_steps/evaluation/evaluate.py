"""Evaluates clusterings against class labels, and detections against annotated segments.

N training videos, K clusters, C classes. No step of the loop reads these results.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pandas as pd
import sklearn
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, silhouette_score
from sklearn.metrics.cluster import contingency_matrix

from feel_steps.evaluation.anatomy import anatomy
from feel_steps.evaluation.detection_map import TIOU, mean_average_precision
from feel_steps.tables.kinds import Columns
from feel_steps.tables.parts import name_parts
from feel_steps.tables.tables import join

Rows = list[tuple[str, str, float]]

SAMPLE = 10_000  # videos in the silhouette, whose time grows with the square of their number
DISTANCES = 64  # MiB of their distances that are in memory at once
NO_CLASS = "\x00no class"  # of parts that are mostly unannotated; no annotation has such a name
PROTOCOLS = {"published": "mAP", "hungarian": "mAP_hungarian"}  # mapping of clusters to classes -> its metric


def evaluate(
    annotations: Columns,
    videos: Columns,
    clusters: Columns,
    refined: Columns,
    selected: Columns,
    detections: Columns | Iterable[Columns],
    previous_refined: Columns | None = None,
    *,
    tiou: Sequence[float] = TIOU,
    pooled: Columns | None = None,
    parts: Columns | None = None,
) -> tuple[Columns, Columns]:
    """Measure one iteration.

    Parameters
    ----------
    annotations : columns of an annotations table
        May be empty or lack videos. Videos without annotations are not judged.
    videos : columns of a videos table
    clusters, refined, selected : columns of these tables
        Tables of the training videos; ``selected`` has a share of them.
    detections : columns of a detections table, or of its row groups one after the other
        Detections in test videos are judged, or those in training videos if there is no test video. Of row groups, only
        those are kept in memory.
    previous_refined : columns of a refined table, optional
        Table of the previous iteration.
    tiou : sequence of float
        Thresholds of mAP.
    pooled : columns of a pooled table, optional
        Vectors for the silhouette.
    parts : columns of a parts table, optional
        Where parts were clustered: the tables of clusters have a row a part, and a part's class is what most of its
        time is annotated as. Parts of no class are not compared, but a cluster that most have is mapped to no class.

    Returns
    -------
    metrics : columns stage, metric, value
        ``cluster``, ``refine`` and ``select``: agreement of clusters and classes (``nmi``, ``ari``, ``purity``,
        ``accuracy``). The class of a video is the set of its labels; for ``…_first``, it is its first label;
        ``…_single`` counts only videos with one label. Without annotations: ``clusters`` (number of nonempty
        clusters), ``silhouette``, ``stability`` (NMI with the previous iteration), ``share`` (of selected videos).
        ``localize``: ``mAP``, ``mAP@0.5`` … by the published mapping, ``mAP_hungarian…`` by the one-to-one mapping,
        ``videos`` (number of judged videos), ``detections`` (number of all detections). ``class``: average precision of
        each class by the published mapping. ``anatomy``: see
        :func:`feel_steps.evaluation.anatomy.anatomy`.
    mapping : columns of a mapping table
        The classes that each cluster is mapped to, by protocol.

    Raises
    ------
    InputError
        A threshold is out of range.
    """
    rows: Rows = []
    classes = annotations if parts is None else label_parts(annotations, parts)
    known = {name: column[classes["label"] != NO_CLASS] for name, column in classes.items()}
    for stage, table in (("cluster", clusters), ("refine", refined), ("select", selected)):
        rows += [(stage, *row) for row in agreement(table["video_id"], table["cluster"], known)]
        rows.append((stage, "clusters", float(len(np.unique(table["cluster"])))))
        if pooled is not None and stage != "select":
            rows += [(stage, *row) for row in _silhouette(table, pooled)]
    if previous_refined is not None:
        now, before = _common(refined, previous_refined)
        rows.append(("refine", "stability", float(normalized_mutual_info_score(before, now))))
    rows.append(("select", "share", len(selected["video_id"]) / max(len(refined["video_id"]), 1)))

    number = 0

    def counted() -> Iterator[Columns]:
        nonlocal number
        for piece in [detections] if isinstance(detections, dict) else detections:
            number += len(piece["video_id"])
            yield piece

    predicted, truth = judged(counted(), annotations, videos)
    rows.append(("localize", "detections", float(number)))
    mapping = map_clusters(refined, classes)
    mapping = {name: column[mapping["label"] != NO_CLASS] for name, column in mapping.items()}
    if len(mapping["cluster"]):
        rows.append(("localize", "videos", float(len(np.unique(truth["video_id"])))))
        rows += _detection_scores(predicted, truth, mapping, tiou) if len(truth["video_id"]) else []
    metrics = {
        "stage": np.array([stage for stage, _, _ in rows], object),
        "metric": np.array([metric for _, metric, _ in rows], object),
        "value": np.array([value for _, _, value in rows], np.float64),
    }
    return metrics, mapping


def label_parts(annotations: Columns, parts: Columns) -> Columns:
    """An annotations table of parts: the label that most of a part's time has, or :data:`NO_CLASS`.

    Parts of videos without any annotation are left out. Of equal times, the first in alphabetical order is taken.
    """
    names = name_parts(parts)
    cuts = pd.DataFrame({"part": names, "video_id": parts["video_id"], "a": parts["t_start"], "b": parts["t_end"]})
    segments = pd.DataFrame({name: annotations[name] for name in ("video_id", "label", "t_start", "t_end")})
    both = cuts.merge(segments, on="video_id")  # left out: parts of videos that nobody annotated
    both["start"] = np.maximum(both["a"], both["t_start"])
    both["end"] = np.minimum(both["b"], both["t_end"])
    time = _cover(both, ["part", "label"]).reset_index(name="time")
    covered = _cover(both, ["part"])
    length = (cuts["b"] - cuts["a"]).set_axis(names).loc[covered.index]
    nothing = pd.DataFrame({"part": covered.index, "label": NO_CLASS, "time": (length - covered).to_numpy()})
    every = pd.concat([time, nothing]).sort_values(["part", "time", "label"], ascending=[True, False, True])
    best = every.drop_duplicates("part")
    best = cuts[["part", "a", "b"]].merge(best, on="part")
    return {
        "video_id": best["part"].to_numpy(object),
        "label": best["label"].to_numpy(object),
        "t_start": best["a"].to_numpy(float),
        "t_end": best["b"].to_numpy(float),
    }


def _cover(segments: pd.DataFrame, keys: list[str]) -> pd.Series:
    """Time that the segments of each key cover together, from ``start`` to ``end``; overlaps count once."""
    ordered = segments.sort_values([*keys, "start"])
    latest = ordered.groupby(keys)["end"].cummax()  # end of what the segments so far cover
    before = latest.groupby([ordered[key] for key in keys]).shift(fill_value=-np.inf)
    ordered["time"] = (ordered["end"] - np.maximum(ordered["start"], before)).clip(lower=0)
    return ordered.groupby(keys)["time"].sum()


def judged(detections: Columns | Iterable[Columns], annotations: Columns, videos: Columns) -> tuple[Columns, Columns]:
    """Keep the rows of annotated test videos, or of annotated training videos if there is no test video.

    Parameters
    ----------
    detections : columns of a detections or a segments table, or of its row groups one after the other
    annotations : columns of an annotations table
    videos : columns of a videos table

    Returns
    -------
    (detections, annotations)
        A video without annotations is in neither table, so its detections do not count as false positives. In both,
        ``video_id`` is a number, int32: that of the id among the sorted ids of the annotated videos.
    """
    split = "test" if (videos["split"] == "test").any() else "train"
    wanted = pd.Index(annotations["video_id"]).isin(videos["video_id"][videos["split"] == split])
    video_ids = pd.Index(np.unique(annotations["video_id"][wanted]))
    pieces = [detections] if isinstance(detections, dict) else detections
    return join([_numbered(piece, video_ids) for piece in pieces]), _numbered(annotations, video_ids)


def _numbered(table: Columns, video_ids: pd.Index) -> Columns:
    """Rows of these videos, with numbers in the place of their ids: millions of numbers take less memory, and time."""
    number = video_ids.get_indexer(pd.Index(table["video_id"]))
    rows = number >= 0
    return {name: column[rows] for name, column in table.items()} | {"video_id": number[rows].astype(np.int32)}


def _detection_scores(detections: Columns, truth: Columns, mapping: Columns, tiou: Sequence[float]) -> Rows:
    """Mean average precision by each mapping; average precision per class and anatomy by the published mapping."""
    rows: Rows = []
    for protocol, metric in PROTOCOLS.items():
        predictions = relabelled(detections, mapping, protocol)
        result = mean_average_precision(predictions, truth, tiou)
        rows.append(("localize", metric, result.average))
        rows += [("localize", f"{metric}@{t:g}", float(v)) for t, v in zip(result.tiou, result.map, strict=True)]
        if protocol == "published":
            rows += [("class", label, float(ap)) for label, ap in zip(result.labels, result.ap.mean(1), strict=True)]
            del result  # a number for each detection and threshold
            rows += [("anatomy", *row) for row in anatomy(detections, predictions, truth, tiou)]
    return rows


def agreement(video_ids: np.ndarray, labels: np.ndarray, annotations: Columns) -> list[tuple[str, float]]:
    """Compare cluster labels [N] with the annotated classes, with three definitions of a video's class.

    Returns
    -------
    list of (metric, value)
        ``nmi``, ``ari``, ``purity``, ``accuracy``, each in three versions. Without suffix, the class of a video is the
        set of its labels; with ``_first``, its first_label label; with ``_single``, only videos with one label count.
        Videos without annotations are left out. A version without videos is left out.
    """
    frame = pd.DataFrame({"video_id": annotations["video_id"], "label": annotations["label"]}).drop_duplicates()
    grouped = frame.groupby("video_id", sort=False)["label"]
    first_label = grouped.first().reindex(video_ids)
    several = frame[frame["video_id"].duplicated(keep=False)].groupby("video_id")["label"].agg(frozenset)
    sets = grouped.first().astype(object)  # a set of one label is that label: making sets takes longer than the rest
    sets.update(several)
    sets = sets.reindex(video_ids)
    single = (grouped.size().reindex(video_ids) == 1).to_numpy()
    known = first_label.notna().to_numpy()
    readings = {"": (known, sets), "_first": (known, first_label), "_single": (single, first_label)}
    return [
        (f"{metric}{suffix}", value)
        for suffix, (rows, truth) in readings.items()
        if rows.any()
        for metric, value in clustering_scores(pd.factorize(truth[rows])[0], labels[rows])
    ]


def clustering_scores(truth: np.ndarray, labels: np.ndarray) -> list[tuple[str, float]]:
    """Scores of cluster labels [N] against class labels [N].

    ``nmi`` (arithmetic mean of the entropies), ``ari``, ``purity`` (share of videos in their cluster's majority
    class), ``accuracy`` (share of videos whose cluster is assigned to their class, in the best one-to-one assignment).
    """
    counts = contingency_matrix(truth, labels)  # [C, K]
    return [
        ("nmi", float(normalized_mutual_info_score(truth, labels))),
        ("ari", float(adjusted_rand_score(truth, labels))),
        ("purity", float(counts.max(0).sum() / counts.sum())),
        ("accuracy", float(counts[linear_sum_assignment(counts, maximize=True)].sum() / counts.sum())),
    ]


def map_clusters(refined: Columns, annotations: Columns) -> Columns:
    """Map clusters to classes by the annotations of the training videos in them, under both protocols.

    A video counts once for each of its classes. ``published``: a cluster is mapped to its majority class with weight 1
    (of equal classes, to the first in alphabetical order), and to every class with at least half of that count with
    weight 0.5. ``hungarian``: the one-to-one assignment with the most videos in common. A cluster without annotated
    videos is not mapped.

    Returns
    -------
    columns of a mapping table
    """
    pairs = pd.DataFrame({"video_id": annotations["video_id"], "label": annotations["label"]}).drop_duplicates()
    pairs = pairs.merge(pd.DataFrame({"video_id": refined["video_id"], "cluster": refined["cluster"]}), on="video_id")
    table = pd.crosstab(pairs["cluster"], pairs["label"])  # sorted by cluster and by label
    counts = table.to_numpy()  # [K, C]
    protocol, cluster, label, weight = np.empty((4, 0), object)
    if len(pairs):
        k, c = np.nonzero(2 * counts >= counts.max(1, keepdims=True))
        one_k, one_c = linear_sum_assignment(counts, maximize=True)
        shared = counts[one_k, one_c] > 0
        protocol = np.repeat(np.array(["published", "hungarian"], object), [len(k), shared.sum()])
        cluster = table.index.to_numpy()[np.append(k, one_k[shared])]
        label = table.columns.to_numpy()[np.append(c, one_c[shared])]
        weight = np.append(np.where(counts.argmax(1)[k] == c, 1.0, 0.5), np.ones(shared.sum()))
    return {
        "protocol": protocol,
        "cluster": cluster.astype(np.int32),
        "label": label,
        "weight": weight.astype(np.float64),
    }


def relabelled(detections: Columns, mapping: Columns, protocol: str) -> Columns:
    """Copy each detection to every class of its cluster, and multiply its score by the weight of the class.

    Returns columns video_id, label, score, t_start, t_end. Detections of unmapped clusters are dropped.
    """
    chosen = np.flatnonzero(mapping["protocol"] == protocol)
    chosen = chosen[np.argsort(mapping["cluster"][chosen], kind="stable")]
    clusters = mapping["cluster"][chosen]
    first, last = (np.searchsorted(clusters, detections["cluster"], side) for side in ("left", "right"))
    count = (last - first).astype(np.int32)
    row = np.repeat(np.arange(len(count), dtype=np.int32), count)
    copy = np.arange(len(row), dtype=np.int32) - np.repeat(np.cumsum(count, dtype=np.int32) - count, count)
    pair = chosen[first[row] + copy]
    return {
        "video_id": detections["video_id"][row],
        "label": mapping["label"][pair],
        "score": detections["score"][row] * mapping["weight"][pair],
        "t_start": detections["t_start"][row],
        "t_end": detections["t_end"][row],
    }


def _common(now: Columns, before: Columns) -> tuple[np.ndarray, np.ndarray]:
    """Clusters of the videos that are in both tables."""
    _, i, j = np.intersect1d(now["video_id"].astype(str), before["video_id"].astype(str), return_indices=True)
    return now["cluster"][i], before["cluster"][j]


def _silhouette(table: Columns, pooled: Columns) -> list[tuple[str, float]]:
    """Mean silhouette of the clusters, over at most SAMPLE videos; it needs 2 to N - 1 clusters."""
    rows = np.arange(len(table["video_id"]))
    if len(rows) > SAMPLE:
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:SAMPLE])
    vectors = pd.Index(pooled["video_id"]).get_indexer(pd.Index(table["video_id"][rows]))
    labels = table["cluster"][rows]
    if not 2 <= len(np.unique(labels)) < len(rows):
        return []
    with sklearn.config_context(working_memory=DISTANCES):
        return [("silhouette", float(silhouette_score(pooled["feature"][vectors], labels)))]
