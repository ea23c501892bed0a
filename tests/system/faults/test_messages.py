"""What a command says that cannot go on: if these fail, a person sees a traceback, or half a file stays behind."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

WRITE_TABLE = """
from feel_steps.tables import tables
tables.write("out", "centres", {"cluster": range(1000), "feature": np.zeros((1000, 9))})
"""
WRITE_WEIGHTS = """
import torch
from feel_steps.localizers import weights
weights.write_tensors("out", {"weight": torch.zeros(10000)}, {})
"""
WRITE_PAGE = """
from feel_steps.tables import tables
with tables.atomic("out") as page:
    page.write_text("x" * 40000)
"""
WAIT = """
import time
from feel_steps.tables import tables
with tables.atomic("out"):
    print("begun", flush=True)
    time.sleep(60)
"""
HOARD = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))
np.zeros(2**40)
"""


def start(folder, program: str) -> subprocess.Popen[str]:
    """Run some lines in place of a command."""
    lines = "".join(f"    {line}\n" for line in program.splitlines())
    code = f"import numpy as np\nfrom feel_steps import cli\ndef app():\n{lines}\ncli.main(app)"
    return subprocess.Popen([sys.executable, "-c", code], cwd=folder, stdout=-1, stderr=-1, text=True)


@pytest.mark.parametrize("program", [WRITE_TABLE, WRITE_WEIGHTS, WRITE_PAGE])
def test_a_file_that_cannot_be_written_is_named_in_one_line(tmp_path, program):
    """As on a full disk; here a file may not be longer than a page."""
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))"
    said = start(tmp_path, limit + program).communicate(timeout=300)[1]
    assert said.startswith("error: out: ") and "File too large" in said and said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_command_without_memory_says_so_in_one_line(tmp_path):
    said = start(tmp_path, HOARD).communicate(timeout=300)[1]
    assert said.startswith("error: out of memory (Unable to allocate") and said.count("\n") == 1


def test_a_command_that_is_terminated_leaves_nothing_half_written(tmp_path):
    command = start(tmp_path, WAIT)
    assert command.stdout.readline() == "begun\n"
    command.send_signal(signal.SIGTERM)
    assert command.communicate(timeout=300)[1] == "error: terminated\n"
    assert command.returncode == 1 and not list(tmp_path.iterdir())
