"""Schemas of all tables that pass between steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

Columns = dict[str, np.ndarray]

TYPES = {
    "string": pa.string(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
}


@dataclass(frozen=True)
class Kind:
    """Schema of one kind of table.

    ``columns`` maps a name to one of :data:`TYPES` or to ``vector`` (fixed_size_list<float32>[D], D taken from the
    data). Columns in ``nullable`` may hold nulls (in memory: None, NaN for floats, -1 for integers). Those in
    ``optional`` may be absent. ``extra`` tables may carry further float64 columns.
    """

    columns: dict[str, str]
    nullable: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    extra: bool = False


_VIDEO = {"video_id": "string", "split": "string", "path": "string", "fps": "float64", "n_frames": "int64"}
_SEGMENT = {"t_start": "float64", "t_end": "float64"}
_INTERVAL = {"low": "float64", "high": "float64"}
_UNKNOWN = frozenset(["path", "n_frames"])  # CoLA's folders have neither

KINDS: dict[str, Kind] = {
    # the videos to process, before decoding; path: the video file; fps: the frame rate of the file
    "manifest": Kind({**_VIDEO, "duration": "float64", "part": "int32"}, _UNKNOWN),
    # the videos with features; fps: the frame rate of the features; window and stride: frames at this rate
    "videos": Kind(
        {
            **_VIDEO,
            "duration": "float64",
            "n_snippets": "int32",
            "snippet_stride": "int32",
            "snippet_window": "int32",
            "part": "string",
        },
        _UNKNOWN,
    ),
    "skipped": Kind({"video_id": "string", "path": "string", "reason": "string"}, frozenset(["path"])),
    # how features become what the localizer sees: (feature - mean) @ basis, a row for each number of a feature
    "scaling": Kind({"stream": "string", "mean": "float32", "basis": "vector"}),
    "features": Kind({"video_id": "string", "snippet": "int32", "feature": "vector"}),
    # parts of videos, where parts are clustered: which snippets they have; other tables call a part VIDEO#PART
    "parts": Kind({"video_id": "string", "part": "int32", "first": "int32", "n_snippets": "int32", **_SEGMENT}),
    "annotations": Kind({"video_id": "string", "label": "string", **_SEGMENT}),
    # what a person said about videos: role is "is" (in this cluster), "not" (in this cluster) or "ignored" (in none)
    "given": Kind(
        {"video_id": "string", "role": "string", "cluster": "int32", "name": "string"}, frozenset(["cluster", "name"])
    ),
    # the number and the name under which each cluster is shown, after corrections
    "names": Kind({"cluster": "int32", "shown_as": "int32", "name": "string"}, frozenset(["name"])),
    "dropped": Kind({"video_id": "string", "label": "string", **_SEGMENT, "fate": "string", "reason": "string"}),
    "pooled": Kind({"video_id": "string", "feature": "vector"}),
    # consensus only: margin, and second, the runner-up cluster (both null if K = 1); its distance is 1 - agreement
    "clusters": Kind(
        {"video_id": "string", "cluster": "int32", "distance": "float64", "margin": "float64", "second": "int32"},
        nullable=frozenset(["margin", "second"]),
        optional=frozenset(["margin", "second"]),
    ),
    "centres": Kind({"cluster": "int32", "feature": "vector"}),
    # null: jaccard without CCI; margin and second, the runner-up cluster, if K = 1
    "refined": Kind(
        {
            "video_id": "string",
            "cluster": "int32",
            "distance": "float64",
            "jaccard": "float64",
            "euclidean": "float64",
            "margin": "float64",
            "second": "int32",
        },
        frozenset(["jaccard", "margin", "second"]),
        optional=frozenset(["second"]),
    ),
    # how sure the clusters and the videos in them are, without labels; no clarity where K = 1
    "confidence": Kind(
        {
            "video_id": "string",
            "cluster": "int32",
            "agreement": "float64",
            "stability": "float64",
            "clarity": "float64",
            "confidence": "float64",
        },
        frozenset(["clarity"]),
    ),
    "selected": Kind({"video_id": "string", "cluster": "int32", "distance": "float64", "rank": "int32"}),
    "training": Kind({"step": "int64", "loss": "float64", "learning_rate": "float64"}, extra=True),
    "attention": Kind(
        {"video_id": "string", "snippet": "int32", **_SEGMENT, "actionness": "float32", "activation": "vector"}
    ),
    # feature: the localizer's embedding, pooled over the video; score: its class probabilities; adapted: the output of
    # the adapter for the snippet features, pooled likewise
    "embeddings": Kind(
        {"video_id": "string", "feature": "vector", "score": "vector", "adapted": "vector"},
        optional=frozenset(["adapted"]),
    ),
    "detections": Kind({"video_id": "string", "cluster": "int32", "score": "float64", **_SEGMENT}),
    # every moment has a cluster; read as detections by exports
    "segments": Kind({"video_id": "string", "cluster": "int32", "score": "float64", **_SEGMENT}),
    # what a person is shown: segments that do not overlap, chosen from the detections; confidence from 0 to 1
    "moments": Kind({"video_id": "string", "cluster": "int32", **_SEGMENT, "confidence": "float64"}),
    # the classes that each cluster is mapped to, by protocol (evaluation only)
    "mapping": Kind({"protocol": "string", "cluster": "int32", "label": "string", "weight": "float64"}),
    "metrics": Kind(
        {
            "variant": "string",
            "seed": "int64",
            "iteration": "int32",
            "stage": "string",
            "metric": "string",
            "value": "float64",
        }
    ),
    # a comparison of groups of videos; no bout length and no latency where a video has no moment of the cluster
    "group_videos": Kind(
        {
            "video_id": "string",
            "group": "string",
            "cluster": "int32",
            "time_share": "float64",
            "bouts_per_minute": "float64",
            "bout_length": "float64",
            "latency": "float64",
        },
        frozenset(["bout_length", "latency"]),
    ),
    "group_means": Kind(
        {
            "group": "string",
            "cluster": "int32",
            "measure": "string",
            "videos": "int64",
            "mean": "float64",
            **_INTERVAL,
        }
    ),
    "group_tests": Kind(
        {
            "cluster": "int32",
            "measure": "string",
            "group": "string",
            "other": "string",
            "difference": "float64",
            **_INTERVAL,
            "effect": "float64",
            "p": "float64",
            "p_corrected": "float64",
        }
    ),
    "group_transitions": Kind(
        {"group": "string", "cluster": "int32", "following": "int32", "count": "int64", "expected": "float64"}
    ),
    # numbers of one study; x and y: coordinates of a setting on the axes of the study's chart, if it has any
    "study": Kind(
        {
            "setting": "string",
            "x": "float64",
            "y": "float64",
            "seed": "int64",
            "iteration": "int32",
            "metric": "string",
            "value": "float64",
        },
        frozenset(["x", "y"]),
    ),
}
