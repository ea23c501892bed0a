"""Renders the demo: seeded videos of figures that perform actions, stand and walk, with exact annotations.

The files are decoded like any other video. The content of a clip (:func:`plan_clips`) is drawn separately from its
looks (:func:`render_clip`), so the annotations are known before the clip is rendered.
"""

from __future__ import annotations

import csv
import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from scipy.ndimage import uniform_filter1d

from feel_steps.demo.figure import (
    ACTIONS,
    FRACTION_BITS,
    STRIDE,
    Clothes,
    Colour,
    Figure,
    build_figure,
    idle,
    mirror,
    walk,
)
from feel_steps.errors import InputError
from feel_steps.runtime.progress import Progress
from feel_steps.tables.tables import atomic

FPS = 15
WIDTH, HEIGHT = 160, 120
SECONDS = (20.0, 60.0)  # length of a clip
OCCUPANCY = (0.35, 0.45)  # share of a clip with action, within half an instance
INSTANCE = (1.5, 5.0)  # seconds, one instance of an action
TWO_ACTIONS = 0.15  # share of the clips with a second action
CONTRAST = 0.25  # of the background, 0..1
SCROLL = 2.0  # its drift, painted pixels a second
BYSTANDER = 0.1  # share of the clips in which somebody else walks about

SCALE = 2  # scenes are painted larger and then shrunk, which gives smooth edges and camera movements below one pixel
MARGIN = 16  # margin around the view of the camera at rest
SCENE_WIDTH, SCENE_HEIGHT = SCALE * WIDTH + 2 * MARGIN, SCALE * HEIGHT + 2 * MARGIN
BLEND = 5  # frames of the transition between two movements


@dataclass(frozen=True)
class Span:
    """One instance of an action: the frames ``start`` to ``stop`` (excluded), in which it is done ``repeats`` times."""

    action: str
    start: int
    stop: int
    repeats: int


@dataclass(frozen=True)
class Clip:
    """Content of a video, before it is rendered."""

    index: int
    split: str
    n_frames: int
    spans: tuple[Span, ...]

    @property
    def video_id(self) -> str:
        """Path under ``videos``, without suffix."""
        return f"{self.split}/clip-{self.index:03d}"


def _draw_spans(rng: np.random.Generator, actions: list[str]) -> tuple[int, tuple[Span, ...]]:
    """Frames of a clip, and instances of its actions with pauses before, between and after them."""
    low, high = SECONDS
    seconds = low + (high - low) * rng.beta(1.3, 2.6)
    if len(actions) > 1:
        seconds = max(seconds, low + (high - low) / 4)  # so that several instances of both fit
    longest = min(INSTANCE[1], seconds / (4 + 2 * len(actions)))  # so that several fit into a short clip
    target, tempo = rng.uniform(*OCCUPANCY) * seconds - longest / 2, rng.uniform(0.8, 1.25)
    instances: list[tuple[str, int, int]] = []  # action, repeats, frames
    while sum(frames for *_, frames in instances) < target * FPS or len(instances) < 2 + len(actions):
        action = actions[len(instances) % len(actions)]
        period = ACTIONS[action].period * tempo * rng.uniform(0.9, 1.1)
        repeats = rng.integers(np.ceil(INSTANCE[0] / period), np.floor(longest / period) + 1)
        instances.append((action, int(repeats), round(repeats * period * FPS)))
    n_frames, busy = round(seconds * FPS), sum(frames for *_, frames in instances)
    shares = rng.dirichlet(np.full(len(instances) + 1, 2.5))
    shortest = FPS  # minimum length of a pause: one second
    slack = max(0, n_frames - busy - shortest * len(shares))
    spans, now = [], 0
    for (action, repeats, frames), share in zip(instances, shares, strict=False):
        start = now + shortest + int(share * slack)
        now = start + frames
        spans.append(Span(action, start, now, repeats))
    return max(n_frames, now + shortest), tuple(spans)


def plan_clips(train: int, test: int, seed: int) -> list[Clip]:
    """Draw the content of every clip: actions are balanced within each split, and some clips have a second action."""
    rng = np.random.default_rng(seed)
    names = list(ACTIONS)
    clips: list[Clip] = []
    for split, count in (("train", train), ("test", test)):
        main = rng.permutation((np.arange(count) + rng.integers(len(names))) % len(names))
        second = set(rng.permutation(count)[: round(TWO_ACTIONS * count)].tolist())
        for number, action in enumerate(main):
            index = len(clips)
            actions = [names[action]]
            if number in second:
                actions.append(names[(action + rng.integers(1, len(names))) % len(names)])
            clips.append(Clip(index, split, *_draw_spans(np.random.default_rng([seed, index, 0]), actions)))
    return clips


