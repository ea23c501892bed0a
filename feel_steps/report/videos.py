"""Packs the results of each video for the page: curves as bytes, segments as short lists."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from feel_steps.report.media import relative_url
from feel_steps.tables.kinds import Columns
from feel_steps.tables.run import StoredAttention, attention_rows, locate, window_centres, within
from feel_steps.tables.tables import runs

CLASSES = 3  # activation curves per video
DETECTIONS = 30  # drawn detections per video, the strongest ones
POINTS = 800  # points of a curve, more than a screen shows
MOST = 5000  # videos on a page; beyond that, a sample


class Shown(Protocol):
    """Tables that the page shows; both a run and a prediction have them."""

    @property
    def videos(self) -> Columns: ...
    @property
    def attention(self) -> Columns | StoredAttention: ...
    @property
    def detections(self) -> Columns: ...
    @property
    def moments(self) -> Columns: ...
    @property
    def confidence(self) -> Columns: ...
    @property
    def selected(self) -> Columns: ...
    @property
    def annotations(self) -> Columns: ...
    @property
    def parts(self) -> Columns | None: ...
    @property
    def snippets(self) -> dict[str, slice]: ...
    @property
    def assigned(self) -> np.ndarray: ...


def sample(videos: int, always: Iterable[int] = ()) -> np.ndarray:
    """Rows of the videos that a page holds, ascending: all, or MOST of them at random and those that it links to."""
    if videos <= MOST:
        return np.arange(videos)
    return np.union1d(np.random.default_rng(0).permutation(videos)[:MOST], np.fromiter(always, np.int64))


def records(run: Shown, page: Path, rows: np.ndarray, segments: Columns | None = None) -> list[dict[str, Any]]:
    """One record for each of these rows of the videos table; URLs are relative to ``page``.

    ``segments`` is a segmentation of the videos, if there is one.
    """
    videos, detections = run.videos, run.detections
    N = len(videos["video_id"])
    sure = {name: np.full(N, np.nan) for name in ("clarity", "confidence")}
    for name, values in sure.items():
        values[locate(run.confidence["video_id"], videos["video_id"])] = run.confidence[name]
    chosen = within(videos["video_id"], run.selected["video_id"])
    order, bounds = _by_video(detections, "score", videos)
    best, ends = _by_video(run.moments, "confidence", videos)
    truth, parts = _truth(run), _parts(run)
    tiles = _tiles(segments)
    packed = []
    for i in rows.tolist():
        video_id = videos["video_id"][i]
        strongest, moments = order[bounds[i] : bounds[i + 1]][:DETECTIONS], best[ends[i] : ends[i + 1]]
        shown = [*run.moments["cluster"][moments].tolist(), *detections["cluster"][strongest].tolist()]
        classes = list(dict.fromkeys([int(run.assigned[i]), *shown]))[:CLASSES]
        path = videos["path"][i]
        packed.append(
            {
                "id": video_id,
                "split": videos["split"][i],
                "url": relative_url(path, page) if path else None,
                "duration": round(float(videos["duration"][i]), 2),
                "cluster": int(run.assigned[i]),
                "parts": parts.get(video_id, []),
                "segments": tiles.get(video_id, []),
                **{
                    name: round(float(values[i]), 3) if np.isfinite(values[i]) else None
                    for name, values in sure.items()
                },
                "selected": bool(chosen[i]),
                "classes": classes,
                "moments": _segments(run.moments, np.sort(moments), "confidence"),
                "found": _segments(detections, strongest, "score"),
                "more": int(bounds[i + 1] - bounds[i] - len(strongest)),
                "truth": truth.get(video_id, []),
                **_curves(run, i, classes),
            }
        )
    return packed


def _by_video(table: Columns, strength: str, videos: Columns) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a table by video, the strongest first, and where each video's begin; int64 [P] and [N + 1]."""
    row = locate(table["video_id"], videos["video_id"])
    order = np.lexsort((-table[strength], row))
    return order, np.searchsorted(row[order], np.arange(len(videos["video_id"]) + 1))


def _segments(table: Columns, rows: np.ndarray, strength: str) -> list[tuple[int, float, float, float]]:
    """Segments as (cluster, start, end, strength)."""
    times = table["t_start"][rows].round(2), table["t_end"][rows].round(2)
    columns = table["cluster"][rows], *times, table[strength][rows].round(3)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _truth(run: Shown) -> dict[str, list[tuple[str, float, float]]]:
    """Annotations of each video as (label, start, end), sorted by time."""
    segments: dict[str, list[tuple[str, float, float]]] = {}
    a = run.annotations
    for i in np.lexsort((a["t_end"], a["t_start"])):
        segment = a["label"][i], round(float(a["t_start"][i]), 2), round(float(a["t_end"][i]), 2)
        segments.setdefault(a["video_id"][i], []).append(segment)
    return segments


def _parts(run: Shown) -> dict[str, list[tuple[int, float, float, int]]]:
    """Parts of each video as (cluster, start, end, whether it was selected)."""
    found: dict[str, list[tuple[int, float, float, int]]] = {}
    if (p := run.parts) is not None:
        columns = p["cluster"], p["t_start"].round(2), p["t_end"].round(2), p["selected"].astype(int)
        for video_id, *part in zip(p["video_id"], *(column.tolist() for column in columns), strict=True):
            found.setdefault(video_id, []).append(tuple(part))
    return found


def _tiles(segments: Columns | None) -> dict[str, list[tuple[int, float, float, float]]]:
    """Segments of each video as (cluster, start, end, score), where there is a segmentation."""
    if segments is None:
        return {}
    return {video_id: _segments(segments, np.arange(*rows), "score") for video_id, *rows in runs(segments["video_id"])}


def _curves(run: Shown, row: int, classes: list[int]) -> dict[str, Any]:
    """Actionness and class activations of a video, with the time of the first point and the step in seconds."""
    attention = attention_rows(run.attention, run.snippets[run.videos["video_id"][row]])
    middle = window_centres(run.videos, row, len(attention["actionness"]))
    width = -(-len(middle) // POINTS)  # snippets per point; the point is their maximum
    starts = np.arange(0, len(middle), width)
    step = float(middle[-1] - middle[0]) / max(1, len(middle) - 1)
    return {
        "start": round(float(middle[0]) + step * (width - 1) / 2, 3),
        "step": round(step * width, 4),
        "actionness": _pack(np.maximum.reduceat(attention["actionness"][None], starts, axis=1)),
        "activation": _pack(np.maximum.reduceat(attention["activation"][:, classes].T, starts, axis=1)),
    }


def _pack(curves: np.ndarray) -> dict[str, Any]:
    """Curves [n, T] as bytes in base64: value = low + byte / 255 · (high - low)."""
    low, high = min(0.0, float(curves.min())), float(curves.max())
    levels = np.round((curves - low) / ((high - low) or 1.0) * 255).astype(np.uint8)
    coded = [base64.b64encode(curve.tobytes()).decode() for curve in levels]
    return {"low": float(f"{low:.4g}"), "high": float(f"{high:.4g}"), "curves": coded}
