"""Dense optical flow between consecutive pictures, by name.

``dis``: dense inverse search (Kroeger et al., ECCV 2016), a third of a millisecond for 160 x 120 pixels. ``tvl1``:
total variation with L1 data term (Zach et al., DAGM 2007), hundreds of times slower; published two-stream features
are made with it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np


def _dis() -> cv2.DenseOpticalFlow:
    engine = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    engine.setFinestScale(1)  # half size; the preset's quarter loses a figure's limbs in small pictures
    return engine


FLOWS: dict[str, Callable[[], cv2.DenseOpticalFlow]] = {
    "dis": _dis,
    "tvl1": lambda: cv2.optflow.DualTVL1OpticalFlow.create(),
}


def flow_between(pictures: np.ndarray, method: str = "dis") -> np.ndarray:
    """Compute the flow from each picture to the next.

    The result depends on the number of OpenCV's threads; call ``cv2.setNumThreads(1)`` where it has to be repeatable.

    Parameters
    ----------
    pictures : uint8 [B + 1, H, W], B > 0
        Grey.
    method : str
        A key of :data:`FLOWS`.

    Returns
    -------
    float32 [B, H, W, 2]
        Pixels per frame, x then y.
    """
    engine = FLOWS[method]()
    # None: an array given for the result would be taken for a first guess
    return np.stack([engine.calc(a, b, None) for a, b in pairwise(pictures)])  # type: ignore[call-overload]
