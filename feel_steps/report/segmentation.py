"""Shows a segmentation: what each of its clusters looks like, and when it comes in each video."""

from __future__ import annotations

from typing import Any

import numpy as np

from feel_steps.evaluation.segmentation import time_in_common
from feel_steps.report.charts import nice_ticks
from feel_steps.report.clusters import example
from feel_steps.runtime.progress import clock
from feel_steps.tables.kinds import Columns
from feel_steps.tables.run import Run, locate, within
from feel_steps.tables.tables import runs

EXAMPLES = 4  # segments to look at, for each cluster
ROWS = 40  # videos in the drawing
LABELS = 3  # annotated classes of a cluster, those with most time
WIDTH, LEFT, RIGHT, LINE, BAR, BOTTOM = 1000, 150, 12, 20, 14, 24  # pixels
LETTERS = 22  # letters of a video's name that fit
MEASURES = ("mof", "edit", "f1@10", "f1@25", "f1@50")
HEADS = ("clusters named", "MoF", "edit score", "F1@10", "F1@25", "F1@50")
STAGES = {"segment": "over all videos", "segment_video": "within each video"}


def letter(cluster: int) -> str:
    """A, B, … Z, AA, … for 0, 1, …: clusters of a segmentation are not those of the detections."""
    return (letter(cluster // 26 - 1) if cluster >= 26 else "") + chr(ord("A") + cluster % 26)


def show_segmentation(run: Run, segments: Columns, held: np.ndarray) -> dict[str, Any]:
    """Lay out a segmentation of the variant and seed that are shown.

    Parameters
    ----------
    run : Run
    segments : columns of a segments table
    held : int [M]
        Rows of the videos that the page holds.

    Returns
    -------
    dict
        ``letters`` of the clusters' numbers; ``clusters``, those with most time first; ``drawing``, a line per video;
        ``heads`` and ``rows`` of the measures (no rows without annotations); ``unheld``, how many videos are not drawn.
    """
    own = run.metrics[(run.metrics["variant"] == run.variant) & (run.metrics["seed"] == run.seed)]
    values = own.set_index(["stage", "metric"])["value"].to_dict()
    rows = [
        [name, *(f"{values[stage, measure]:.3f}" for measure in MEASURES)]
        for stage, name in STAGES.items()
        if (stage, "mof") in values
    ]
    drawn = held[np.unique(np.linspace(0, len(held) - 1, ROWS).round().astype(int))]
    return {
        "letters": [letter(c) for c in range(int(segments["cluster"].max()) + 1)],
        "clusters": _describe(run, segments, held),
        "drawing": _draw(run, segments, drawn),
        "heads": HEADS,
        "rows": rows,
        "unheld": len(run.videos["video_id"]) - len(drawn),
    }


def _describe(run: Run, segments: Columns, held: np.ndarray) -> list[dict[str, Any]]:
    """Time, number and length of each cluster's segments, and the clearest of them in different videos."""
    row = locate(segments["video_id"], run.videos["video_id"])
    start, end = segments["t_start"], segments["t_end"]
    clearest = np.lexsort((start, row, -segments["score"]))
    clearest = clearest[np.isin(row[clearest], held)]
    labels = _labels(segments, run.annotations)
    clusters = []
    for c in np.unique(segments["cluster"]).tolist():
        own = segments["cluster"] == c
        best = clearest[own[clearest]]
        best = best[np.sort(np.unique(row[best], return_index=True)[1])][:EXAMPLES]  # one of a video
        clusters.append(
            {
                "id": c,
                "share": float((end - start)[own].sum() / (end - start).sum()),
                "segments": int(own.sum()),
                "videos": len(np.unique(row[own])),
                "length": float(np.median((end - start)[own])),
                "labels": labels.get(c, []),
                "moments": [example(run, int(row[i]), float(start[i] + end[i]) / 2) for i in best.tolist()],
            }
        )
    return sorted(clusters, key=lambda cluster: (-cluster["share"], cluster["id"]))


def _labels(segments: Columns, annotations: Columns) -> dict[int, list[str]]:
    """Annotated classes of each cluster, with their share of its annotated time, the largest first."""
    clusters, labels, seconds = time_in_common(segments, annotations)
    named = {}
    for c, own in zip(clusters.tolist(), seconds, strict=True):
        most = [k for k in np.argsort(-own, kind="stable")[:LABELS] if own[k] >= 0.005 * own.sum() > 0]
        named[c] = [f"{labels[k]} {own[k] / own.sum():.0%}" for k in most]
    return named


def _draw(run: Run, segments: Columns, drawn: np.ndarray) -> dict[str, Any]:
    """A line per video, one path for each cluster in it, in pixels of the SVG."""
    ids, durations = run.videos["video_id"], run.videos["duration"]
    ends = segments["t_end"][within(segments["video_id"], ids[drawn])]
    longest = float(max(durations[drawn].max(), ends.max(initial=0)))

    def at(seconds: float) -> str:
        return f"{LEFT + seconds / longest * (WIDTH - LEFT - RIGHT):.1f}".removesuffix(".0")

    rows = {video_id: range(start, stop) for video_id, start, stop in runs(segments["video_id"])}
    clusters = segments["cluster"].tolist()
    lines = []
    for place, row in enumerate(drawn.tolist()):
        y = place * LINE + BAR / 2
        paths: dict[int, str] = {}
        for i in rows.get(ids[row], ()):
            stretch = f"M{at(segments['t_start'][i])} {y:g}H{at(segments['t_end'][i])}"
            paths[clusters[i]] = paths.get(clusters[i], "") + stretch
        text = ids[row] if len(ids[row]) <= LETTERS else f"{ids[row][: LETTERS - 1]}…"
        lines.append({"row": row, "video": ids[row], "text": text, "y": y, "paths": sorted(paths.items())})
    bottom = len(drawn) * LINE
    ticks = [(at(tick), clock(tick)) for tick in nice_ticks(0.0, longest, 6) if tick <= longest]
    return {
        "lines": lines,
        "ticks": ticks,
        "bar": BAR,
        "box": {"w": WIDTH, "h": bottom + BOTTOM, "left": LEFT, "bottom": bottom},
    }
