"""Copies of the finished tiny run, a seed's disturbances, and the one command that mends what they did."""

from __future__ import annotations

import os
import random
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.workflow.conftest import ROOT, Workspace, finished  # noqa: F401  a fixture

from .disturb import PATIENCE, Over, Run, hangs, wait_until

TRIES = 8  # to hit a run before it is done


class Campaign:
    """A run that is disturbed, and has to end as if it had not been."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.workspace, self.rng = Workspace(folder), random.Random(seed)
        self.reference = self.workspace.digests()
        self.runs: list[Run] = []
        self.done: list[str] = []

    def forget(self, *folders: str) -> None:
        """Remove results, as if the run had not come so far."""
        for folder in folders:
            path = self.workspace.results / folder
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def shuffle(self, kinds: Mapping[str, tuple[Callable[..., str], int]]) -> list[Callable[..., str]]:
        """Give each kind of disturbance as often as is said, in any order."""
        order = [how for how, count in kinds.values() for _ in range(count)]
        self.rng.shuffle(order)
        return order

    def interrupt(self, how: Callable[[Run, random.Random], str], lost: Iterable[str], *arguments: str) -> None:
        """Let something go wrong with a running Snakemake; where it is done too soon, lose the same results again."""
        for _ in range(TRIES):
            if not self.runs or self.runs[-1].ended():
                # as --unlock does
                shutil.rmtree(self.workspace.folder / ".snakemake/locks", ignore_errors=True)
                self.runs.append(Run(self.workspace, *arguments))
            try:
                self.done.append(how(self.runs[-1], self.rng))
                return
            except Over:
                self.succeeds()
                self.compare()
                self.forget(*lost)
        raise AssertionError(self.account(f"{TRIES} times the run was done before anything could go wrong"))

    def succeeds(self) -> None:
        """Wait for Snakemake to finish the run."""
        run = self.runs[-1]
        assert run.snakemake.wait(PATIENCE) == 0, self.account(run.said())

    def resume(self) -> None:
        """Run the documented command, when nothing of the run is at work any more."""
        for run in self.runs:
            wait_until(lambda run=run: all(hangs(job) for job in run.jobs()), "orphans to end")
        given = shlex.join(self.workspace.command()[5:])  # without python -m snakemake --cores 2
        command = ["make", "--old-file=.venv/ready", "resume", "CORES=2", f"RUN={self.workspace.results}"]
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        done = subprocess.run(
            [*command, f"ARGS={given}"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE
        )
        assert done.returncode == 0, self.account(done.stdout + done.stderr)

    def wake_orphans(self) -> None:
        """Let the jobs of killed Snakemakes come to their end, hanging ones too."""
        for run in self.runs:
            for process in run.processes():
                process.resume()
            wait_until(lambda run=run: not run.processes(), "orphans to end")

    def compare(self) -> None:
        """Hold the run against the undisturbed one, byte for byte."""
        found = self.workspace.digests()
        different = [name for name in self.reference | found if self.reference.get(name) != found.get(name)]
        assert not different, self.account(f"different: {', '.join(different)}")

    def check(self) -> None:
        """Nothing differs from the undisturbed run, nothing is left to do, and nothing lies about."""
        self.compare()
        litter = [str(file) for file in self.workspace.results.rglob(".*")]
        assert not litter, self.account(f"left behind: {', '.join(litter)}")
        assert self.workspace.planned() == set(), self.account("not finished")

    def account(self, what: str) -> str:
        """What went wrong, after what."""
        return "\n".join(["disturbed by:", *self.done, what])


@pytest.fixture
def campaign(finished, tmp_path, request) -> Iterator[Campaign]:  # noqa: F811
    """A copy of the finished run, to be disturbed as the parameter "seed" of the test says."""
    if sys.platform != "linux" or not shutil.which("make"):
        pytest.skip("needs Linux, for its processes and disks, and make")
    shutil.copytree(finished, tmp_path / "run", symlinks=True)
    campaign = Campaign(tmp_path / "run", request.getfixturevalue("seed"))
    yield campaign
    for run in campaign.runs:
        run.kill()
