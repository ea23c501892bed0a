"""From frames to the windows of the snippets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import av
import numpy as np

from feel_steps.dataset.video_file import Resize, shown_frames
from feel_steps.dataset.videos import Video
from feel_steps.features.ahead import ahead

Result = TypeVar("Result")


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


def spread(window: int, frames: int) -> np.ndarray:
    """Positions of so many frames in a window, each in the middle of its share; int64 [frames]."""
    return (2 * np.arange(frames) + 1) * window // (2 * frames)


class Seen(NamedTuple):
    """Some frames that are looked at: their numbers [B] in the video, pictures uint8 [H, W, 3], and frames read."""

    slots: np.ndarray
    pictures: list[np.ndarray]
    read: int


def seen_pictures(
    video: Video, fps: float, stride: int, seen: np.ndarray, resize: Callable[[av.VideoFrame], Resize], batch: int
) -> Iterator[Seen]:
    """Read a video, and give the frames that its windows are described by; a frame that several share comes once.

    Parameters
    ----------
    video : Video
    fps : float
        Frames per second that it is read at.
    stride : int
        Frames from the start of a window to the next.
    seen : int64 [frames]
        Positions in a window of the frames that are looked at.
    resize : callable
        From the first frame to the way in which all frames are resized.
    batch : int
        Frames to give at a time. The last time may have none.
    """
    assert video.path is not None
    how: Resize | None = None
    slots: list[int] = []
    pictures: list[np.ndarray] = []
    read = 0
    for slot, frame in enumerate(shown_frames(video.path, fps=fps, n_frames=video.n_frames)):
        read, start = slot + 1, slot - seen  # where a window would start that looks at this frame
        if ((start >= 0) & (start % stride == 0)).any():
            how = how or resize(frame)
            slots.append(slot)
            pictures.append(how(frame))
        if len(pictures) == batch:
            yield Seen(np.array(slots), pictures, read)
            slots, pictures = [], []
    yield Seen(np.array(slots, np.int64), pictures, read)


def window_rows(slots: np.ndarray, n: int, window: int, stride: int, seen: np.ndarray) -> np.ndarray:
    """Which of the frames that were looked at belong to each window, int64 [T, frames].

    Parameters
    ----------
    slots : int64 [B]
        Their numbers in the video, ascending.
    n : int
        Frames of the video.
    window, stride : int
        Frames of a window, and from the start of one to the next.
    seen : int64 [frames]
        Positions in a window of the frames that are looked at.
    """
    T = max(0, (n - window) // stride + 1)
    return np.searchsorted(slots, np.arange(T)[:, None] * stride + seen)


def look_at(
    video: Video,
    look: Callable[[list[np.ndarray]], Result],
    advance: Callable[[int], None],
    *,
    fps: float,
    window: int,
    stride: int,
    seen: np.ndarray,
    resize: Callable[[av.VideoFrame], Resize],
    batch: int,
) -> tuple[list[Result], np.ndarray]:
    """Show a network each frame that some window is described by, once, while the next frames are decoded.

    Parameters
    ----------
    video, fps, stride, seen, resize, batch
        See :func:`seen_pictures`.
    look : callable
        Gets up to ``batch`` pictures, never none.
    advance : callable
        Told the number of frames that have been read.
    window : int
        Frames of a window.

    Returns
    -------
    results : list
        What ``look`` gives for each batch, in the order of the frames.
    rows : int64 [T, frames]
        See :func:`window_rows`.
    """
    results: list[Result] = []
    slots = [np.zeros(0, np.int64)]
    n = 0
    for some in ahead(seen_pictures(video, fps, stride, seen, resize, batch)):
        advance(some.read - n)
        n = some.read
        slots.append(some.slots)
        results += [look(some.pictures)] if some.pictures else []
    return results, window_rows(np.concatenate(slots), n, window, stride, seen)
