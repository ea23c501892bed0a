"""Small videos whose pictures tell their number, in any codec and container; made with PyAV alone."""

from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
from av.bitstream import BitStreamFilterContext

from feel_steps.dataset.video_file import read_frames

BLOCK, ROWS, COLUMNS = 16, 2, 4  # a bit is a black or white block: compression does not change it
SIZE = ROWS * BLOCK, COLUMNS * BLOCK


def paint(number):
    """Picture uint8 [32, 64, 3] whose eight blocks are the bits of a number below 256."""
    bits = [number >> bit & 1 for bit in range(ROWS * COLUMNS)]
    blocks = np.array(bits, np.uint8).reshape(ROWS, COLUMNS) * 215 + 20
    return np.repeat(np.kron(blocks, np.ones((BLOCK, BLOCK), np.uint8))[..., None], 3, axis=2)


def numbers_in(pictures):
    """Numbers painted into grey pictures [B, 32, 64]."""
    means = pictures.reshape(len(pictures), ROWS, BLOCK, COLUMNS, BLOCK).mean((2, 4)).reshape(len(pictures), -1)
    return ((means > 128) @ (1 << np.arange(ROWS * COLUMNS))).tolist()


def frames_read(path, fps, **options):
    """Which frame each picture is that the features would see."""
    chunks = list(read_frames(path, fps=fps, short_side=SIZE[0], pixels="gray", **options))
    return numbers_in(np.concatenate(chunks))


def frames_expected(n, rate, fps):
    """Which frame each picture has to be, by exact fractions: of those rounded to its slot or before, the last."""
    slots = [(i / Fraction(rate) * fps + Fraction(1, 2)).__floor__() for i in range(n + 1)]
    return [max(i for i in range(n) if slots[i] <= k) for k in range(max(1, slots[-1]))]


def encode(path, codec, *arguments, **how):
    """Write painted frames, as :func:`_encode`.

    AV1 is encoded by a process of its own. Where root runs it, SVT-AV1 gives its dozens of threads, and the one that
    calls it, real-time priority; a test process that kept it would starve all others, and the kernel.
    """
    if codec != "libsvtav1":
        return _encode(path, codec, *arguments, **how)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_encode, path, codec, *arguments, **how).result()


def _encode(path, codec, n=48, rate=30, b_frames=0, gop=20, times=None, options=None, muxer=None, container=None):
    """Write n painted frames; ``times`` are seconds, or they have a constant rate."""
    tick = Fraction(1, 90_000) if times is not None else 1 / Fraction(rate)
    with av.open(str(path), "w", format=muxer, options=container or {}) as target:
        stream = target.add_stream(codec, rate=Fraction(rate), options=options or {})
        stream.height, stream.width = SIZE
        stream.pix_fmt = {"mjpeg": "yuvj420p", "prores": "yuv422p10le", "gif": "rgb8"}.get(codec, "yuv420p")
        context = stream.codec_context
        context.time_base, context.gop_size = tick, gop
        context.thread_count = 1  # an encoder keeps its threads until it is garbage collected
        if codec != "libsvtav1":
            context.bit_rate = 2_000_000
        if codec in ("libx264", "libx265", "mpeg4", "mpeg2video"):
            context.max_b_frames = b_frames
        for i in range(n):
            frame = av.VideoFrame.from_ndarray(paint(i), format="rgb24")
            frame.time_base, frame.pts = tick, i if times is None else round(times[i] / tick)
            target.mux(stream.encode(frame))
        target.mux(stream.encode())
    return path


def remux(source, path, offset=0.0, muxer=None, container=None):
    """Copy a video stream into another container, as `ffmpeg -c copy` does; its clock begins at ``offset`` seconds."""
    with (
        av.open(str(source)) as read,
        av.open(str(path), "w", format=muxer, options=container or {}) as target,
    ):
        stream = target.add_stream_from_template(read.streams.video[0])
        annex_b = None
        if Path(path).suffix == ".avi" and Path(source).suffix == ".mp4":
            annex_b = BitStreamFilterContext("h264_mp4toannexb", read.streams.video[0], stream)
        for whole in read.demux(read.streams.video[0]):
            for packet in annex_b.filter(whole) if annex_b and whole.size else [whole] * bool(whole.size):
                shift = round(offset / packet.time_base)
                packet.pts += shift
                packet.dts = None if packet.dts is None else packet.dts + shift
                packet.stream = stream
                target.mux(packet)
    return path