def _noise(rng: np.random.Generator, height: int, width: int, roughness: float, stretch: float) -> np.ndarray:
    """Noise [height, width] of unit variance with a power spectrum f^-2a, a = 2 - roughness; it tiles."""
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    spectrum = (fy**2 * stretch + fx**2 / stretch + 1e-4) ** (-(2 - roughness) / 2)
    spectrum[0, 0] = 0
    noise = np.fft.irfft2(spectrum * np.fft.rfft2(rng.standard_normal((height, width), np.float32)), (height, width))
    return noise / noise.std()


def _draw_colour(rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> Colour:
    hsv = np.array([[[rng.uniform(0, 180), 255 * rng.uniform(*saturation), 255 * rng.uniform(*value)]]])
    return tuple(cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2BGR)[0, 0].astype(float).tolist())


def _draw_texture(rng: np.random.Generator, height: int, width: int, value: tuple[float, float]) -> np.ndarray:
    """Two colours mixed by noise, [height, width, 3] uint8; soft clouds or hard patches."""
    noise = _noise(rng, height, width, rng.uniform(0.0, 0.6), np.exp(rng.uniform(-1.5, 1.5)))
    mix = 0.5 + 0.5 * CONTRAST * np.tanh(rng.uniform(0.4, 1.5) * noise)[..., None]
    dark, light = (np.array(_draw_colour(rng, (0.05, 0.4), value)) for _ in range(2))
    return (dark + mix * (light - dark)).clip(0, 255).astype(np.uint8)


def _draw_clothes(rng: np.random.Generator) -> Clothes:
    tones = ((150, 185, 235), (120, 160, 215), (90, 125, 185), (60, 85, 130))
    skin: Colour = tones[rng.integers(len(tones))]
    hair: Colour = ((25, 30, 40), (35, 60, 95), (80, 140, 190), (110, 115, 120))[rng.integers(4)]
    shirt, trousers = _draw_colour(rng, (0.3, 0.95), (0.45, 0.95)), _draw_colour(rng, (0.1, 0.8), (0.2, 0.75))
    sleeves, stockings = (skin if rng.random() < 0.5 else shirt), (skin if rng.random() < 0.25 else trousers)
    return Clothes(skin, hair, shirt, sleeves, trousers, stockings, _draw_colour(rng, (0, 0.6), (0.1, 0.9)))


def _wander(rng: np.random.Generator, n_frames: int, seconds: float, columns: int) -> np.ndarray:
    """Smooth random movement [n_frames, columns] of unit variance with a period of ``seconds``."""
    window = max(2, round(seconds * FPS))
    steps = rng.standard_normal((n_frames + 4 * window, columns))
    return (uniform_filter1d(uniform_filter1d(steps, window, axis=0), window, axis=0) * window**0.5 * 1.2)[
        2 * window :
    ][:n_frames]


def _draw_walks(rng: np.random.Generator, n_frames: int, spans: tuple[Span, ...]) -> list[tuple[int, int]]:
    """Stretches of the pauses, as frames (start, stop), in which the figure walks."""
    edges = [0, *(edge for span in spans for edge in (span.start, span.stop)), n_frames]
    walks = []
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        length = int((stop - start) * rng.uniform(0.5, 0.85))
        if length >= FPS and rng.random() < 0.35:
            begin = start + int(rng.integers(2, max(3, stop - start - length - 2)))
            walks.append((begin, begin + length))
    return walks


def _walk_across(rng: np.random.Generator, n_frames: int, walks: list[tuple[int, int]], speed: float) -> np.ndarray:
    """Column of the scene [n_frames] where the figure stands; walks turn round before the edges."""
    left, right = 0.42 * SCENE_WIDTH, 0.58 * SCENE_WIDTH
    x = np.full(n_frames, rng.uniform(0.46, 0.54) * SCENE_WIDTH)
    for start, stop in walks:
        path = x[start - 1] + rng.choice([-1, 1]) * speed * np.arange(1, stop - start + 1)
        x[start:stop] = right - np.abs(np.mod(path - left, 2 * (right - left)) - (right - left))  # reflected
        x[stop:] = x[stop - 1]
    return x


@dataclass(frozen=True)
class Person:
    """A figure and the shadow at its feet: uint8 [H, W, 3], 255ths of light; (column, row) of its corner by frame."""

    figure: Figure
    shadow: np.ndarray
    corner: list[list[int]]

    def paint(self, scene: np.ndarray, frame: int) -> None:
        """Draw figure and shadow over the scene."""
        column, row = self.corner[frame]
        ground = scene[row : row + self.shadow.shape[0], column : column + self.shadow.shape[1]]
        cv2.multiply(ground, self.shadow, ground, 1 / 255)
        self.figure.paint(scene, frame)


