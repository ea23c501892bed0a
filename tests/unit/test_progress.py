"""Progress in a log file: plain lines with the time left, now and then."""

from __future__ import annotations

import itertools

import pytest

from feel_steps.runtime import progress


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.4, "59 s"), (61, "1:01 min"), (3599, "59:59 min"), (3661, "1:01 h")]
)
def test_durations_read_as_people_say_them(seconds, text):
    assert progress.clock(seconds) == text


def test_a_log_gets_a_line_now_and_then_with_the_time_left(monkeypatch, capsys):
    """A line a step would bury the log; control characters would make it unreadable."""
    clock = itertools.count()
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    for _ in progress.track(range(40), "training", "step"):
        pass
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "training: 10/40 steps, 1 steps/s, 30 s left"
    assert 3 <= len(lines) <= 5 and lines[-1].startswith("training: 40 steps in ")
    assert all(line.isprintable() for line in lines)


def test_nothing_done_yet_is_no_division_by_zero(monkeypatch, capsys):
    clock = itertools.count(0, 100)
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    with progress.Progress("refining", 3, "centre") as bar:
        bar.advance(0)
    assert capsys.readouterr().err.startswith("refining: 0 centres")


def test_progress_within_progress_is_silent(capsys):
    """A study that refines hundreds of times would bury its own lines."""
    for _ in progress.track(range(2), "studying"):
        for _ in progress.track(range(3), "refining"):
            pass
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines()] == ["studying"]
