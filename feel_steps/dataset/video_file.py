"""Reading video files with PyAV: what a file holds, and its frames at a fixed rate and size.

Time 0 is the first frame that decodes. A file is read two times from front to end: its packets, for the clock (see
:mod:`feel_steps.dataset.video_clock`), then its frames, in one thread (parts of a data set run beside each other). No
more of it is in memory than one chunk of small frames.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice, repeat
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from feel_steps.dataset.video_clock import REORDERED, UNKNOWN
from feel_steps.dataset.video_packets import (
    Scan,
    VideoError,
    decode,
    decode_from_front,
    open_video,
    read_packets,
    scan_packets,
)

__all__ = ["VideoError", "VideoInfo", "frame_at", "probe", "read_frames"]

MIN_DECODED = 0.5  # share of a video's frames; interlaced video may have two packets (fields) a frame
LONGEST_GAP = 86_400.0  # s without a frame; longer, and the time stamps are damaged
# formats whose header may say how many seconds there are
TIMED = {"matroska", "webm", "flv", "mxf", "rm"}
AFTER_SEEK = 1000  # packets in which a key frame must come
BEFORE = (0, 2, 10, 60)  # s; a seek that landed behind its frame is tried again this much earlier


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds, counted packet by packet: ``fps`` is the average rate, ``duration`` is in seconds."""

    n_frames: int
    duration: float
    fps: float


def probe(path: str | Path) -> VideoInfo:
    """Count a video's frames and seconds from its packets, and decode its first frame, which they count from.

    Parameters
    ----------
    path : path
        A video file.

    Returns
    -------
    VideoInfo

    Raises
    ------
    VideoError
        The file does not open, has no video stream, is cut short, is a raw stream that does not say its frame rate, or
        its first frame does not decode.
    """
    scan = scan_packets(path)
    clock, times = scan.clock, scan.times()
    with open_video(path) as (container, stream):
        _require_whole(path, container, stream, scan)
        first, _ = next(decode_from_front(container, stream, clock), (None, None))
    if first is None:
        raise VideoError("none of its frames decodes; it is damaged")
    # a stream that was cut out of another begins with frames that need earlier ones
    n = max(1, int((times >= first).sum()))
    duration = float(clock.end - first * clock.unit)
    gap = float(np.diff(times).max(initial=0) * clock.unit)
    if duration <= 0 or gap > LONGEST_GAP:
        raise VideoError(f"its time stamps are damaged: {n} frames in {duration:.0f} s, {gap:.0f} s without one")
    return VideoInfo(n, duration, n / duration)


def _require_whole(path: str | Path, container: av.container.InputContainer, stream: VideoStream, scan: Scan) -> None:
    """Compare the packets with what the header promises: the frames of an MP4 or AVI, the seconds of others."""
    names, stamps, clock = set(container.format.name.split(",")), scan.stamps, scan.clock
    length = clock.end - int(scan.times()[0]) * clock.unit
    if stream.frames > len(stamps.pts) and stream.duration:
        # AVI counts one tick a frame from zero, with repeated frames, which it does not store
        promised = (stream.frames if "avi" in names else stream.duration) * stamps.base
        reached = (int(np.maximum(stamps.pts, stamps.dts).max()) + int(stamps.duration[-1])) * stamps.base
        missing = min(promised - length, promised + (stream.start_time or 0) * stamps.base - reached)
        if missing > 1.5 * clock.step * clock.unit and not ("avi" in names and _ends_as_avi(path)):
            raise VideoError(
                f"cut short: {len(stamps.pts)} of the {stream.frames} frames that its header promises, "
                f"{float(length):.1f} of {float(promised):.1f} seconds"
            )
    if not stream.frames and TIMED & names and container.duration:
        seconds, start = container.duration / av.time_base, max(0, container.start_time or 0) / av.time_base
        seconds -= start if start < seconds else 0  # some count from time 0, not from where they begin
        least = seconds - max(1.0, 0.02 * seconds)
        if length < least and _last_packet(path) < least:
            raise VideoError(f"cut short: {float(length):.1f} of the {seconds:.1f} seconds that its header promises")
        if length > 2 * seconds + 10 and len(stamps.pts) < 0.1 * length:
            raise VideoError(
                f"its time stamps are damaged: {len(stamps.pts)} frames in {float(length):.1f} seconds, of which its "
                f"header promises {seconds:.1f}"
            )