def _shadow(height: float) -> np.ndarray:
    y, x = np.mgrid[-1 : 1 : complex(0, round(0.14 * height)), -1 : 1 : complex(0, round(0.6 * height))]
    factor = 1 - 0.5 * np.clip(1.6 * (1 - x**2 - y**2), 0, 1)
    return np.repeat((255 * factor)[..., None], 3, 2).astype(np.uint8)


def _within(frames: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Weight of a movement: 0 outside of its frames, rising to 1 within BLEND frames of either end."""
    ramp = np.clip((np.minimum(frames - start, stop - frames)) / BLEND, 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def _act(rng: np.random.Generator, n_frames: int, spans: tuple[Span, ...], height: float, base: float) -> Person:
    """One person of that height, feet at row ``base``: actions in their spans, walks in the pauses, else idling."""
    frames = np.arange(n_frames)
    walks = _draw_walks(rng, n_frames, spans)
    pace = rng.uniform(0.45, 0.8)  # body heights per second
    x = _walk_across(rng, n_frames, walks, pace * height / FPS)
    seen_from = rng.uniform(*ACTIONS[spans[0].action].yaw) if spans else rng.uniform(0, 1)
    left_handed, vigour = rng.random() < 0.07, rng.uniform(0.85, 1.0)

    pose = idle(frames / FPS * rng.uniform(0.2, 0.35) + rng.uniform(0, 10))
    yaw = np.full(n_frames, -seen_from if left_handed else seen_from)
    strides = walk(frames / FPS * pace / STRIDE)
    for start, stop in walks:
        pose += _within(frames, start, stop)[:, None, None] * (strides - pose)
        yaw[start:stop] = (np.pi / 2 - 0.1) * np.where(np.diff(x[start - 1 : stop]) >= 0, 1, -1)
    for span in spans:
        doing = ACTIONS[span.action].motion((frames - span.start) / (span.stop - span.start) * span.repeats)
        doing = mirror(doing) if left_handed else doing
        pose += vigour * _within(frames, span.start, span.stop)[:, None, None] * (doing - pose)
    feet = np.stack([x, np.full(n_frames, base)], 1)
    yaw = uniform_filter1d(uniform_filter1d(yaw, BLEND), BLEND)
    shadow = _shadow(height)
    corner = np.round(feet - [shadow.shape[1] / 2, shadow.shape[0] / 2]).astype(int)
    return Person(build_figure(pose, yaw, feet, height, _draw_clothes(rng)), shadow, corner.tolist())


@dataclass(frozen=True)
class Blob:
    """A disc that drifts through the background: its centre [F, 2] in 1/16 pixels, its radius alike, its colour."""

    centre: list[list[int]]
    radius: int
    colour: Colour


def _draw_blob(rng: np.random.Generator, frames: np.ndarray) -> Blob:
    radius = rng.uniform(8, 22)
    size = np.array([SCENE_WIDTH, 0.75 * SCENE_HEIGHT]) + 2 * radius  # it comes back where it went out
    path = (
        rng.uniform(0, 1, 2) * size + frames[:, None] / FPS * rng.normal(0, 12, 2) + 8 * _wander(rng, len(frames), 2, 2)
    )
    centre = np.mod(path, size) - radius
    return Blob(
        np.round(centre * 2**FRACTION_BITS).astype(int).tolist(),
        round(radius * 2**FRACTION_BITS),
        _draw_colour(rng, (0.1, 0.6), (0.3, 0.9)),
    )


def _camera(rng: np.random.Generator, n_frames: int) -> np.ndarray:
    """Affine maps [F, 2, 3] from image to scene: shrinking by SCALE, and an unsteady hand."""
    shake, sway = _wander(rng, n_frames, 0.35, 4), _wander(rng, n_frames, 3.0, 4)
    amount = rng.uniform(0.3, 1.0) * (0.35 * shake + sway) * [2.0, 1.5, 0.005, 0.006]  # x, y (px), angle, zoom
    scale, angle = SCALE * (1 + amount[:, 3]), amount[:, 2]
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], 1).reshape(-1, 2, 2)
    turn *= scale[:, None, None]
    middle = np.array([SCENE_WIDTH - 1, SCENE_HEIGHT - 1]) / 2 + amount[:, :2]
    shift = middle[:, :, None] - turn @ np.array([[(WIDTH - 1) / 2], [(HEIGHT - 1) / 2]])
    return np.concatenate([turn, shift], 2)


def _paint(clip: Clip, seed: int) -> Iterator[np.ndarray]:
    """The frames of a clip, uint8 BGR [HEIGHT, WIDTH, 3]; the array is reused."""
    rng = np.random.default_rng([seed, clip.index, 1])
    frames = np.arange(clip.n_frames)
    horizon = round(SCENE_HEIGHT * rng.uniform(0.5, 0.72))
    tile = 512
    world = np.concatenate(
        [_draw_texture(rng, horizon, tile, (0.4, 0.75)), _draw_texture(rng, SCENE_HEIGHT - horizon, tile, (0.35, 0.65))]
    )
    world = np.concatenate([world, world[:, :SCENE_WIDTH]], 1)
    drift = rng.normal(0, SCROLL) / FPS * frames + SCROLL * _wander(rng, clip.n_frames, 4.0, 1)[:, 0]
    offsets = np.mod(np.round(drift), tile).astype(int)
    blobs = [_draw_blob(rng, frames) for _ in range(rng.integers(0, 4))]

    height, base = SCALE * rng.uniform(66, 82), MARGIN + SCALE * rng.uniform(105, 113)
    people = [_act(rng, clip.n_frames, clip.spans, height, base)]
    if rng.random() < BYSTANDER:
        people.insert(0, _act(rng, clip.n_frames, (), 0.7 * height, base - 0.15 * height))
    camera = _camera(rng, clip.n_frames)

    scene = np.empty((SCENE_HEIGHT, SCENE_WIDTH, 3), np.uint8)
    image = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for frame, at in enumerate(offsets.tolist()):
        np.copyto(scene, world[:, at : at + SCENE_WIDTH])
        for blob in blobs:
            cv2.circle(scene, blob.centre[frame], blob.radius, blob.colour, cv2.FILLED, cv2.LINE_8, FRACTION_BITS)
        for person in people:
            person.paint(scene, frame)
        cv2.warpAffine(scene, camera[frame], (WIDTH, HEIGHT), image, flags, cv2.BORDER_REPLICATE)
        yield image


def render_clip(clip: Clip, out: Path, seed: int) -> None:
    """Render one clip to its MP4 file (H.264); the same clip and seed give the same bytes."""
    with atomic(out / "videos" / f"{clip.video_id}.mp4") as path, av.open(path, "w", format="mp4") as container:
        options = {"preset": "superfast", "crf": "23", "threads": "1", "g": str(4 * FPS)}
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for image in _paint(clip, seed):
            planes = cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420).astype(np.uint8, copy=False)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        container.mux(stream.encode())


def annotate(clips: list[Clip]) -> dict[str, dict]:
    """Ground truth in ActivityNet's form, times in seconds."""
    return {
        "database": {
            clip.video_id: {
                "subset": clip.split,
                "duration": clip.n_frames / FPS,
                "annotations": [
                    {"label": span.action, "segment": [span.start / FPS, span.stop / FPS]} for span in clip.spans
                ],
            }
            for clip in clips
        }
    }


def render(out: Path, *, train: int = 40, test: int = 20, seed: int = 0, workers: int = 1) -> None:
    """Render the demo's videos, their annotations and their split.

    Parameters
    ----------
    out : path
        Folder for ``videos/{train,test}/clip-NNN.mp4``, ``annotations.json`` (ActivityNet's form) and ``split.csv``
        (video_id, split). Clips of an earlier demo there are replaced or removed.
    train, test : int
        Number of videos in each split.
    seed : int
        The same seed and numbers give the same bytes, whatever the workers.
    workers : int
        Processes to render in.

    Raises
    ------
    InputError
        A number is out of range.
    """
    for name, value, least in (("train", train, 1), ("test", test, 0), ("seed", seed, 0), ("workers", workers, 1)):
        if value < least:
            raise InputError(f"demo: {name} is {value}; expected at least {least}")
    out = Path(out)
    clips = plan_clips(train, test, seed)
    planned = {clip.video_id for clip in clips}
    for split in ("train", "test"):
        (out / "videos" / split).mkdir(parents=True, exist_ok=True)
        for path in (out / "videos" / split).glob("clip-[0-9]*.mp4"):
            if f"{split}/{path.stem}" not in planned:
                path.unlink()
    spawn = multiprocessing.get_context("spawn")  # forked copies of OpenCV's thread pool may hang
    with (
        Progress("rendering", len(clips), "video") as progress,
        ProcessPoolExecutor(min(workers, len(clips)), spawn, cv2.setNumThreads, (1,)) as pool,
    ):
        for done in as_completed([pool.submit(render_clip, clip, out, seed) for clip in clips]):
            done.result()
            progress.advance()
    with atomic(out / "annotations.json") as path:
        path.write_text(json.dumps(annotate(clips), indent=1) + "\n")
    with atomic(out / "split.csv") as path, open(path, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(
            [("video_id", "split"), *((clip.video_id, clip.split) for clip in clips)]
        )
