"""The documented recovery, through the real Snakefile: verify, delete what is damaged, the same snakemake command."""

from __future__ import annotations

import os
import random
import subprocess
import sys

from .conftest import ROOT


def verify(workspace, *options) -> tuple[int, list[str]]:
    """Run the command on the workspace's run; give its status and lines."""
    command = [sys.executable, "-m", "feel_steps", "verify", "results/tiny", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=workspace.folder, capture_output=True, text=True, env=environment, timeout=60)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout.splitlines()


def test_a_finished_run_is_clean_wherever_it_lies(workspace):
    status, lines = verify(workspace)
    assert status == 0 and lines == [f"results/tiny: {len(workspace.digests())} files, {len(workspace.digests())} ok"]
    moved = workspace.folder / "elsewhere"
    (workspace.folder / "results").rename(moved)
    moved.joinpath("tiny").rename(moved / "other")
    (workspace.folder / "results").mkdir()
    moved.joinpath("other").rename(workspace.folder / "results/tiny")
    assert verify(workspace) == (0, lines)


def test_damage_deleted_and_made_again_ends_in_the_bytes_of_an_undisturbed_run(workspace):
    """Bits anywhere in a file, cut ends, two tables swapped, a killed job's leftover: all in one run."""
    before, chance = workspace.digests(), random.Random(0)
    files = chance.sample(sorted(before), 6)
    for name in files[:4]:
        content = bytearray((workspace.results / name).read_bytes())
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        (workspace.results / name).write_bytes(content)
    for name in files[4:]:
        with open(workspace.results / name, "r+b") as file:
            file.truncate(chance.randrange(100))
    swapped = [workspace.results / f"feel/seed-0/iter-{i}/training.parquet" for i in (1, 2)]
    contents = [path.read_bytes() for path in swapped]
    for path, content in zip(swapped, reversed(contents), strict=True):
        path.write_bytes(content)
    (workspace.results / "feel/seed-0/iter-1/.selected.parquet.xy.tmp").write_bytes(b"PAR1")

    status, lines = verify(workspace, "--delete")
    assert status == 0 and all(any(name in line for line in lines) for name in files), lines
    workspace.snakemake()
    assert workspace.digests() == before
    assert verify(workspace)[0] == 0
