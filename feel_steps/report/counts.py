"""Compares variants that differ in the number of clusters: their sizes, and which clusters split as it grows."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from feel_steps.report.charts import spread_labels
from feel_steps.report.summary import pick, show
from feel_steps.tables import tables
from feel_steps.tables.folders import iteration_folder
from feel_steps.tables.run import Run, count_clusters, locate

FEW = 10  # with fewer videos a cluster is often wrong (docs/results/clustering.md)
SPLIT = 0.2  # a cluster splits if at least two clusters of the larger number have this share of it
WIDTH, HEIGHT, TOP, GAP, BAR = 720, 340, 26, 8, 12  # pixels of the drawing, between clusters, and of a cluster's bar
SIDE = 70  # space for labels


@dataclass(frozen=True)
class Clustering:
    """Last iteration of a variant's first seed.

    Attributes
    ----------
    variant : str
    clusters : int
        K.
    assigned : int [N]
        Cluster of each training video, in the order of the shown variant's.
    moments, detections : int
        How many there are in all videos.
    agreement : str
        Agreement with the iteration before, as text.
    """

    variant: str
    clusters: int
    assigned: np.ndarray
    moments: int
    detections: int
    agreement: str

    @property
    def sizes(self) -> np.ndarray:
        """Videos of each cluster, int [K]."""
        return np.bincount(self.assigned, minlength=self.clusters)


def compare_counts(run: Run) -> dict[str, Any] | None:
    """Compare the numbers of clusters that a run was made with.

    Variants are compared if their names differ only in the suffix ``-kN``, as those of ``clusters: [4, 6]`` do, and if
    they belong to the variant that is shown.

    Returns
    -------
    dict or None
        Table, drawing and sentences for the page; None if there is only one number.
    """
    found = _clusterings(run)
    if len(found) < 2:
        return None
    steps = [(a, b, _cross(a, b)) for a, b in pairwise(found)]
    rows = [
        [
            str(one.clusters),
            ", ".join(map(str, np.sort(one.sizes)[::-1])),
            str((one.sizes < FEW).sum()),
            one.agreement,
            f"{one.moments:,}",
            f"{one.detections:,}",
        ]
        for one in found
    ]
    return {
        "heads": [
            "clusters",
            "videos in each",
            f"with fewer than {FEW}",
            "NMI previous",
            "moments",
            "detections",
        ],
        "rows": rows,
        "flow": _draw(
            found,
            [cross for _, _, cross in steps],
            next(i for i, one in enumerate(found) if one.variant == run.variant),
        ),
        "splits": [line for step in steps for line in _splits(*step)],
        "shares": [
            f"From {a.clusters} to {b.clusters} clusters: {cross.max(0).sum() / cross.sum():.0%} of the videos are in "
            "the main branch of their new cluster. 100% means that clusters only split."
            for a, b, cross in steps
        ],
    }


def _clusterings(run: Run) -> list[Clustering]:
    """The shown variant and those that differ from it in K, by K."""
    by_count: dict[int, Clustering] = {}
    families = {variant: _family(run, variant) for variant in run.seeds}
    order = run.refined["video_id"]
    for variant, (family, clusters) in families.items():
        if family != families[run.variant][0] or clusters in by_count:
            continue
        folder = _last(run, variant)
        refined = tables.read(folder / "refined.parquet", "refined")
        if set(refined["video_id"]) != set(order):
            continue
        by_count[clusters] = Clustering(
            variant,
            clusters,
            refined["cluster"][locate(order, refined["video_id"])],
            _rows(folder, "moments"),
            _rows(folder, "detections"),
            _agreement(run, variant),
        )
    return [by_count[clusters] for clusters in sorted(by_count)]


def _rows(folder: Path, kind: str) -> int:
    """Number of rows of a table, without reading them."""
    return int(tables.RowGroups(folder / f"{kind}.parquet", kind).first[-1])


def _last(run: Run, variant: str) -> Path:
    """Folder of the last iteration of a variant's first seed."""
    seed = run.seeds[variant][0]
    mine = (run.metrics["variant"] == variant) & (run.metrics["seed"] == seed)
    return iteration_folder(run.folder, variant, seed, int(run.metrics.loc[mine, "iteration"].max()))


def _family(run: Run, variant: str) -> tuple[str, int]:
    """Name of a variant without the suffix that says K, and K."""
    clusters = count_clusters(_last(run, variant))
    return variant.removesuffix(f"-k{clusters}"), clusters


def _agreement(run: Run, variant: str) -> str:
    """Agreement with the iteration before, over the variant's seeds."""
    metrics = run.metrics[run.metrics["variant"] == variant]
    last = metrics[metrics["iteration"] == metrics["iteration"].max()]
    return show(pick(last, ("refine",), "stability")["value"], "stability")


