"""Pictures of single moments from the user's video files."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import av
import cv2
import numpy as np

from feel_steps.dataset.video_file import VideoError, frame_at
from feel_steps.tables import tables

WIDTH, QUALITY = 208, 72
HEAD, GAP = 28, 6  # pixels of a contact sheet: above a row, and between its pictures


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


def contact_sheet(clusters: Sequence[Mapping[str, Any]], out: Path) -> Path | None:
    """Write the pictures of each cluster's typical moments as one PNG, a row per cluster; None if there are none.

    ``clusters`` are those of :func:`feel_steps.report.clusters.cards`.
    """
    rows = []
    for cluster in clusters:
        found = [moment["picture"].partition(",")[2] for moment in cluster["moments"] if moment["picture"]]
        coded = (np.frombuffer(base64.b64decode(text), np.uint8) for text in found)
        images = [image for data in coded if (image := cv2.imdecode(data, cv2.IMREAD_COLOR)) is not None]
        rows.append((f"cluster {cluster['id']}: {cluster['size']} videos", images))
    most = max((len(images) for _, images in rows), default=0)
    if not most:
        return None
    cell = max(image.shape[0] for _, images in rows for image in images)
    sheet = np.full((len(rows) * (cell + HEAD), most * (WIDTH + GAP), 3), 255, np.uint8)
    for row, (text, images) in enumerate(rows):
        top = row * (cell + HEAD)
        cv2.putText(sheet, text, (0, top + HEAD - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        for column, image in enumerate(images):
            left = column * (WIDTH + GAP)
            sheet[top + HEAD : top + HEAD + len(image), left : left + image.shape[1]] = image[:, : WIDTH + GAP]
    with tables.atomic(out) as temporary:
        temporary.write_bytes(cv2.imencode(".png", sheet)[1].tobytes())
    return out


def relative_url(path: str, page: Path) -> str:
    """URL of a file relative to the page, percent-encoded."""
    relative = os.path.relpath(os.path.abspath(path), os.path.abspath(page.parent))
    return quote(Path(relative).as_posix())
