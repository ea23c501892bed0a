"""What verify says of a run of the real Snakefile; tests/system/faults/test_damage.py has the documented recovery."""

from __future__ import annotations

import os
import subprocess
import sys

from .conftest import ROOT


def verify(workspace) -> tuple[int, list[str]]:
    """Run the command on the workspace's run; give its status and lines."""
    command = [sys.executable, "-m", "feel_steps", "verify", "results/tiny"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=workspace.folder, capture_output=True, text=True, env=environment, timeout=60)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout.splitlines()


def test_a_finished_run_is_clean_wherever_it_lies(workspace):
    """Else a moved or copied run is said to be damaged, and --delete throws it away."""
    status, lines = verify(workspace)
    assert status == 0 and lines == [f"results/tiny: {len(workspace.digests())} files, {len(workspace.digests())} ok"]
    moved = workspace.folder / "elsewhere"
    (workspace.folder / "results").rename(moved)
    moved.joinpath("tiny").rename(moved / "other")
    (workspace.folder / "results").mkdir()
    moved.joinpath("other").rename(workspace.folder / "results/tiny")
    assert verify(workspace) == (0, lines)