def _cross(a: Clustering, b: Clustering) -> np.ndarray:
    """Videos in each pair of clusters, int [K_a, K_b]."""
    cross = np.zeros((a.clusters, b.clusters), int)
    np.add.at(cross, (a.assigned, b.assigned), 1)
    return cross


def _splits(a: Clustering, b: Clustering, cross: np.ndarray) -> list[list[str]]:
    """Rows for the clusters of ``a``: where their videos are among those of ``b``."""
    rows = []
    for c, row in enumerate(cross):
        order = np.argsort(-row, kind="stable")
        into = ", ".join(f"{d} ({row[d]})" for d in order if row[d])
        splits = (row >= max(2.0, SPLIT * row.sum())).sum() > 1
        rows.append([f"{a.clusters} → {b.clusters}", str(c), str(row.sum()), into or "–", "splits" if splits else ""])
    return rows


def _draw(found: list[Clustering], crosses: list[np.ndarray], shown: int) -> dict[str, Any]:
    """Lay out a flow: a column for each K, a bar for each cluster, a band for the videos that two of them share."""
    orders = [np.argsort(-found[0].sizes, kind="stable")]
    for cross in crosses:  # next to where their videos come from, so that few bands cross
        position = np.argsort(orders[-1])
        mean = (position @ cross) / np.maximum(cross.sum(0), 1)
        orders.append(np.argsort(mean, kind="stable"))
    most = max(one.clusters for one in found)
    gaps = min(GAP * (most - 1), (HEIGHT - TOP) / 2)  # all of a column together
    scale = (HEIGHT - TOP - gaps) / len(found[0].assigned)
    colours = [_cross(one, found[shown]).argmax(1) for one in found]
    xs = np.linspace(SIDE, WIDTH - SIDE - BAR, len(found)).round(1)
    tops = [_tops(one.sizes * scale, order) for one, order in zip(found, orders, strict=True)]
    bars = []
    for one, order, x, top, colour in zip(found, orders, xs, tops, colours, strict=True):
        heights = one.sizes * scale
        middles = [top[c] + heights[c] / 2 for c in order]
        for c, label in zip(order, spread_labels(middles, TOP + 4, HEIGHT - 4), strict=True):
            bars.append(
                {
                    "x": x,
                    "y": round(top[c], 1),
                    "h": round(max(heights[c], 1.0), 1),
                    "colour": int(colour[c] % 7),
                    "text": str(c),
                    "label": {"x": x - 5 if x < WIDTH / 2 else x + BAR + 5, "y": round(label + 4, 1)},
                    "anchor": "end" if x < WIDTH / 2 else "start",
                    "tip": f"{one.clusters} clusters, cluster {c}: {one.sizes[c]} videos",
                }
            )
    bands = []
    for i, cross in enumerate(crosses):
        bands += _bands(cross, scale, orders[i : i + 2], tops[i : i + 2], xs[i : i + 2], colours[i + 1] % 7)
    return {
        "w": WIDTH,
        "h": HEIGHT,
        "bar": BAR,
        "heads": [{"x": x + BAR / 2, "text": f"{one.clusters} clusters"} for one, x in zip(found, xs, strict=True)],
        "bars": bars,
        "bands": bands,
    }


def _tops(heights: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Upper edge of each cluster's bar, float [K]."""
    free = HEIGHT - TOP - heights.sum()
    gap = min(free / max(len(order) - 1, 1), 3 * GAP)
    top = np.zeros(len(order))
    top[order] = TOP + np.concatenate([[0.0], np.cumsum(heights[order] + gap)[:-1]])
    return top


def _bands(
    cross: np.ndarray,
    scale: float,
    orders: list[np.ndarray],
    tops: list[np.ndarray],
    xs: np.ndarray,
    colours: np.ndarray,
) -> list[dict[str, Any]]:
    """Bands between two columns; each leaves and enters its bars in the order of the other column."""
    heights = cross * scale
    left, right = tops[0].copy(), tops[1].copy()
    starts, ends = np.zeros_like(heights), np.zeros_like(heights)
    for a in orders[0]:
        for b in orders[1]:
            starts[a, b], ends[a, b] = left[a], right[b]
            left[a] += heights[a, b]
            right[b] += heights[a, b]
    bands = []
    x, end = xs[0] + BAR, xs[1]
    middle = (x + end) / 2
    for a, b in np.argwhere(cross):
        y, to, h = starts[a, b], ends[a, b], heights[a, b]
        path = (
            f"M{x:.1f} {y:.1f}C{middle:.1f} {y:.1f} {middle:.1f} {to:.1f} {end:.1f} {to:.1f}V{to + h:.1f}"
            f"C{middle:.1f} {to + h:.1f} {middle:.1f} {y + h:.1f} {x:.1f} {y + h:.1f}Z"
        )
        bands.append(
            {"path": path, "colour": int(colours[b]), "tip": f"{cross[a, b]} videos: cluster {a} to cluster {b}"}
        )
    return bands
