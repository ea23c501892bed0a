"""Small video files, encoded as the tests need them."""

from fractions import Fraction

import av
import numpy as np


def grey_frames(n, height=32, width=48):
    """Frames that tell their number: frame i is 10 i + 20 grey all over."""
    return [np.full((height, width, 3), 10 * i + 20, np.uint8) for i in range(n)]


def scene(n, height=64, width=96, seed=0):
    """A textured square that goes up and down on a textured ground."""
    rng = np.random.default_rng(seed)
    ground = rng.integers(60, 120, (height, width, 3)).astype(np.uint8)
    square = rng.integers(150, 255, (16, 16, 3)).astype(np.uint8)
    frames = []
    for i in range(n):
        frame = ground.copy()
        top = round(height / 2 - 8 + 10 * np.sin(i / 2))
        frame[top : top + 16, 40:56] = square
        frames.append(frame)
    return frames


def write_video(
    path,
    frames,
    *,
    fps=25,
    ticks=None,
    codec="mpeg4",
    rotation=0,
    options=None,
    pixels="yuv420p",
    gop=None,
    b_frames=None,
    first=None,
):
    """Encode RGB frames; ``ticks`` are their times in milliseconds, or they have a constant rate, from ``first`` on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        stream.codec_context.thread_count = 1  # an encoder keeps its threads until it is garbage collected
        if codec == "mpeg4":
            stream.codec_context.options = {"qscale": "2", "flags": "+qscale"}
        if gop is not None:
            stream.codec_context.gop_size = gop
        if b_frames is not None:
            stream.codec_context.max_b_frames = b_frames
        if ticks is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        for i, pixels_of in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels_of, format="rgb24")
            if ticks is not None:
                frame.pts, frame.time_base = ticks[i], Fraction(1, 1000)
            elif first is not None:
                frame.pts, frame.time_base = first + i, 1 / Fraction(fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_sound(path, seconds=0.5):
    """Encode silence: a file without a picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        for start in range(0, int(16000 * seconds), 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
