"""One clock for all containers: when each packet's frame, and each decoded frame, is on show.

Containers store times in different ways. MP4 stores exact presentation times. MKV, WebM, FLV and ASF round them to
milliseconds. AVI and ASF may store times in decoding order, although B-frames are shown in another order. Raw streams
store none. :func:`make_clock` turns all of them into presentation times, on the stream's own regular grid wherever its
time stamps fit one. The same stream then gets the same times in every container.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

UNKNOWN = np.iinfo(np.int64).min  # a time stamp that a packet lacks

ROUNDING = Fraction(2, 1000)  # s; FLV rounds two times to milliseconds, and adds them
SLACK = Fraction(1, 1000)  # s; by how much an irregular time stamp may be too early, by rounding
# rates of cameras and broadcast, for streams whose header does not say theirs
STANDARD = [Fraction(n, 1001) for n in (24_000, 30_000, 60_000, 120_000)] + [
    Fraction(n) for n in (24, 25, 30, 50, 60, 10, 12, 15, 20, 100, 120)
]
FASTEST = 250  # frames/s; times in milliseconds cannot tell faster rates apart
MOST_SHIFT = 0.45  # of a frame; time stamps on a grid are spread no further than this
JITTER = 0.02  # s; spread of a camera's time stamps around its mean rate that is still regular
FITTED = 16  # frames that are enough to find a rate that the header does not give
# a clock started again if time stamps go back by more seconds and frames than these; H.264 reorders up to 16 frames
BACK, REORDERED = 1.0, 17
FORWARD = 10.0  # s; in streams that are often joined (TS, PS), a longer jump may be another recording's clock


@dataclass(frozen=True)
class Stamps:
    """What a container says of the packets that hold frames, in decoding order; :data:`UNKNOWN` where it does not."""

    pts: np.ndarray  # int64 [N], presentation time stamps in ticks
    dts: np.ndarray  # int64 [N], decoding time stamps in ticks
    duration: np.ndarray  # int64 [N], ticks; 0: unknown
    base: Fraction  # seconds of a tick


@dataclass(frozen=True)
class Clock:
    """Presentation times of a stream's frames, in units of ``unit`` seconds.

    ``times[i]`` belongs to packet i, in decoding order, unless ``in_decoding_order``: then the stamps say when packets
    are decoded, and the k-th frame that is shown has the k-th least of them.
    """

    times: np.ndarray  # int64 [N]
    unit: Fraction
    end: Fraction  # seconds, of the last frame
    step: int  # units from a frame to the next, typically
    in_decoding_order: bool
    slack: Fraction  # seconds by which times may be too early; 0 on the stream's own grid


class Playhead:
    """Follow a decoder: which packets went in, and at what time the frames that come out are shown.

    Frames come out in the order of presentation. Each is known by the index of its packet.
    """

    def __init__(self, clock: Clock, start: int = 0) -> None:
        self.clock = clock
        self._ordered = np.sort(clock.times) if clock.in_decoding_order else clock.times
        self._waiting: list[int] = []  # packets whose frame has not come out
        self._passed = start  # frames that came out, or never will
        self._last: int | None = None

    def feed(self, packet: int) -> None:
        """Note a packet that goes into the decoder."""
        if self.clock.in_decoding_order:
            self._waiting.append(packet)

    def time(self, packet: int | None, key: bool) -> int:
        """Time of a frame that comes out: that of its packet. A key frame is not shown before earlier frames."""
        if self.clock.in_decoding_order:
            time = self._running(packet, key)
        else:
            time = self._next() if packet is None else int(self.clock.times[packet])
        if self._last is not None and time <= self._last:  # no frame is shown before the last one
            time = self._next()
        self._last = time
        return time

    def _next(self) -> int:
        return 0 if self._last is None else self._last + self.clock.step

    def _running(self, packet: int | None, key: bool) -> int:
        """Count frames; those that were damaged count when a frame shows that they will not come any more."""
        if packet is not None:
            if packet in self._waiting:
                self._waiting.remove(packet)
            before = sum(other < packet for other in self._waiting)
            lost = before if key else max(0, before - REORDERED)
            del self._waiting[:lost]
            self._passed += lost
        self._passed += 1
        if self._passed > len(self._ordered):
            return int(self._ordered[-1]) + self.clock.step * (self._passed - len(self._ordered))
        return int(self._ordered[self._passed - 1])


def counting_clock(n: int, rate: Fraction) -> Clock:
    """Clock of a raw stream: frame k is shown at k / rate."""
    return Clock(np.arange(n), 1 / rate, n / rate, 1, in_decoding_order=True, slack=Fraction(0))


def make_clock(
    stamps: Stamps, rates: Iterable[Fraction | None], *, reorders: bool, delayed: bool, joined: bool
) -> Clock:
    """Find the presentation times of a stream's frames.

    Parameters
    ----------
    stamps : Stamps
        Of at least one packet.
    rates : iterable of Fraction or None
        Frames/s as the header says them.
    reorders : bool
        The codec may show frames in another order than it decodes them.
    delayed : bool
        A frame is on show when the packet after its own is due, as the decoder gives it: AVI and ASF with B-frames.
    joined : bool
        The format is often joined from several recordings (MPEG-TS, MPEG-PS): a jump forward that is longer than all
        the rest is another recording's clock.
    """
    said = [rate for rate in rates if rate]
    times, known = _filled(stamps, said)
    moved = _restarts(stamps, times, joined)
    times = times + moved
    # pts of a stream with B-frames go up and down; where they only go up, they are in decoding order
    in_decoding_order = reorders and (not known or bool(np.all(np.diff(times) >= 0)))
    if in_decoding_order and not (stamps.dts == UNKNOWN).any():
        times = stamps.dts + moved  # FFmpeg makes up pts for them, and a shorter gap at the end
    distinct = np.unique(times)
    step = int(np.median(np.diff(distinct))) if len(distinct) > 1 else _header_step(stamps.base, said)
    if in_decoding_order and delayed:
        times = np.append(times[1:], times[-1] + step)
        distinct = np.unique(times)
    grid = _fit(distinct, stamps.base, said)
    last = int(times.argmax())
    held = (int(stamps.duration[last]) or step) * stamps.base
    if in_decoding_order:  # what AVI calls a duration is one tick
        held = max(held, step * stamps.base)
    if grid is None:
        return Clock(times, stamps.base, int(times[last]) * stamps.base + held, step, in_decoding_order, SLACK)
    slots = np.round((times - distinct[0]) * float(stamps.base * grid)).astype(np.int64)
    if abs(held - (frames := max(1, round(held * grid))) / grid) <= ROUNDING:
        held = frames / grid
    return Clock(slots, 1 / grid, int(slots[last]) / grid + held, 1, in_decoding_order, Fraction(0))


def _header_step(base: Fraction, rates: Sequence[Fraction]) -> int:
    return max(1, round(1 / ((rates[0] if rates else 25) * base)))


def _filled(stamps: Stamps, rates: Sequence[Fraction]) -> tuple[np.ndarray, bool]:
    """Choose one time stamp for each packet, and say whether all are presentation times."""
    if not (stamps.pts == UNKNOWN).any():
        return stamps.pts, True
    if not (stamps.dts == UNKNOWN).any():
        return stamps.dts, False
    times = np.where(stamps.pts == UNKNOWN, stamps.dts, stamps.pts)
    missing = times == UNKNOWN
    if missing.all():
        return np.arange(len(times)) * _header_step(stamps.base, rates), False
    if missing.any():  # what has no time follows the packet before it
        index = np.arange(len(times))
        before = np.maximum.accumulate(np.where(missing, -1, index))
        anchor = np.where(before < 0, index[~missing][0], before)
        times = times[anchor] + (index - anchor) * _header_step(stamps.base, rates)
    return times, False


def _restarts(stamps: Stamps, times: np.ndarray, joined: bool) -> np.ndarray:
    """Ticks to add to each time stamp, so that time goes on where a clock starts again, as in joined files."""
    running = np.where(stamps.dts == UNKNOWN, times, stamps.dts)
    gaps = np.diff(running)
    if not len(gaps):
        return np.zeros(len(times), np.int64)
    steps = gaps[gaps > 0]
    step = int(np.median(steps)) if len(steps) else 1
    anew = gaps < -max(round(BACK / stamps.base), REORDERED * step)
    if joined and len(steps):
        longest = steps.max()
        if longest * stamps.base > FORWARD and longest > steps.sum() - longest:
            anew |= gaps == longest
    return np.concatenate([[0], np.cumsum(np.where(anew, step - gaps, 0))])


def _spread(ticks: np.ndarray, base: Fraction, rate: Fraction) -> float:
    """Seconds between the earliest and the latest time stamp, as seen from their points of the grid."""
    position = ticks * float(base * rate)
    away = position - np.round(position)
    return float((away.max() - away.min()) / rate)


def _fit(distinct: np.ndarray, base: Fraction, rates: Sequence[Fraction]) -> Fraction | None:
    """Find the rate on whose grid all time stamps are, but for the container's rounding and a camera's jitter.

    The header's rates come first. Where there are many frames, those that are usual follow, then the mean rate.
    """
    ticks = distinct - distinct[0]
    rounding = float(ROUNDING) + 1e-6
    if len(ticks) > 1 and np.median(np.diff(ticks)) > 1:  # else a tick is a frame, as in AVI
        rounding = max(rounding, float(base))  # GIF counts hundredths of a second
    tries = [(rates, rounding)]
    if len(ticks) >= FITTED:
        tries += [(STANDARD, rounding), (_mean_rate(ticks, base), JITTER)]
    for candidates, allowed in tries:
        fits = [(round(_spread(ticks, base, rate), 6), rate) for rate in candidates if rate <= FASTEST]
        good = [(spread, rate) for spread, rate in fits if spread <= min(allowed, MOST_SHIFT / rate)]
        if good:
            return min(good)[1]
    return None


def _mean_rate(ticks: np.ndarray, base: Fraction) -> list[Fraction]:
    """Rate of a stream by least squares; frames may be missing in it."""
    gaps = np.diff(ticks)
    frames = np.concatenate([[0], np.cumsum(np.maximum(1, np.round(gaps / np.median(gaps))))])
    step = np.polyfit(frames, ticks.astype(float), 1)[0] * float(base)
    return [Fraction(1 / step).limit_denominator(1_000_000)] if step > 0 else []
