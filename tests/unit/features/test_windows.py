"""Windows of frames: if this fails, a snippet's feature is of other frames than its time says."""

from __future__ import annotations

from itertools import product

import numpy as np

from feel_steps.features.windows import windows


def test_windows_are_those_of_the_whole_however_the_frames_come():
    for length, window, stride, chunk, most in product(
        [0, 1, 15, 40], [1, 4, 16], [1, 3, 8, 21], [1, 7, 64], [None, 2]
    ):
        frames = np.arange(length)
        chunks = [(frames[i : i + chunk], -frames[i : i + chunk]) for i in range(0, length, chunk)]
        found = list(windows(chunks, window, stride, most))
        assert most is None or all(len(a) <= most for a, _ in found)
        starts = range(0, length - window + 1, stride)
        assert [row for a, _ in found for row in a.tolist()] == [list(range(s, s + window)) for s in starts]
        assert all(np.array_equal(b, -a) for a, b in found)
