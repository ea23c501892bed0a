"""From frames to the windows of the snippets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np


def windows(
    chunks: Iterable[Sequence[np.ndarray]], window: int, stride: int, most: int | None = None
) -> Iterator[list[np.ndarray]]:
    """Cut what is known of each frame into windows; what is left at the end makes none.

    Parameters
    ----------
    chunks : iterable of sequences of arrays [B, …]
        Some frames after the other, each time the same number of arrays side by side.
    window, stride : int
        Frames of a window, and from the start of one to the next.
    most : int, optional
        Windows to give at a time; by default all that the frames so far make.

    Yields
    ------
    list of arrays [T, window, …]
    """
    held: list[np.ndarray] = []  # frames that windows to come need
    skip = 0  # of those to come, frames before the next window, where the stride is longer than the window
    for fresh in chunks:
        held = [np.concatenate(pair) for pair in zip(held, fresh, strict=True)] if held else list(fresh)
        while (T := (len(held[0]) - skip - window) // stride + 1) > 0:
            T = min(T, most or T)
            frames = skip + np.arange(T)[:, None] * stride + np.arange(window)
            yield [part[frames] for part in held]
            used = skip + T * stride
            held, skip = [part[used:] for part in held], max(0, used - len(held[0]))
