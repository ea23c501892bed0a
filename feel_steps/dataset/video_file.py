"""Reading video files with PyAV: what a file holds, and its frames at a fixed rate and size.

Time 0 is the first frame that decodes. A file is read once, from front to end, in one thread (parts of a data set run
beside each other), and no more of it is in memory than one chunk of small frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import repeat
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

MIN_DECODED = 0.5  # share of a video's frames; interlaced video may have two packets (fields) a frame
MIN_RATE = 0.1  # frames/s; below it, the time stamps are damaged
# time stamps that go back by more seconds and more frames than these have begun anew; H.264 reorders up to 16 frames
BACK, REORDERED = 1.0, 17
# formats whose header may say how many seconds there are
TIMED = {"matroska", "webm", "flv", "mxf", "rm"}


class VideoError(Exception):
    """A file whose video cannot be used; the message is the reason, without the file's name."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds, counted packet by packet: ``fps`` is the average rate, ``duration`` is in seconds."""

    n_frames: int
    duration: float
    fps: float


@contextmanager
def _open(path: str | Path) -> Iterator[tuple[av.container.InputContainer, VideoStream]]:
    """Open a file and its first video stream that is not a cover picture; any failure is a VideoError."""
    try:
        # file: "day1:a.avi" is a name here, not a protocol; names of streams and chapters may be in any encoding
        container = av.open(f"file:{path}", metadata_errors="replace")
    except (OSError, ValueError, av.FFmpegError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise VideoError(f"not a video file that FFmpeg can open ({reason})") from None
    with container:
        if container.format.name in ("tty", "image2") or container.format.name.endswith("_pipe"):
            raise VideoError("a still picture or a text, not a video")
        streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams:
            cover = "only a cover picture" if container.streams.video else "no video stream"
            raise VideoError(f"{cover} in it" + (" (audio only)" if container.streams.audio else ""))
        stream = streams[0]
        if stream.codec_context is None:
            raise VideoError("its video codec is unknown to FFmpeg")
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        yield container, stream


def _packets(container: av.container.InputContainer, stream: VideoStream) -> Iterator[av.Packet]:
    """Demux packets up to the end, or to where the file is torn off; the last one is empty.

    Where time stamps begin anew, in joined files or at a recorder's restart, they are moved to go on.
    """
    base, step = _base(stream), _step(stream)
    back = max(round(BACK / base), REORDERED * step)
    last: int | None = None
    moved = 0
    while True:
        try:
            for packet in container.demux(stream):
                time = packet.pts if packet.dts is None else packet.dts
                if time is not None:
                    if last is not None and time < last - back:
                        moved += last + step - time
                    last = time
                    if moved:
                        packet.pts = None if packet.pts is None else packet.pts + moved
                        packet.dts = None if packet.dts is None else packet.dts + moved
                yield packet
            return
        except IndexError:
            continue  # a packet of a stream that begins in mid-file, which PyAV does not know
        except av.FFmpegError:
            yield av.Packet()
            return


def _decode(container: av.container.InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
    """Decode what can be decoded, in presentation order."""
    for packet in _packets(container, stream):
        try:
            frames = stream.codec_context.decode(packet if packet.size else None)
        except av.FFmpegError:
            continue  # a damaged packet; the frames after it may be whole
        yield from frames


def _rate(stream: VideoStream) -> Fraction:
    """Frames/s as the header says it, for files whose packets carry no time."""
    return stream.average_rate or stream.guessed_rate or Fraction(25)


def _base(stream: VideoStream) -> Fraction:
    """Seconds of a tick, the unit of time stamps."""
    return stream.time_base or Fraction(1, 90_000)


def _step(stream: VideoStream) -> int:
    """Ticks from a frame to the next."""
    return max(1, round(1 / (_rate(stream) * _base(stream))))


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
        The file does not open, has no video stream, is cut short, or its first frame does not decode.
    """
    with _open(path) as (container, stream):
        base, step = _base(stream), _step(stream)
        starts: list[int] = []
        ends: list[int] = []
        for packet in _packets(container, stream):
            if not packet.size or packet.is_discard:
                continue
            ticks = packet.dts if packet.pts is None else packet.pts
            starts.append(len(starts) * step if ticks is None else ticks)
            ends.append(starts[-1] + (packet.duration or step))
        if not starts:
            raise VideoError("no video frame in it; it is cut short or was never finished")
        n, duration = len(starts), float((max(ends) - min(starts)) * base)
        # what the header says: the frames of an MP4 or AVI, the seconds of others
        if stream.frames > n and stream.duration and duration < (stream.duration - 1.5 * step) * base:
            raise VideoError(f"cut short: {n} of the {stream.frames} frames that its header promises")
        if not stream.frames and TIMED & set(container.format.name.split(",")) and container.duration:
            promised, start = container.duration / av.time_base, max(0, container.start_time or 0) / av.time_base
            promised -= start if start < promised else 0  # some count from time 0, not from where they begin
            if _last_packet(path) < promised - max(1.0, 0.02 * promised):
                raise VideoError(f"cut short: {duration:.1f} of the {promised:.1f} seconds that its header promises")
        if duration <= 0 or n < MIN_RATE * duration - 1:
            raise VideoError(f"its time stamps are damaged: {n} frames in {duration:.0f} seconds")
    with _open(path) as (container, stream):
        shown = next(_decode(container, stream), None)
        if shown is None:
            raise VideoError("none of its frames decodes; it is damaged")
    if shown.pts is not None and (later := sum(start >= shown.pts for start in starts)):
        # a stream that was cut out of another begins with frames that need earlier ones
        n, duration = later, float((max(ends) - shown.pts) * base)
    return VideoInfo(n, duration, n / duration)


def _last_packet(path: str | Path) -> float:
    """Seconds at which the last packet of any stream ends: the sound may go on after the last frame."""
    with _open(path) as (container, _):
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
    for picture in _resampled(path, Fraction(fps).limit_denominator(100_000), short_side, n_frames, pixels):
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
        Of the video, as :func:`probe` found it. Where the file says otherwise, its time stamps begin anew somewhere:
        it is read from the front.

    Raises
    ------
    VideoError
        The file does not open, or nothing decodes.
    """
    with _open(path) as (container, stream):
        frame = next(_decode(container, stream), None)
        if frame is None:
            raise VideoError("none of its frames decodes; it is damaged")
        start = (frame.pts or 0) * _base(stream)
        if container.duration and abs(container.duration / av.time_base - duration) < BACK:
            container.seek(int((seconds + start) * av.time_base))
        for frame in _decode(container, stream):
            if frame.pts is None or frame.pts * _base(stream) - start >= seconds:
                break
        return frame


def _resampled(path: str | Path, fps: Fraction, short_side: int, n_frames: int, pixels: str) -> Iterator[np.ndarray]:
    resize = VideoReformatter()  # one for all frames: it keeps its tables
    size: tuple[int, int] | None = None

    def picture(frame: av.VideoFrame) -> np.ndarray:
        nonlocal size
        if size is None:  # of the first frame; a later one of another size is fitted to it
            scale = short_side / min(frame.width, frame.height)
            size = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
        small = resize.reformat(frame, *size, format=pixels, interpolation="AREA", threads=1)
        return np.rot90(small.to_ndarray(), frame.rotation // 90)

    with _open(path) as (container, stream):
        base, step = _base(stream), 1 / _rate(stream)
        shown: av.VideoFrame | None = None  # on show from slot `done` on
        first = time = Fraction(0)
        done = decoded = 0
        for frame in _decode(container, stream):
            time = time + step if frame.pts is None else frame.pts * base
            decoded += 1
            if shown is None:
                first = time
            elif (slot := _slot((time - first) * fps)) > done:
                yield from repeat(picture(shown), slot - done)
                done = slot
            shown = frame
        if shown is None or decoded < MIN_DECODED * n_frames:
            raise VideoError(f"damaged: {decoded} of {n_frames} frames decode" if n_frames > 0 else "no frame decodes")
        last = shown.duration * base if shown.duration else step
        if (slot := max(1, _slot((time + last - first) * fps))) > done:
            yield from repeat(picture(shown), slot - done)


def _slot(position: Fraction) -> int:
    """Nearest point of the grid; halves go up."""
    return (2 * position.numerator + position.denominator) // (2 * position.denominator)
