"""A video file's packets, read with PyAV: their clock, and the frames that a decoder makes of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path

import av
import numpy as np
from av.codec.codec import Properties
from av.format import Flags
from av.stream import Disposition
from av.video.stream import VideoStream

from feel_steps.dataset.video_clock import UNKNOWN, Clock, Playhead, Stamps, counting_clock, make_clock

# flags of FFmpeg: the format stores no time stamps; the codec may reorder frames
NO_TIMESTAMPS = int(Flags.no_timestamps.value)  # type: ignore[call-overload]
REORDERS = int(Properties.REORDER.value)  # type: ignore[call-overload]

MOST_RATE = 300  # frames/s; a raw stream's header that says more counts ticks, not frames
# formats that are often joined from several recordings
JOINED = {"mpegts", "mpeg"}
# formats that store one time a frame, in decoding order; the other is FFmpeg's guess
DECODING_ORDER = {"avi", "asf"}


class VideoError(Exception):
    """A file whose video cannot be used; the message is the reason, without the file's name."""


@contextmanager
def open_video(path: str | Path) -> Iterator[tuple[av.container.InputContainer, VideoStream]]:
    """Open a file and its first video stream that is not a cover picture; any failure is a VideoError."""
    try:
        # file: "day1:a.avi" is a name here, not a protocol; names of streams and chapters may be in any encoding
        container = av.open(f"file:{path}", metadata_errors="replace")
    except (OSError, ValueError, av.FFmpegError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise VideoError(f"not a video file that FFmpeg can open ({reason})") from None
    with container:
        if container.format.name in ("tty", "image2"):
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
        if container.format.name.endswith("_pipe"):  # pictures, one after the other
            if len(list(islice(read_packets(container, stream), 2))) == 2:
                raise VideoError(_asks_rate(stream))
            raise VideoError("a still picture, not a video")
        yield container, stream


def read_packets(container: av.container.InputContainer, stream: VideoStream) -> Iterator[av.Packet]:
    """Demux the packets that hold something, up to the end, or to where the file is torn off."""
    while True:
        try:
            yield from (packet for packet in container.demux(stream) if packet.size)
            return
        except IndexError:
            continue  # a packet of a stream that begins in mid-file, which PyAV does not know
        except av.FFmpegError:
            return


@dataclass(frozen=True)
class Scan:
    """What a pass over a file's packets tells."""

    stamps: Stamps
    size: np.ndarray  # bytes [N]
    key: np.ndarray  # bool [N]; a decoder can start here
    shown: np.ndarray  # bool [N]; False: an edit list leaves it out
    clock: Clock

    def times(self) -> np.ndarray:
        """Times of the frames that are shown, in their order."""
        return np.sort(self.clock.times[self.shown])


def scan_packets(path: str | Path) -> Scan:
    """Read a file's packets once, and remember what they say as long as the file stays as it is.

    Parameters
    ----------
    path : path
        A video file.

    Raises
    ------
    VideoError
        The file does not open, has no video stream or no packet, or is a raw stream that does not say its frame rate.
    """
    try:
        state = os.stat(path)
    except OSError as error:
        raise VideoError(f"not a video file that FFmpeg can open ({error.strerror})") from None
    return _scan(str(path), state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=16)  # the page asks for several pictures of a video
def _scan(path: str, bytes_in_all: int, modified: int) -> Scan:
    with open_video(path) as (container, stream):
        rows = [
            (
                UNKNOWN if packet.pts is None else packet.pts,
                UNKNOWN if packet.dts is None else packet.dts,
                packet.duration or 0,
                packet.size,
                packet.is_keyframe,
                not packet.is_discard,
            )
            for packet in read_packets(container, stream)
        ]
        if not any(row[5] for row in rows):
            raise VideoError("no video frame in it; it is cut short or was never finished")
        pts, dts, duration, size, key, shown = np.array(rows, np.int64).T
        if DECODING_ORDER & set(container.format.name.split(",")) and not (dts == UNKNOWN).any():
            pts = dts
        stamps = Stamps(pts, dts, duration, stream.time_base or Fraction(1, 90_000))
        clock = _clock(container, stream, stamps, bool(shown.all()))
        return Scan(stamps, size, key.astype(bool), shown.astype(bool), clock)


def _clock(container: av.container.InputContainer, stream: VideoStream, stamps: Stamps, all_shown: bool) -> Clock:
    flags, names = container.format.flags, set(container.format.name.split(","))
    if flags & NO_TIMESTAMPS:
        return counting_clock(len(stamps.pts), _raw_rate(stream, stamps))
    codec = stream.codec_context
    # a container with an edit list stores presentation times
    reorders = codec.codec.properties & REORDERS and (codec.has_b_frames or names & DECODING_ORDER) and all_shown
    rates = (stream.guessed_rate, stream.average_rate, stream.base_rate, codec.framerate)
    delayed = codec.has_b_frames and names & DECODING_ORDER
    return make_clock(stamps, rates, reorders=bool(reorders), delayed=bool(delayed), joined=bool(names & JOINED))


def _raw_rate(stream: VideoStream, stamps: Stamps) -> Fraction:
    """Frames/s of a stream without a container, as its own header (H.264's and HEVC's VUI, for example) says it."""
    rate = stream.codec_context.framerate
    gaps = np.diff(np.unique(stamps.pts[stamps.pts != UNKNOWN]))
    if rate and rate > MOST_RATE and len(gaps):
        rate = 1 / (int(np.median(gaps)) * stamps.base)
    if not rate or rate > MOST_RATE:
        raise VideoError(_asks_rate(stream))
    return rate


def _asks_rate(stream: VideoStream) -> str:
    codec = stream.codec_context.codec.canonical_name
    return f"a raw {codec} stream without a frame rate; convert it with: ffmpeg -r RATE -i FILE NEW.mp4"


def decode(
    stream: VideoStream, packets: Iterator[tuple[int, av.Packet]], clock: Clock, start: int = 0
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decode what can be decoded, in presentation order, with the time of each frame by the clock.

    ``packets`` come with their numbers in the scan, from ``start`` on. A packet's number takes the place of its time
    stamp, so that the decoder tells which packet a frame is of.
    """
    playhead = Playhead(clock, start)
    for index, packet in chain(packets, [(-1, None)]):
        if packet is not None:
            packet.pts = index
            playhead.feed(index)
        try:
            frames = stream.codec_context.decode(packet)
        except av.FFmpegError:
            continue  # a damaged packet; the frames after it may be whole
        for frame in frames:
            yield playhead.time(frame.pts, frame.key_frame), frame


def decode_from_front(
    container: av.container.InputContainer, stream: VideoStream, clock: Clock
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decode all of a file that was just opened."""
    return decode(stream, enumerate(read_packets(container, stream)), clock)
