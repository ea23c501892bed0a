"""Optical flow: if these fail, motion is measured in the wrong direction or differs from run to run."""

import cv2
import numpy as np
import pytest

from feel_steps.features.flow import FLOWS, flow_between


def moving_texture(n=3, dx=2, dy=-1, height=48, width=64, seed=0):
    rng = np.random.default_rng(seed)
    texture = cv2.GaussianBlur(rng.integers(0, 256, (120, 120)).astype(np.uint8), (0, 0), 2)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    return np.stack([texture[30 - i * dy :, 30 - i * dx :][:height, :width] for i in range(n)])


@pytest.mark.parametrize("method", FLOWS)
def test_flow_points_where_things_go(method):
    flow = flow_between(moving_texture(), method)
    assert flow.shape == (2, 48, 64, 2)
    assert flow.dtype == np.float32
    assert np.allclose(np.median(flow, axis=(1, 2)), [2, -1], atol=0.15)


@pytest.mark.parametrize("method", FLOWS)
def test_no_motion_no_flow(method):
    still = np.repeat(moving_texture(1), 2, axis=0)
    assert np.abs(flow_between(still, method)).max() < 0.05


def test_the_result_does_not_depend_on_memory():
    """The engine takes an array it is given for a first guess: whatever lay in memory would then decide."""
    pictures = moving_texture()
    first = flow_between(pictures)
    trash = [np.full((48, 64, 2), np.nan, np.float32) for _ in range(50)]
    del trash
    assert np.array_equal(flow_between(pictures), first)
