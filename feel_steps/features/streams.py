"""Several extractors side by side, each a stream of its own; the scale step brings them to one scale."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from feel_steps.dataset.videos import Video
from feel_steps.errors import InputError
from feel_steps.features.extract import build


class Streams:
    """Features of several extractors, joined snippet by snippet.

    Each reads the video by itself. Where they disagree by a snippet at the end of a video, the shortest decides.

    Parameters
    ----------
    fps : float
        Frames per second that videos are read at.
    window, stride : int
        Frames of a snippet, and from the start of one to the next.
    extractors : mapping of str to mapping
        Settings of each extractor, by its name.
    device, threads
        Given to those that take them.
    """

    def __init__(
        self,
        *,
        fps: float,
        window: int,
        stride: int,
        extractors: Mapping[str, Mapping[str, Any]],
        device: str = "auto",
        threads: int = 1,
    ) -> None:
        if not extractors or "streams" in extractors:
            raise InputError(
                "features.streams: no extractor in it, or streams itself; name extractors and their weights, such as "
                "{frames: 1, pose: 1}"
            )
        given = {"fps": fps, "window": window, "stride": stride, "device": device, "threads": threads, "root": None}
        self.engines = {name: build(name, given, settings) for name, settings in extractors.items()}
        # "network" as soon as one of them is a network
        families = {engine.view_family for engine in self.engines.values()}
        self.view_family = "network" if "network" in families else "motion"
        self.streams: dict[str, tuple[int, float]] = {}
        for name, engine in self.engines.items():
            own = getattr(engine, "streams", None) or {"": (engine.settings["dimension"], 1.0)}
            self.streams |= {f"{name}: {stream}" if stream else name: value for stream, value in own.items()}
        recorded = {name: dict(engine.settings) for name, engine in self.engines.items()}
        self.settings: dict[str, Any] = {"extractors": json.dumps(recorded)}

    def extract(self, video: Video, advance: Callable[[int], None]) -> np.ndarray:
        """Features of each window of a video by all extractors.

        Parameters
        ----------
        video : Video
        advance : callable
            Told the number of frames that have been read, by the first extractor.

        Returns
        -------
        float32 [T, D]

        Raises
        ------
        VideoError
            The video does not decode.
        """
        tell = [advance, *[_ignore] * (len(self.engines) - 1)]
        streams = [engine.extract(video, told) for engine, told in zip(self.engines.values(), tell, strict=True)]
        T = min(map(len, streams))
        return np.concatenate([stream[:T] for stream in streams], axis=1)


def _ignore(frames: int) -> None:
    """Progress of the extractors after the first."""
