"""Packs the results of each video for the page: curves as bytes, segments as short lists."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from feel_steps.localize import suppress
from feel_steps.report.media import relative_url
from feel_steps.tables.kinds import Columns
from feel_steps.tables.run import locate

CLASSES = 3  # activation curves per video
DETECTIONS = 30  # listed detections per video, the strongest ones
POINTS = 800  # points of a curve, more than a screen shows


class Shown(Protocol):
    """Tables that the page shows; both a run and a prediction have them."""

    @property
    def videos(self) -> Columns: ...
    @property
    def attention(self) -> Columns: ...
    @property
    def detections(self) -> Columns: ...
    @property
    def refined(self) -> Columns: ...
    @property
    def selected(self) -> Columns: ...
    @property
    def annotations(self) -> Columns: ...
    @property
    def snippets(self) -> dict[str, slice]: ...
    @property
    def assigned(self) -> np.ndarray: ...


def records(run: Shown, page: Path) -> list[dict[str, Any]]:
    """One record per video, in the order of the videos table; URLs are relative to ``page``."""
    videos, detections = run.videos, run.detections
    N = len(videos["video_id"])
    distance = np.full(N, np.nan)
    distance[locate(run.refined["video_id"], videos["video_id"])] = run.refined["distance"]
    chosen = np.isin(videos["video_id"], run.selected["video_id"])
    row = locate(detections["video_id"], videos["video_id"])
    order = np.lexsort((-detections["score"], row))
    bounds = np.searchsorted(row[order], np.arange(N + 1))
    truth = _truth(run)
    packed = []
    for i, video_id in enumerate(videos["video_id"]):
        strongest = order[bounds[i] : bounds[i + 1]][:DETECTIONS]
        classes = list(dict.fromkeys([int(run.assigned[i]), *detections["cluster"][strongest].tolist()]))[:CLASSES]
        path = videos["path"][i]
        packed.append(
            {
                "id": video_id,
                "split": videos["split"][i],
                "url": relative_url(path, page) if path else None,
                "duration": round(float(videos["duration"][i]), 2),
                "cluster": int(run.assigned[i]),
                "distance": float(f"{distance[i]:.4g}") if np.isfinite(distance[i]) else None,
                "selected": bool(chosen[i]),
                "classes": classes,
                "found": _segments(run, strongest),
                "more": int(bounds[i + 1] - bounds[i] - len(strongest)),
                "truth": truth.get(video_id, []),
                **_curves(run, video_id, classes),
            }
        )
    return packed


def _segments(run: Shown, rows: np.ndarray) -> list[tuple[int, float, float, float, int]]:
    """Detections as (cluster, start, end, score, whether the page lists it)."""
    listed = {name: values[rows] for name, values in run.detections.items()}
    times = listed["t_start"].round(2), listed["t_end"].round(2)
    columns = listed["cluster"], *times, listed["score"].round(3), apart(listed).astype(int)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def apart(detections: Columns) -> np.ndarray:
    """Whether no stronger detection of the same cluster overlaps a detection, bool [P]; for one video.

    Detections overlap on purpose, because mAP ranks them. A reader wants to see each moment once.
    """
    alone = np.zeros(len(detections["score"]), bool)
    for c in np.unique(detections["cluster"]):
        rows = np.flatnonzero(detections["cluster"] == c)
        t_start, t_end, score = (detections[name][rows] for name in ("t_start", "t_end", "score"))
        alone[rows[suppress(t_start, t_end, score, 1e-9)]] = True
    return alone


def _truth(run: Shown) -> dict[str, list[tuple[str, float, float]]]:
    """Annotations of each video as (label, start, end), sorted by time."""
    segments: dict[str, list[tuple[str, float, float]]] = {}
    a = run.annotations
    for i in np.lexsort((a["t_end"], a["t_start"])):
        segment = a["label"][i], round(float(a["t_start"][i]), 2), round(float(a["t_end"][i]), 2)
        segments.setdefault(a["video_id"][i], []).append(segment)
    return segments


def _curves(run: Shown, video_id: str, classes: list[int]) -> dict[str, Any]:
    """Actionness and class activations of a video, with the time of the first point and the step in seconds."""
    part, attention = run.snippets[video_id], run.attention
    middle = (attention["t_start"][part] + attention["t_end"][part]) / 2  # [T]
    width = -(-len(middle) // POINTS)  # snippets per point; the point is their maximum
    starts = np.arange(0, len(middle), width)
    step = float(middle[-1] - middle[0]) / max(1, len(middle) - 1)
    return {
        "start": round(float(middle[0]) + step * (width - 1) / 2, 3),
        "step": round(step * width, 4),
        "actionness": _pack(np.maximum.reduceat(attention["actionness"][part][None], starts, axis=1)),
        "activation": _pack(np.maximum.reduceat(attention["activation"][part, classes].T, starts, axis=1)),
    }


def _pack(curves: np.ndarray) -> dict[str, Any]:
    """Curves [n, T] as bytes in base64: value = low + byte / 255 · (high - low)."""
    low, high = min(0.0, float(curves.min())), float(curves.max())
    levels = np.round((curves - low) / ((high - low) or 1.0) * 255).astype(np.uint8)
    coded = [base64.b64encode(curve.tobytes()).decode() for curve in levels]
    return {"low": float(f"{low:.4g}"), "high": float(f"{high:.4g}"), "curves": coded}
