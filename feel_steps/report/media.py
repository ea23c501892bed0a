"""Pictures of single moments from the user's video files."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from urllib.parse import quote

import av
import cv2
import numpy as np

from feel_steps.dataset.video_file import VideoError, frame_at

WIDTH, QUALITY = 208, 72


def thumbnail(path: str, seconds: float, duration: float) -> str | None:
    """Picture of a video at a given time, as a JPEG data URI; None if the file cannot be decoded there.

    Parameters are those of :func:`feel_steps.dataset.video_file.frame_at`.
    """
    try:
        frame = frame_at(path, seconds, duration)
    except (VideoError, av.FFmpegError):
        return None  # moved or unreadable: the page says so instead of showing a player
    height = max(1, round(WIDTH * frame.height / frame.width))
    image = frame.reformat(WIDTH, height, format="bgr24").to_ndarray()
    image = np.rot90(image, round(frame.rotation / 90) % 4)
    _, jpeg = cv2.imencode(".jpg", np.ascontiguousarray(image), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()


def relative_url(path: str, page: Path) -> str:
    """URL of a file relative to the page, percent-encoded."""
    relative = os.path.relpath(os.path.abspath(path), os.path.abspath(page.parent))
    return quote(Path(relative).as_posix())
