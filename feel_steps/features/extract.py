"""Snippet features of the videos of one part, by an extractor that the config names, streamed into one file."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from functools import partial
from inspect import getsourcefile, signature
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Protocol

import numpy as np

from feel_steps.dataset.arrays import common_length
from feel_steps.dataset.cola import STREAMS, cola_path, open_npy
from feel_steps.dataset.video_file import VideoError
from feel_steps.dataset.videos import Video, expected_snippets, fits, videos_of
from feel_steps.errors import InputError, hint
from feel_steps.features.cache import FeatureCache, program
from feel_steps.features.contract import EXISTING
from feel_steps.runtime.progress import Progress
from feel_steps.tables import tables
from feel_steps.tables.kinds import Columns

# where each extractor's class is; it is imported when it is needed
EXTRACTORS = {
    "descriptors": "feel_steps.features.descriptors:Descriptors",
    "frames": "feel_steps.features.frames:Frames",
    "i3d": "feel_steps.features.i3d:I3D",
    "pose": "feel_steps.features.pose:Pose",
    "streams": "feel_steps.features.streams:Streams",
    "transformers": "feel_steps.features.transformers:Transformers",
    "cola": "feel_steps.features.extract:Cola",
    "arrays": "feel_steps.features.arrays:Arrays",
}


class Extractor(Protocol):
    """What turns a video into features; docs/howto/add-an-extractor.md shows a class of one's own.

    It is constructed with fps, window, stride and its own settings as keywords. Where its constructor has them, it is
    also given ``root`` (the folder of features that exist already), ``device`` and ``threads``.

    Attributes
    ----------
    settings : mapping of str to number, text or bool
        All that decides on the features beside fps, window and stride; recorded with them.
    view_family : {"network", "motion", ""}
        Which view of a video suits the features: "network" for what a network sees in pictures, "motion" for histograms
        of motion and for skeletons.
    streams : mapping of str to (int, float), optional
        Of an extractor that gives several streams side by side: how many numbers each has, and its weight.
    """

    settings: Mapping[str, Any]
    view_family: str

    def extract(self, video: Video, advance: Callable[[int], None]) -> np.ndarray:
        """Features of a video, float32 [T, D].

        Calls ``advance`` with the number of frames it has read, and raises VideoError if the video does not decode.
        """
        ...


class Cola:
    """Features that exist already, in CoLA's folders (see :func:`feel_steps.dataset.cola.import_cola`)."""

    view_family = ""  # the folders do not say

    def __init__(self, *, root: str | Path | None, fps: float, window: int, stride: int) -> None:
        if root is None:
            raise InputError("extractor cola needs --root, the folder that holds features/")
        self.root, self.stride = root, stride
        self.settings: dict[str, Any] = {}

    def extract(self, video: Video, advance: Callable[[int], None]) -> np.ndarray:
        """Read both streams side by side, [T, D_rgb + D_flow], cut to the shorter one."""
        rgb, flow = (open_npy(cola_path(self.root, video.split, stream, video.video_id)) for stream in STREAMS)
        T = common_length([len(rgb), len(flow)], f"video '{video.video_id}' in {self.root}")
        if len(rgb) != len(flow):
            print(f"video '{video.video_id}': {len(rgb)} rgb, {len(flow)} flow snippets, cut to {T}", file=sys.stderr)
        advance(T * self.stride)
        return np.concatenate([rgb[:T], flow[:T]], axis=1, dtype=np.float32, casting="same_kind")


def _load(extractor: str) -> Callable[..., Extractor]:
    """The class of a name in :data:`EXTRACTORS`, or of ``package.module:Class``."""
    if extractor in EXTRACTORS:
        return resolve_name(EXTRACTORS[extractor])
    if ":" not in extractor:
        raise InputError(
            f"extractor '{extractor}': no such extractor; {hint(extractor, EXTRACTORS)}, or name a class of your own, "
            "package.module:Class"
        )
    try:
        engine = resolve_name(extractor)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"extractor '{extractor}': there is no such class ({error}); its module must be installed, or lie in the "
            "folder in which the run starts"
        ) from None
    # before it is called: a config from a stranger must not construct just any class, such as subprocess:Popen
    if missing := [name for name in ("view_family", "extract") if not hasattr(engine, name)]:
        raise InputError(f"extractor '{extractor}': it has no '{missing[0]}'; docs/howto/add-an-extractor.md shows one")
    return engine


def takes(extractor: str, name: str) -> bool:
    """Whether an extractor's constructor has a parameter; one with ``device`` computes on the device it is given."""
    return name in signature(_load(extractor)).parameters


def build(extractor: str, given: Mapping[str, Any], settings: Mapping[str, Any]) -> Extractor:
    """Make an extractor.

    Parameters
    ----------
    extractor : str
        A key of :data:`EXTRACTORS`, or a class, ``package.module:Class``.
    given : mapping
        fps, window and stride, and what else it gets if its constructor takes it.
    settings : mapping
        Its own.

    Raises
    ------
    InputError
        There is no such extractor, it has no such setting, or a setting is of no use.
    """
    engine = _load(extractor)
    known = signature(engine).parameters
    own = [name for name in known if name not in given]
    for setting in settings:
        if setting not in own:
            raise InputError(f"extractor '{extractor}': it has no setting '{setting}'; {hint(setting, own)}")
    try:
        made = engine(**{key: value for key, value in given.items() if key in known}, **settings)
    except TypeError as error:
        raise InputError(
            f"extractor '{extractor}': a setting of {dict(settings)} is of the wrong type ({error})"
        ) from None
    if not hasattr(made, "settings"):
        raise InputError(f"extractor '{extractor}': it has no 'settings'; docs/howto/add-an-extractor.md shows a class")
    return made