def _ends_as_avi(path: str | Path) -> bool:
    """Whether the RIFF chunks of an AVI are all there; repeated frames, which it does not store, may be its last."""
    size, end = os.path.getsize(path), 0
    with open(path, "rb") as file:
        while end < size:
            file.seek(end)
            head = file.read(8)
            if head[:4] != b"RIFF":
                break
            end += 8 + int.from_bytes(head[4:], "little")
    return 8 < end <= size


def _last_packet(path: str | Path) -> float:
    """Seconds at which the last packet of any stream ends: the sound may go on after the last frame."""
    with open_video(path) as (container, _):
        last = 0.0
        try:
            for packet in container.demux():
                if packet.pts is not None:
                    last = max(last, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        except (av.FFmpegError, IndexError):  # IndexError: a stream that begins in mid-file
            pass
        return last - (container.start_time or 0) / av.time_base


def read_frames(
    path: str | Path, *, fps: float, short_side: int, n_frames: int = -1, pixels: str = "rgb24", chunk: int = 64
) -> Iterator[np.ndarray]:
    """Decode a video at a fixed rate and size.

    Picture k is the one on show at k / fps, each frame's time being rounded to that grid first (as FFmpeg's ``fps``
    filter does): a frame stays until the next one, so variable rates come out right, and time stamps that jitter around
    the grid drop no frame. Rotation metadata is applied. A frame that does not decode is replaced by the one before it.

    Parameters
    ----------
    path : path
        A video file.
    fps : float
        Pictures per second.
    short_side : int
        Height or width, whichever is less, of the pictures; resized by area.
    n_frames : int, optional
        Frames that :func:`probe` counted; fewer than half of them is an error. -1: unknown.
    pixels : {"rgb24", "gray"}
        Pixel format.
    chunk : int
        Pictures in one array; the last may have fewer.

    Yields
    ------
    uint8 [B, H, W, 3], or [B, H, W] if gray

    Raises
    ------
    VideoError
        No frame, or far fewer than promised, decode. It is raised after the last chunk.
    """
    pictures: list[np.ndarray] = []
    resize: Resize | None = None
    last: av.VideoFrame | None = None
    for frame in shown_frames(path, fps=fps, n_frames=n_frames):
        if resize is None:  # by the first frame; a later one of another size is fitted to it
            resize = Resize.short_side(frame, short_side, pixels)
        if frame is not last:
            picture, last = resize(frame), frame
        pictures.append(picture)
        if len(pictures) == chunk:
            yield np.stack(pictures)
            pictures.clear()
    if pictures:
        yield np.stack(pictures)


def frame_at(path: str | Path, seconds: float, duration: float) -> av.VideoFrame:
    """Decode the frame that is on show at a time.

    Parameters
    ----------
    path : path
        A video file.
    seconds : float
        From the first frame that decodes; past the end the last frame counts.
    duration : float
        Of the video, as :func:`probe` found it.

    Raises
    ------
    VideoError
        The file does not open, nothing decodes, or it is another file than the one that was probed.
    """
    scan = scan_packets(path)
    clock = scan.clock
    with open_video(path) as (container, stream):
        first, frame = next(decode_from_front(container, stream, clock), (0, None))
        if frame is None:
            raise VideoError("none of its frames decodes; it is damaged")
        length = float(clock.end - first * clock.unit)
        if abs(length - duration) > 1:
            raise VideoError(f"{length:.1f} s long, but {duration:.1f} s when it was read; it was replaced since")
    wanted = int((first * clock.unit + Fraction(seconds) + clock.slack) // clock.unit)
    for start in _starts(scan, max(first, wanted)):
        with open_video(path) as (container, stream):
            landed = _seek(container, stream, scan, start)
            if landed and (frame := _on_show(decode(stream, landed[1], clock, landed[0]), max(first, wanted))):
                return frame
    raise VideoError("none of its frames decodes; it is damaged")


def _starts(scan: Scan, wanted: int) -> list[int]:
    """Packets to start at for the frame of a time: a key frame before it, then the first packet."""
    clock, keys = scan.clock, np.flatnonzero(scan.key)
    if clock.in_decoding_order:  # frames are counted exactly from the second key frame on
        packet = int(np.searchsorted(np.sort(clock.times), wanted, "right")) - 1
        before = keys[keys <= packet - REORDERED][:-1]
    else:
        times = np.where(scan.shown & (clock.times <= wanted), clock.times, clock.times.min() - 1)
        before = keys[(keys <= times.argmax()) & (clock.times[keys] <= wanted)]
    return [int(before[-1]), 0] if len(before) and before[-1] else [0]


def _seek(
    container: av.container.InputContainer, stream: VideoStream, scan: Scan, start: int
) -> tuple[int, Iterator[tuple[int, av.Packet]]] | None:
    """Go to a packet, or to one before it; the number of the packet there, and the packets from it on.

    A container without an index may land behind it, or guess time stamps after a seek: a key frame is known by its time
    stamp and its bytes.
    """
    if start == 0:
        return 0, enumerate(read_packets(container, stream))
    by_dts = scan.clock.in_decoding_order
    stamps = scan.stamps.dts if by_dts else scan.stamps.pts
    numbers = {(int(stamps[i]), int(scan.size[i])): int(i) for i in np.flatnonzero(scan.key)}
    if len(numbers) < scan.key.sum():
        return None  # parts of a joined file are alike
    target = min(int(s[start]) for s in (scan.stamps.pts, scan.stamps.dts) if s[start] != UNKNOWN)
    for seconds in BEFORE:
        try:
            container.seek(target - round(seconds / scan.stamps.base), stream=stream)
        except av.FFmpegError:
            return None  # a container in which FFmpeg cannot seek
        packets = read_packets(container, stream)
        for packet in islice(packets, AFTER_SEEK):
            if packet.is_keyframe:
                stamp = packet.dts if by_dts else packet.pts
                landed = start + 1 if stamp is None else numbers.get((stamp, packet.size), start + 1)
                if landed <= start:
                    return landed, enumerate(chain([packet], packets), landed)
                break
    return None


def _on_show(frames: Iterator[tuple[int, av.VideoFrame]], wanted: int) -> av.VideoFrame | None:
    """Last frame that is not after a time."""
    shown = None
    for time, frame in frames:
        if time > wanted:
            break
        shown = frame
    return shown


def shown_frames(path: str | Path, *, fps: float, n_frames: int = -1) -> Iterator[av.VideoFrame]:
    """Decode a video, and give the frame that is on show at each k / fps, for k = 0, 1, …, as it was decoded.

    A frame that stays on show is given again, the same object. The caller turns into pictures only the frames that it
    needs: that costs more than most of decoding. Parameters, times and errors are those of :func:`read_frames`.
    """
    rate = Fraction(fps).limit_denominator(100_000)
    clock = scan_packets(path).clock
    with open_video(path) as (container, stream):
        shown: av.VideoFrame | None = None  # on show from slot `done` on
        first = done = decoded = 0
        end = 1
        for time, frame in decode_from_front(container, stream, clock):
            decoded += 1
            if shown is None:
                first = time
                end = max(1, _slot((clock.end - first * clock.unit + clock.slack) * rate))
            elif (slot := min(end, _slot(((time - first) * clock.unit + clock.slack) * rate))) > done:
                yield from repeat(shown, slot - done)
                done = slot
            shown = frame
        if shown is None or decoded < MIN_DECODED * n_frames:
            raise VideoError(f"damaged: {decoded} of {n_frames} frames decode" if n_frames > 0 else "no frame decodes")
        if end > done:
            yield from repeat(shown, end - done)


class Resize:
    """Turns frames into pictures of one size, by FFmpeg's area scaler.

    Parameters
    ----------
    width, height : int
        Of the pictures, before the rotation that a frame's metadata asks for.
    pixels : {"rgb24", "gray"}
        Pixel format.
    """

    def __init__(self, width: int, height: int, pixels: str = "rgb24") -> None:
        self.size, self.pixels = (width, height), pixels
        self._reformatter = VideoReformatter()  # one for all frames: it keeps its tables

    @classmethod
    def short_side(cls, frame: av.VideoFrame, side: int, pixels: str) -> Resize:
        """Keep a frame's shape; its shorter side becomes ``side`` pixels."""
        scale = side / min(frame.width, frame.height)
        return cls(max(1, round(frame.width * scale)), max(1, round(frame.height * scale)), pixels)

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        """Picture of a frame, uint8 [H, W, 3], or [H, W] if gray."""
        small = self._reformatter.reformat(frame, *self.size, format=self.pixels, interpolation="AREA", threads=1)
        return np.rot90(small.to_ndarray(), frame.rotation // 90)


def _slot(position: Fraction) -> int:
    """Nearest point of the grid; halves go up."""
    return (2 * position.numerator + position.denominator) // (2 * position.denominator)
