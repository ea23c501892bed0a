"""Snippet features of the videos of one part, by an extractor that the config names, streamed into one file."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from feel_steps import artifacts
from feel_steps.artifacts import Columns
from feel_steps.dataset.layouts import STREAMS, cola_path, common_length, open_npy
from feel_steps.dataset.videos import Video, videos_of
from feel_steps.errors import InputError
from feel_steps.features.video import VideoError
from feel_steps.progress import Progress

# where each extractor's class is; it is imported when it is needed
EXTRACTORS = {
    "descriptors": "feel_steps.features.descriptors:Descriptors",
    "cola": "feel_steps.features.extract:Cola",
}


class Extractor(Protocol):
    """What turns a video into features; constructed with fps, window, stride and its own settings as keywords.

    ``settings`` holds what decides on the features beside those three. ``extract`` returns float32 [T, D], calls
    ``advance`` with the number of frames it has read, and raises VideoError if the video does not decode.
    """

    settings: Mapping[str, Any]

    def extract(self, video: Video, advance: Callable[[int], None]) -> np.ndarray: ...


class Cola:
    """Features that exist already, in CoLA's folders (see :func:`feel_steps.dataset.layouts.import_cola`)."""

    def __init__(self, *, root: str | Path | None, fps: float, window: int, stride: int) -> None:
        if root is None:
            raise InputError("extractor cola needs --root, the folder that holds features/")
        self.root, self.stride = root, stride
        self.settings: dict[str, Any] = {}

    def extract(self, video: Video, advance: Callable[[int], None]) -> np.ndarray:
        """Read both streams side by side, [T, D_rgb + D_flow], cut to the shorter one."""
        rgb, flow = (open_npy(cola_path(self.root, video.split, stream, video.video_id)) for stream in STREAMS)
        T = common_length(len(rgb), len(flow), f"video '{video.video_id}' in {self.root}")
        if len(rgb) != len(flow):
            print(f"video '{video.video_id}': {len(rgb)} rgb, {len(flow)} flow snippets, cut to {T}", file=sys.stderr)
        advance(T * self.stride)
        return np.concatenate([rgb[:T], flow[:T]], axis=1, dtype=np.float32, casting="same_kind")


def extract_part(
    manifest: Columns,
    part: int,
    out: str | Path,
    *,
    extractor: str = "descriptors",
    root: str | Path | None = None,
    fps: float = 25.0,
    window: int = 16,
    stride: int = 16,
    on_bad_video: str = "fail",
    **settings: Any,
) -> None:
    """Write the features of one part of the manifest.

    The file's metadata say how they were made (extractor, fps, window, stride, dimension, the extractor's settings)
    and, under ``skipped``, which videos were left out and why, as JSON.

    Parameters
    ----------
    manifest : columns of a manifest
    part : int
        Which part.
    out : path
        The features table.
    extractor : str
        A key of :data:`EXTRACTORS`.
    root : path, optional
        CoLA's folders, for extractor cola.
    fps : float
        Frames per second at which videos are read, or at which CoLA's features were made.
    window, stride : int
        Frames of a snippet, and from the start of one snippet to the next.
    on_bad_video : {"fail", "skip"}
        Stop at a video that does not decode or is shorter than one window, or leave it out.
    **settings
        The extractor's own.

    Raises
    ------
    InputError
        Names the first bad video (unless skipped), or the first snippet whose features are not finite.
    """
    if extractor not in EXTRACTORS:
        raise InputError(f"extractor '{extractor}': expected one of {', '.join(EXTRACTORS)}")
    module, _, name = EXTRACTORS[extractor].partition(":")
    if extractor == "cola":
        settings["root"] = root
    engine: Extractor = getattr(import_module(module), name)(fps=fps, window=window, stride=stride, **settings)
    metadata = {"extractor": extractor, "fps": repr(float(fps)), "window": str(window), "stride": str(stride)}
    metadata |= {key: str(value) for key, value in engine.settings.items()}
    skipped: dict[str, str] = {}
    videos = videos_of(manifest, part)
    frames = round(sum(video.duration for video in videos) * fps)
    with (
        artifacts.write_features(out, metadata=metadata) as writer,
        Progress(f"extracting part {part}", frames, "frame") as progress,
    ):
        for video in videos:
            try:
                features = _checked(engine, video, window, fps, progress)
            except VideoError as error:
                where = f"{video.path or video.video_id}: {error}"
                if on_bad_video == "fail":
                    raise InputError(f"{where}; mend or remove it, or set dataset.on_bad_video: skip") from None
                skipped[video.video_id] = str(error)
                print(f"skipped {where}", file=sys.stderr)
                continue
            metadata["dimension"] = str(features.shape[1])
            writer.add(video.video_id, features)
        metadata["skipped"] = json.dumps(skipped, sort_keys=True)


def _checked(engine: Extractor, video: Video, window: int, fps: float, progress: Progress) -> np.ndarray:
    """Features of a video: at least one snippet, every number finite."""
    features = engine.extract(video, lambda frames: progress.advance(frames, video.video_id))
    if not len(features):
        raise VideoError(
            f"{video.duration:.2f} s long, shorter than one window of {window} frames ({window / fps:.2f} s)"
        )
    finite = np.isfinite(features).all(1)
    if not finite.all():
        raise InputError(
            f"video '{video.video_id}', snippet {int(finite.argmin())}: features that are NaN or infinite; extract it "
            "again, or take it out of the data set"
        )
    return features
