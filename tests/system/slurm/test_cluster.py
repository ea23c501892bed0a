"""profiles/slurm on a real SLURM: one node, two pretend GPUs, no accounting."""

from __future__ import annotations

import re
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.workflow.conftest import Workspace

from .conftest import ACTIVE, DEADLINE, PROFILE, SlurmWorkspace, wait_for

SEEDS, ITERATIONS = (0, 1), (1, 2)
RUNS = [f"feel-seed-{seed}-iter-{iteration}" for seed in SEEDS for iteration in ITERATIONS]


@dataclass
class Story:
    """A run that is cancelled in its first iteration and started again; then a job dies, and slurmctld restarts."""

    workspace: SlurmWorkspace
    side_by_side: set[str]  # GPUs of the two seeds' first iterations, at one time
    cancelled: int  # exit status after Ctrl-C
    left: list[str]  # what Ctrl-C left: active jobs and locks
    output: str  # of the second start
    jobs: dict[str, dict[str, str]]  # SLURM's jobs of the second start


@pytest.fixture(scope="module")
def story(cluster, data, tmp_path_factory) -> Story:
    workspace = SlurmWorkspace(tmp_path_factory.mktemp("story"), cluster)
    folder = workspace.folder
    (folder / "data").symlink_to(data)
    workspace.configure(seeds=list(SEEDS))
    first, second = "feel-seed-0-iter-1", "feel-seed-1-iter-1"

    process = workspace.start()
    wait_for(lambda: all(cluster.running(folder, name) for name in (first, second)), "both seeds to run at once")
    gpus = {cluster.running(folder, name)["GRES"] for name in (first, second)}
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=DEADLINE)
    before = cluster.jobs(folder)
    left = [job["Comment"] for job in before.values() if job["JobState"] in ACTIVE]
    left += [str(lock) for lock in (folder / ".snakemake/locks").glob("*")]

    again = workspace.start()
    victim = cluster.wait_for_step(folder, first)
    cluster.wait_for_step(folder, second)
    cluster.run("scancel", f"{victim}.0")  # as the kernel does where memory runs out: the job's process, not the job
    wait_for(lambda: cluster.jobs(folder)[victim]["JobState"] == "FAILED", "the job to fail")
    cluster.wait_for_step(folder, first)
    cluster.restart_controller()
    output, _ = again.communicate(timeout=2 * DEADLINE)
    assert again.returncode == 0, output
    jobs = {number: job for number, job in cluster.jobs(folder).items() if number not in before}
    return Story(workspace, gpus, process.returncode, left, output, jobs)


def test_ctrl_c_cancels_the_jobs_and_releases_the_lock(story):
    """Otherwise jobs go on using up the account, and the next start asks for --unlock."""
    assert story.cancelled != 0
    assert story.left == []


def test_seeds_run_side_by_side_on_a_gpu_each(story):
    assert story.side_by_side == {"gpu:1(IDX:0)", "gpu:1(IDX:1)"}


def test_an_iteration_is_one_job_and_no_job_is_two_iterations(story):
    """Else it is eight waits in the queue an iteration, or one job, as long as all of them, that no partition takes."""
    finished = [job for job in story.jobs.values() if job["JobState"] == "COMPLETED"]
    names = sorted(re.match(r"rule_(feel-seed-\d-iter-\d|[a-z]+)_", job["Comment"])[1] for job in finished)
    assert names == sorted([*RUNS, "report"])
    assert all(job["TresPerJob"] == "gres:gpu:1" for job in finished if "iter" in job["Comment"])
    assert not any("TresPerJob" in job for job in finished if "iter" not in job["Comment"])


def test_a_job_that_dies_is_retried_with_twice_the_memory_and_time(story):
    attempts = [job for job in story.jobs.values() if "feel-seed-0-iter-1" in job["Comment"]]
    assert [job["JobState"] for job in attempts] == ["FAILED", "COMPLETED"]
    assert [job["MinMemoryNode"] for job in attempts] == ["16000M", "32000M"]
    assert [job["TimeLimit"] for job in attempts] == ["04:00:00", "08:00:00"]


def test_a_failed_job_says_why_and_where_its_log_lies(story):
    """Snakemake says nothing of it, with the default profile's quiet; the retry would be all that a user sees."""
    _, details = story.output.split("feel-seed-0-iter-1 failed: SLURM-job", 1)
    lines = details.splitlines()
    assert "mem_mb=16000, runtime=240" in lines[1]
    assert Path(lines[2].removeprefix("    log: ")).is_file()
    assert lines[3].startswith("    slurmstepd") and "CANCELLED" in lines[3]


def test_cancelled_killed_and_restarted_the_run_ends_in_the_bytes_of_a_local_one(story, finished):
    """Else where a run is computed, or what befalls it, decides on its results. The local one has the first seed."""
    here, there = Workspace(finished).digests(), story.workspace.digests()
    assert {name.replace("seed-1", "seed-0") for name in there} == set(here)
    common = set(here) - {"metrics.parquet", "report.html"}  # which tell of all seeds
    assert {name: there[name] for name in common} == {name: here[name] for name in common}


def test_a_gpu_that_the_cluster_does_not_have_is_named_at_once(story, tmp_path):
    """One more iteration of the finished run, with a model of GPU that is not there."""
    profile = tmp_path / "profile"
    shutil.copytree(PROFILE, profile)
    settings = (profile / "config.yaml").read_text()
    (profile / "config.yaml").write_text(re.sub(r"gpu_model: null", "gpu_model: h900", settings, count=1))
    workspace = SlurmWorkspace(story.workspace.folder, story.workspace.cluster, profile)
    workspace.configure(seeds=[0], iterations=3)
    process = workspace.start()
    output, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode != 0
    error = re.search(
        r"feel-seed-0-iter-3 failed: .*Requested node configuration is not available.*\n *asked for: .*", output
    )
    assert error and "gpu_model=h900" in error[0], output
    assert "Traceback" not in output
    assert not list((workspace.folder / ".snakemake/locks").glob("*"))
