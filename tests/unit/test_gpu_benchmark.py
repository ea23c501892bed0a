"""The check of GPUs has to run whole where there is none, or it fails where a card is at hand for an hour."""

import subprocess
import sys

import pytest

from tests.paths import ROOT


@pytest.mark.slow
def test_all_parts_run_and_agree_on_the_cpu():
    command = [sys.executable, ROOT / "benchmarks/gpu.py", "--device", "cpu", "--tiny"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = {
        cells[1].strip(): cells[2:-1]
        for cells in map(lambda line: line.split("|"), done.stdout.splitlines())
        if cells[1:]
    }
    for part in ("i3d", "ranking", "attention"):
        assert "s/s" in rows[part][1], rows[part]
    assert rows["ranking"][3].strip() == "none"
    assert {"frames", "transformer", "float32"} <= rows.keys()
