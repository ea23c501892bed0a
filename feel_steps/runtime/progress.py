"""Shows progress: a bar on a terminal, and a plain line every few seconds in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Iterator
from types import TracebackType
from typing import Self, TypeVar

Item = TypeVar("Item")

LOG_EVERY = 10.0  # seconds between lines in a log file


def clock(seconds: float) -> str:
    """Format a duration: ``8 s``, ``3:05 min`` or ``2:10 h``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = int(seconds / 60)
    if minutes < 60:
        return f"{minutes}:{int(seconds % 60):02d} min"
    return f"{minutes // 60}:{minutes % 60:02d} h"


class Progress:
    """Counts finished units of work and estimates the time left. Prints nothing inside another progress.

    Parameters
    ----------
    what : str
        The activity ("training", "extracting").
    total : int
        Number of units.
    unit : str
        Name of one unit ("step", "video").
    """

    _open = 0

    def __init__(self, what: str, total: int, unit: str = "it") -> None:
        self._silent = Progress._open > 0  # such as the hundreds of refinements of a study
        self.what, self.total, self.unit, self.done = what, total, unit, 0
        self.start = self.last_line = time.monotonic()
        self._bar = None
        if sys.stderr.isatty() and not self._silent:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Bar(*columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True))
            self._task = self._bar.add_task(what, total=total, note="")

    def __enter__(self) -> Self:
        Progress._open += 1
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        Progress._open -= 1
        if self._bar:
            self._bar.stop()
        elif kind is None and not self._silent:
            spent = clock(time.monotonic() - self.start)
            print(f"{self.what}: {self.done} {self.unit}s in {spent}", file=sys.stderr, flush=True)

    def advance(self, units: int = 1, note: str = "") -> None:
        """Report finished units; ``note`` ("loss 0.52") is shown at the end of the line."""
        self.done += units
        if self._bar:
            self._bar.update(self._task, advance=units, note=note)
            return
        now = time.monotonic()
        if self._silent or not self.done or now - self.last_line < LOG_EVERY:
            return
        self.last_line = now
        rate = self.done / (now - self.start)
        left = clock((self.total - self.done) / rate)
        tail = f", {note}" if note else ""
        line = f"{self.what}: {self.done}/{self.total} {self.unit}s, {rate:.3g} {self.unit}s/s, {left} left{tail}"
        print(line, file=sys.stderr, flush=True)


def track(items: Collection[Item], what: str, unit: str = "it") -> Iterator[Item]:
    """Yield ``items`` and report progress after each."""
    with Progress(what, len(items), unit) as progress:
        for item in items:
            yield item
            progress.advance()
