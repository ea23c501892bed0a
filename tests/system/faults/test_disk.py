"""A disk that is full or read-only: if this fails, a run has to begin anew when there is space again."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from . import disturb

PAGE = 4096
SIZE = 4 * 2**20


class Disk:
    """A small file system in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def mount(self, options: str = f"size={SIZE}") -> bool:
        """Mount, or mount otherwise, and say if that was possible."""
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)]
        return subprocess.run(command, capture_output=True).returncode == 0

    def fill(self, run: disturb.Run, rng: random.Random) -> str:
        """Leave a few pages, at most; Snakemake has to stop."""
        run.find_job(rng)
        left, filler = rng.randrange(4), self.folder / "filler"
        with open(filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(PAGE))
            except OSError:
                file.truncate(file.tell() - left * PAGE)
        try:
            assert "No space left on device" in run.fails(), run.said()
        finally:
            filler.unlink()
        return f"disk full but for {left} pages"

    def protect(self, run: disturb.Run, rng: random.Random) -> str:
        """Let nothing be opened for writing any more; Snakemake has to stop.

        A second mount of the same files is laid over the first, which cannot become read-only itself: the lock of the
        run is open for writing as long as the run goes on.
        """
        run.find_job(rng)
        folder = str(self.folder)
        subprocess.run(["mount", "--bind", folder, folder], check=True)  # noqa: S607
        try:
            assert self.mount("remount,bind,ro")
            said = run.fails()  # the first where a job was writing, the second where Snakemake was about to start one
            assert "Read-only file system" in said or "Write-protected" in said, run.said()
        finally:
            run.kill()
            subprocess.run(["umount", folder], check=True)  # noqa: S607
        return "disk read-only"


FULL = {"the disk full": (Disk.fill, 2)}
READ_ONLY = {"the disk read-only": (Disk.protect, 2)}
# what lies on the disk, by seed: the results, or all that is written, Snakemake's records too, which it keeps open
PLACES = ["results", ""] * disturb.TIMES
PLAN = dict(enumerate([FULL | READ_ONLY, FULL] * disturb.TIMES))


@pytest.fixture
def disk(campaign, seed, tmp_path) -> Iterator[Disk]:
    """A small disk in place of a folder of the run."""
    folder, aside = campaign.workspace.folder / PLACES[seed], tmp_path / "aside"
    folder.rename(aside)
    folder.mkdir()
    disk = Disk(folder)
    if not (shutil.which("mount") and disk.mount()):
        pytest.skip("mounting a small disk needs root")
    shutil.copytree(aside, folder, dirs_exist_ok=True)
    yield disk
    for run in campaign.runs:
        run.kill()
    subprocess.run(["umount", str(folder)], check=True)  # noqa: S607


@pytest.mark.parametrize("seed", PLAN)
def test_a_run_goes_on_when_the_disk_is_writable_again(campaign, disk, seed):
    """No file may be half written, nor a record of Snakemake's, when the space ends."""
    lost = ["feel/seed-0/iter-2"]
    campaign.forget(*lost)
    for kind in campaign.shuffle(PLAN[seed]):
        campaign.interrupt(partial(kind, disk), lost)
    campaign.resume()
    campaign.check()
