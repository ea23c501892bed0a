"""Two Snakemakes on one run: else the second ends the first, or both write the same files."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from .conftest import ROOT, Workspace, make_cola_folder

REFUSED = "error: results/tiny: another Snakemake works on this run; wait until it ends, or give another name"
# stands in for a long job, until a file appears; for "run", as on a cluster, the job starts Snakemake again
WAITS = """
rule wait:
    output: "results/tiny/waited"
    run:
        import pathlib, time
        pathlib.Path("begun").touch()
        end = time.monotonic() + 600  # where the test itself was killed
        while not pathlib.Path("go").exists() and time.monotonic() < end:
            time.sleep(0.1)
        pathlib.Path(output[0]).touch()
"""


def wait_for(true, process) -> None:
    """Wait for something that has to happen while a process runs."""
    end = time.monotonic() + 240
    while not true():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.1)


@contextmanager
def at_work(workspace: Workspace, **where):
    """A Snakemake in the middle of a job of the run, which ends when the file "go" appears."""
    command = workspace.command("--", "wait", **where)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True}
    process = subprocess.Popen(command, cwd=workspace.folder, **pipes)
    try:
        wait_for((workspace.folder / "begun").exists, process)
        yield process
    finally:
        (workspace.folder / "go").touch()
        if process.poll() is None:
            process.communicate(timeout=240)


@pytest.fixture
def waiting(tmp_path) -> Workspace:
    """A run that has a job which waits."""
    workspace = Workspace(tmp_path)
    make_cola_folder(tmp_path / "data")
    (tmp_path / "wait.smk").write_text(WAITS)
    workspace.configure(custom_rules=["wait.smk"], seeds=[0, 1])
    return workspace


def unlock(workspace: Workspace) -> None:
    """Remove Snakemake's locks, as the end of another run does."""
    shutil.rmtree(workspace.folder / ".snakemake/locks")


def test_nobody_starts_on_a_run_that_is_still_going(waiting):
    """Not after the end of another run in the folder, which removes the locks of all."""
    with at_work(waiting) as first:
        assert "cannot be locked" in waiting.snakemake("--", "wait", succeeds=False)  # Snakemake's own lock
        waiting.configure(custom_rules=["wait.smk"], name="other")
        waiting.snakemake("--", "import_videos")  # another run in the same folder
        assert (waiting.folder / "results/other/manifest.parquet").is_file()
        assert not list((waiting.folder / ".snakemake/locks").glob("*"))
        waiting.configure(custom_rules=["wait.smk"])
        output = waiting.snakemake("--", "import_videos", succeeds=False)
        assert [line for line in output.splitlines() if line.startswith("error: ")] == [REFUSED]
        assert "Traceback" not in output and "SystemExit" not in output
        assert not (waiting.results / "manifest.parquet").exists()
        assert first.poll() is None
        assert waiting.planned("--", "import_videos") == {"import_videos"}  # a dry run is no work
    assert first.returncode == 0
    waiting.snakemake("--", "import_videos")  # released at the end
    assert not list(waiting.results.rglob(".*"))


def test_a_killed_snakemake_holds_nothing(waiting):
    """Else a person would have to find and delete a lock after every accident."""
    with at_work(waiting) as first:
        first.send_signal(signal.SIGKILL)
        first.wait()
        waiting.snakemake("--unlock")
        waiting.snakemake("--", "import_videos")


def test_a_run_is_held_inside_another_workflow(waiting):
    """Where hooks for the start of a workflow are not called."""
    snakefile = str(ROOT / "Snakefile")
    text = f"module feel:\n    snakefile: {snakefile!r}\n    config: config\n\nuse rule * from feel\n"
    (waiting.folder / "Snakefile").write_text(text)
    with at_work(waiting, root=waiting.folder):
        unlock(waiting)
        assert REFUSED in waiting.snakemake("--", "import_videos", succeeds=False)


def test_the_run_command_passes_the_refusal_on(waiting):
    """It shows the end of what Snakemake says."""
    with at_work(waiting):
        unlock(waiting)
        command = [sys.executable, "-m", "feel_steps", "run", "data", "--name", "tiny", "--configfile", "tiny.yaml"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [*command, "--", "import_videos"], cwd=waiting.folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 1 and REFUSED in done.stderr, done.stdout + done.stderr