def digest_source(extractor: str) -> str:
    """SHA-256 of the module of a user's class: when its text changes, its features may. Empty for this package's."""
    file = None if extractor in EXTRACTORS else getsourcefile(_load(extractor))  # type: ignore[arg-type]
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""


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
    cache: str | Path | None = None,
    device: str = "auto",
    threads: int = 1,
    **settings: Any,
) -> None:
    """Write the features of one part of the manifest.

    The file's metadata are its contract, see :class:`feel_steps.features.contract.Contract`: how the features were made
    (extractor, fps, window, stride, dimension, the extractor's settings), of how much (``snippets``, and ``seconds`` of
    video), and, under ``skipped``, which videos were left out and why, as JSON.

    Parameters
    ----------
    manifest : columns of a manifest
    part : int
        Which part.
    out : path
        The features table.
    extractor : str
        A key of :data:`EXTRACTORS`, or a class, ``package.module:Class``.
    root : path, optional
        The folder of features that exist already, for the extractors cola and arrays.
    fps : float
        Frames per second at which videos are read, or at which features that exist were made.
    window, stride : int
        Frames of a snippet, and from the start of one snippet to the next.
    on_bad_video : {"fail", "skip"}
        Stop at a video that does not decode, is shorter than one window, or does not give as many snippets as its
        duration promises, or leave it out.
    cache : path, optional
        Folder that keeps features of video files, see :class:`feel_steps.features.cache.FeatureCache`.
    device : str
        Where networks run: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    threads : int
        CPU threads of an extractor that uses several.
    **settings
        The extractor's own.

    Raises
    ------
    InputError
        Names the first bad video (unless skipped), or the first snippet whose features are not finite.
    """
    given = {"fps": fps, "window": window, "stride": stride, "root": root, "device": device, "threads": threads}
    engine = build(extractor, given, settings)
    metadata = {"extractor": extractor, "fps": repr(float(fps)), "window": str(window), "stride": str(stride)}
    metadata |= {"view_family": engine.view_family}
    if source := digest_source(extractor):
        metadata["source"] = source
    if streams := getattr(engine, "streams", None):
        metadata["streams"] = json.dumps(streams)
    metadata |= {key: str(value) for key, value in engine.settings.items()}
    exists = extractor in EXISTING  # then they need no cache
    kept = None
    if cache and not exists:
        decisive = metadata | ({"device": device.partition(":")[0]} if takes(extractor, "device") else {})
        file = getsourcefile(type(engine))
        kept = FeatureCache(cache, decisive | {"program": program(Path(file))})  # type: ignore[arg-type]
    skipped: dict[str, str] = {}
    videos = videos_of(manifest, part)
    frames = round(sum(video.duration for video in videos) * fps)
    snippets, seconds, expected = 0, 0.0, (fps, window, stride, exists)
    with (
        tables.write_features(out, metadata=metadata) as writer,
        Progress(f"extracting part {part}", frames, "frame") as progress,
    ):
        for video in videos:
            try:
                features = _extract(engine, video, kept, partial(progress.advance, note=video.video_id), *expected)
            except VideoError as error:
                where = f"{video.video_id if exists or not video.path else video.path}: {error}"
                if on_bad_video == "fail":
                    raise InputError(f"{where}; mend or remove it, or set dataset.on_bad_video: skip") from None
                skipped[video.video_id] = str(error)
                print(f"skipped {where}", file=sys.stderr)
                continue
            metadata["dimension"] = str(features.shape[1])
            writer.add(video.video_id, features)
            snippets, seconds = snippets + len(features), seconds + video.duration
        metadata["snippets"], metadata["seconds"] = str(snippets), f"{seconds:.3f}"
        metadata["skipped"] = json.dumps(skipped, sort_keys=True)


def _extract(
    engine: Extractor,
    video: Video,
    kept: FeatureCache | None,
    advance: Callable[[int], None],
    fps: float,
    window: int,
    stride: int,
    padded: bool,
) -> np.ndarray:
    """Features of a video, from the cache if they are there. Only checked ones are cached: a read error may pass."""
    try:
        place = kept.place(video.path) if kept and video.path else None
    except OSError as error:
        raise VideoError(f"cannot be read ({error.strerror})") from None
    known = kept.get(place) if kept and place else None
    if known is None:
        features = engine.extract(video, advance)
    else:
        features = known
        advance(round(video.duration * fps))
    _check(features, video, fps, window, stride, padded)
    if known is None and kept and place:
        kept.put(place, features)
    return features


def _check(features: np.ndarray, video: Video, fps: float, window: int, stride: int, padded: bool) -> None:
    """Check that features [T, D] are finite, and as many as fit in the video."""
    if features.ndim != 2:
        raise InputError(f"video '{video.video_id}': features {list(features.shape)}; an extractor gives [T, D]")
    expected = expected_snippets(video.duration, fps, window, stride)
    if expected < 1 and not len(features):
        raise VideoError(
            f"{video.duration:.2f} s long, shorter than one window of {window} frames ({window / fps:.2f} s)"
        )
    if not len(features) or not fits(len(features), video.duration, fps, window, stride, padded=padded):
        raise VideoError(f"damaged: {len(features)} of the {expected} snippets that fit in {video.duration:.2f} s")
    finite = np.isfinite(features).all(1)
    if not finite.all():
        raise InputError(
            f"video '{video.video_id}', snippet {int(finite.argmin())}: features that are NaN or infinite; extract it "
            "again, or take it out of the data set"
        )
