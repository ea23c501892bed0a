"""A SLURM of one node for these tests, and Snakemake with the profile on it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.workflow.conftest import ROOT, Workspace, finished, make_cola_folder  # noqa: F401  a fixture

PROFILE = ROOT / "profiles/slurm"
ACTIVE = {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING"}
DEADLINE = 300.0  # seconds, many times what a wait takes
# Snakemake that asks for the state of its jobs every two seconds, as they take seconds here. By itself the plugin waits
# ten seconds longer after each look that finds no job ended.
SNAKEMAKE = """
from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor
Executor.next_seconds_between_status_checks = property(lambda self: 2, lambda self, seconds: None)
main()
"""


def wait_for(happens: Callable[[], bool], what: str) -> None:
    """Wait until something happens."""
    end = time.monotonic() + DEADLINE
    while not happens():
        assert time.monotonic() < end, f"waited {DEADLINE:.0f} s for {what}"
        time.sleep(0.2)


class Cluster:
    """A running SLURM. Jobs see no variable of this process but HOME, PATH and SLURM_CONF, and no PATH of Python's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = f"{folder}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        self.environment = {"HOME": str(folder), "PATH": path, "SLURM_CONF": f"{folder}/slurm.conf"}

    def run(self, *command: str) -> str:
        """Run a command of SLURM's; give what it prints."""
        return subprocess.run(command, env=self.environment, check=True, capture_output=True, text=True).stdout

    def jobs(self, folder: Path) -> dict[str, dict[str, str]]:
        """All jobs of a working folder, finished ones, too, by number: what scontrol says of them."""
        jobs = {}
        for line in self.run("scontrol", "--oneliner", "--details", "show", "jobs").splitlines():
            job = dict(re.findall(r"(\w+)=(\S+)", line))
            if job.get("WorkDir") == str(folder):
                jobs[job["JobId"]] = job
        return jobs

    def running(self, folder: Path, name: str) -> dict[str, str] | None:
        """The running job whose comment (rule or group, and wildcards) has this name."""
        jobs = self.jobs(folder).values()
        return next((job for job in jobs if name in job["Comment"] and job["JobState"] == "RUNNING"), None)

    def wait_for_step(self, folder: Path, name: str) -> str:
        """Wait until a job of this name runs, and Snakemake in it; give its number."""
        wait_for(lambda: self.running(folder, name), f"{name} to run")
        number = self.running(folder, name)["JobId"]
        wait_for(
            lambda: f"{number}.0" in self.run("squeue", "--steps", "--noheader", "--format=%i").split(), "its step"
        )
        return number

    def restart_controller(self) -> None:
        """Stop slurmctld for two seconds."""
        pid = self.folder / "slurmctld.pid"
        os.kill(int(pid.read_text()), signal.SIGTERM)
        wait_for(lambda: not pid.exists(), "slurmctld to stop")
        time.sleep(2)
        self.run("slurmctld")


class SlurmWorkspace(Workspace):
    """A folder in which the workflow runs on a cluster."""

    def __init__(self, folder: Path, cluster: Cluster, profile: Path = PROFILE) -> None:
        super().__init__(folder)
        self.cluster, self.profile = cluster, profile

    def start(self) -> subprocess.Popen[str]:
        """Start Snakemake as on a login node, but for how often it asks."""
        command = [sys.executable, "-c", SNAKEMAKE, "--snakefile", str(ROOT / "Snakefile")]
        command += ["--configfile", "tiny.yaml", "--profile", str(self.profile)]
        command += ["--slurm-init-seconds-before-status-checks", "2"]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.cluster.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # a shell that starts the tests in the background has Ctrl-C ignored, and children inherit that
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )


@pytest.fixture(scope="session")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    if os.geteuid() != 0 or not all(map(shutil.which, ("munged", "slurmctld", "slurmd", "srun"))):
        pytest.skip("needs root and Debian's slurm-wlm and munge")
    folder = tmp_path_factory.mktemp("slurm")
    try:
        subprocess.run([ROOT / ".ci/slurm", "start", folder], check=True)
        yield Cluster(folder)
    finally:
        subprocess.run([ROOT / ".ci/slurm", "stop", folder], check=True)


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """Folder with the tiny features."""
    folder = tmp_path_factory.mktemp("features")
    make_cola_folder(folder)
    return folder
