"""Kill -9 amid writing: if this fails, it costs an earlier result, or leaves half of one under its name."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from feel_steps.tables import tables, verify
from tests.small_run import ITERATIONS, build, call

KILLED = """
import os, pathlib
from feel_steps import cli
{instant} = lambda *arguments: os.kill(os.getpid(), 9)
cli.main()
"""


@pytest.mark.parametrize("instant", ["os.fsync", "pathlib.Path.replace"])
def test_a_step_killed_before_its_file_is_in_place_changes_nothing_that_was_there(tmp_path, instant):
    """When all is written but not on the disk, or not under its name: the next run needs no help to go on."""
    run = build(tmp_path)
    place = run / ITERATIONS[0]
    table = place / "selected.parquet"
    before = table.read_bytes()
    command = ["select", "--refined", place / "refined.parquet", "--rate", "1", "--out", table]
    killed = subprocess.run([sys.executable, "-c", KILLED.format(instant=instant), *map(str, command)], timeout=300)
    assert killed.returncode == -signal.SIGKILL
    assert table.read_bytes() == before
    (leftover,) = place.glob(".*")
    assert leftover.name.startswith(".selected.parquet.") and leftover.stat().st_size

    call(*command)
    assert len(tables.read(table, "selected")["video_id"]) == 12  # all, and not the half that was there
    _, findings = verify.verify(run)
    assert [(run / finding.path, finding.state) for finding in findings] == [(leftover, "leftover")]
    verify.delete(run, findings)
    assert verify.verify(run)[1] == [] and not list(place.glob(".*"))
