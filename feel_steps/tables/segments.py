"""Segments of time."""

from __future__ import annotations

import numpy as np

Times = np.ndarray | float


def temporal_iou(start: Times, end: Times, other_start: Times, other_end: Times) -> np.ndarray:
    """Intersection over union of segments, elementwise; 0 for two segments of length 0."""
    inner = np.maximum(0.0, np.minimum(end, other_end) - np.maximum(start, other_start))
    union = (end - start) + (other_end - other_start) - inner
    return np.divide(inner, union, out=np.zeros_like(inner), where=union > 0)
