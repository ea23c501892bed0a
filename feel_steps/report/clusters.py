"""Describes the clusters: their typical moments, and a map of their videos or parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.linalg import orthogonal_procrustes
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import PCA

from feel_steps.cluster import alike
from feel_steps.evaluation.evaluate import NO_CLASS, label_parts
from feel_steps.report.media import thumbnail
from feel_steps.runtime.progress import track
from feel_steps.tables.parts import name_parts
from feel_steps.tables.run import Run, attention_rows, locate, window_centres, within

MOMENTS = 4  # thumbnails per cluster
LABELS = 3  # annotated classes per cluster, the most frequent ones
FEW = 10  # videos; the page warns of smaller clusters
MIXED = 0.2  # of the training videos that show several actions; the page suggests parts where there are more
GRID = 1000  # coordinates of the map are whole numbers from 0 to this


def cards(run: Run, names: Mapping[int, str]) -> list[dict[str, Any]]:
    """Describe each cluster of the last iteration, with pictures of its moments."""
    described = describe(run, names)
    add_pictures(run, described)
    return described


def add_pictures(run: Run, described: Sequence[Mapping[str, Any]]) -> None:
    """Put a picture into each of the ``moments`` of some clusters, where there is a video file."""
    moments = [moment for card in described for moment in card["moments"] if moment["path"]]
    for moment in track(moments, "decoding typical moments", "picture") if moments else ():
        moment["picture"] = thumbnail(moment["path"], moment["time"], run.videos["duration"][moment["row"]])


def describe(run: Run, names: Mapping[int, str]) -> list[dict[str, Any]]:
    """Describe each cluster of the last iteration, without opening video files."""
    selected, shows = run.selected, run.shows
    rows = run.grouped
    annotations = label_parts(run.annotations, run.cuts) if run.cuts else run.annotations
    truth = pd.DataFrame({key: annotations[key] for key in ("video_id", "label")}).drop_duplicates()
    truth = truth[truth["label"] != NO_CLASS]
    train = within(run.videos["video_id"], run.refined["video_id"])
    described: list[dict[str, Any]] = []
    for c in np.flatnonzero(shown(run)).tolist():
        members, chosen = rows["cluster"] == c, selected["cluster"] == c
        rated = run.confidence["cluster"] == c
        stability = float(run.confidence["stability"][rated][0]) if rated.any() else None
        typical = selected["video_id"][chosen][np.argsort(selected["rank"][chosen], kind="stable")][:MOMENTS]
        labels = truth.loc[truth["video_id"].isin(rows["video_id"][members]), "label"].value_counts().sort_index()
        described.append(
            {
                "id": c,
                "name": names.get(c, ""),
                "size": int(shows[train, c].sum()),
                "selected": int(chosen.sum()),
                "alike": int(shows[~train, c].sum()),  # videos that show this class and were not clustered
                "found": int((run.moments["cluster"] == c).sum()),
                "stability": stability,
                "labels": [f"{label} {count}" for label, count in labels.nlargest(LABELS).items()],
                "moments": [_moment(run, int(row), c) for row in locate(typical, run.videos["video_id"])],
            }
        )
    return described


def warnings(run: Run, labels: Sequence[str], mixed: float = 0.0) -> list[dict[str, Any]]:
    """What not to trust, in words: small clusters, clusters that look alike, and videos that seem to show several.

    ``labels`` are as on the page, ``mixed`` is the share of such videos.

    A warning has a ``text``, and a ``pair`` of clusters that might be merged, or None.
    """

    def called(numbers: Iterable[int]) -> str:
        names = [labels[c] or f"cluster {c}" for c in numbers]
        return ", ".join(names[:-1]) + " and " * (len(names) > 1) + names[-1]

    rows, what = run.grouped, "parts" if run.cuts else "videos"
    size = np.bincount(rows["cluster"], minlength=run.clusters)
    said, pairs = list[str](), list[tuple[int, int] | None]()
    if len(small := np.flatnonzero((size > 0) & (size < FEW)).tolist()):
        some = "has" if len(small) == 1 else "have"
        said.append(f"{called(small)} {some} fewer than {FEW} {what}: too few to tell a kind of action from chance.")
    if len(empty := np.flatnonzero((size == 0) & shown(run)).tolist()):
        said.append(f"{called(empty)} {'has' if len(empty) == 1 else 'have'} no {what}: a smaller K may do.")
    pooled = run.clustered(run.iterations, "pooled")
    features = pooled["feature"][locate(rows["video_id"], pooled["video_id"])]
    if mixed > MIXED:
        said.append(
            f"{mixed:.0%} of the training videos seem to show several actions: their parts look like different "
            "clusters. A run with parts: {cut: true} clusters parts in the place of videos."
        )
    pairs += [None] * len(said)
    for pair in alike(features, rows["cluster"], run.clusters):
        said.append(f"{called(pair)} look alike: their centres are closer than their {what} spread. They may be one.")
        pairs.append(pair)
    return [{"text": text, "pair": pair} for text, pair in zip(said, pairs, strict=True)]


def shown(run: Run) -> np.ndarray:
    """Which clusters are shown under their own number, bool [K]: not those that were merged into another."""
    own = np.arange(run.clusters)
    return own == own if run.names is None else run.names["shown_as"] == own


def _moment(run: Run, row: int, cluster: int) -> dict[str, Any]:
    """Snippet of a video with the highest activation of a class; of equal ones, the one with the highest actionness."""
    video_id = run.videos["video_id"][row]
    attention = attention_rows(run.attention, run.snippets[video_id])
    best = np.lexsort((-attention["actionness"], -attention["activation"][:, cluster]))[0]
    return example(run, row, float(window_centres(run.videos, row, len(attention["actionness"]))[best]))


def example(run: Run, row: int, seconds: float) -> dict[str, Any]:
    """A moment to look at: a row of the videos table and a time. :func:`add_pictures` adds the picture."""
    video_id, path = run.videos["video_id"][row], run.videos["path"][row]
    return {"row": row, "video": video_id, "path": path, "time": round(seconds, 2), "picture": None}


def embedding_map(run: Run, held: np.ndarray) -> dict[str, Any]:
    """Map of what was clustered, videos or parts: two principal components of their vectors at each iteration.

    Points are those of the videos that the page holds, rows [M] of the videos table, ascending.

    The sign of a principal component is arbitrary, and so are the numbers of clusters. Therefore the points of each
    iteration are rotated onto those of the next iteration, and its clusters get the numbers of the final clusters with
    which they share most videos. ``start`` is where a part begins in its video.
    """
    row_ids, final = run.grouped["video_id"], run.grouped["cluster"]
    video_ids, start = row_ids, np.zeros(len(row_ids))
    if run.cuts:
        part = locate(row_ids, name_parts(run.cuts))
        video_ids, start = run.cuts["video_id"][part], run.cuts["t_start"][part].round(2)
    rows = locate(video_ids, run.videos["video_id"])
    drawn = np.isin(rows, held)
    points: list[dict[str, list[int]]] = []
    xy: np.ndarray | None = None
    for iteration in range(run.iterations, 0, -1):
        pooled, refined = run.clustered(iteration, "pooled"), run.clustered(iteration, "refined")
        xy = _project(pooled["feature"][locate(row_ids, pooled["video_id"])], onto=xy)
        extent = np.ptp(xy, 0)
        grid = np.round((xy - xy.min(0)) / np.where(extent > 0, extent, 1) * GRID).astype(int)
        labels = refined["cluster"][locate(row_ids, refined["video_id"])]
        chosen = run.clustered(iteration, "selected")["video_id"]
        points.append(
            {
                "x": grid[drawn, 0].tolist(),
                "y": grid[drawn, 1].tolist(),
                "cluster": _match(labels, final)[drawn].tolist(),
                "selected": within(row_ids[drawn], chosen).astype(int).tolist(),
            }
        )
    place = np.searchsorted(held, rows[drawn])
    return {"grid": GRID, "video": place.tolist(), "start": start[drawn].tolist(), "iterations": points[::-1]}


def _project(features: np.ndarray, onto: np.ndarray | None) -> np.ndarray:
    """Two principal components [N, 2] of features [N, D], scaled to norm 1 and rotated onto earlier ones."""
    axes = min(2, *features.shape)
    xy = np.zeros((len(features), 2))
    if len(features) > 1:
        xy[:, :axes] = PCA(axes, svd_solver="randomized", random_state=0).fit_transform(features)
    if onto is not None:
        xy = xy @ orthogonal_procrustes(xy, onto)[0]
    return xy / (np.linalg.norm(xy) or 1.0)


def _match(labels: np.ndarray, final: np.ndarray) -> np.ndarray:
    """Renumber clusters [N] one-to-one by the final clusters with which they share most videos."""
    size = max(labels.max(), final.max()) + 1
    shared = np.zeros((size, size), int)
    np.add.at(shared, (labels, final), 1)
    return linear_sum_assignment(shared, maximize=True)[1][labels]
