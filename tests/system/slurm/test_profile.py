"""What the profile asks SLURM for, as a dry run shows it: needs no SLURM."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.workflow.conftest import JOB, ROOT, Workspace

from .conftest import PROFILE

GPU = {"train_localizer", "attend_videos"}
ITERATION = re.findall(r"^rule (\w+):", (ROOT / "rules/iterate.smk").read_text(), re.MULTILINE) + ["evaluate_iteration"]


def ask(workspace: Workspace, profile: Path = PROFILE) -> dict[str, dict[str, str]]:
    """The resources of each rule's jobs."""
    output = workspace.snakemake("--dry-run", "--quiet", "host", "--profile", str(profile))
    _, *parts = JOB.split(output)
    lines = [re.search(r"resources: (.*)", details)[1] for details in parts[1::2]]
    resources = [dict(item.split("=", 1) for item in line.split(", ")) for line in lines]
    return dict(zip(parts[::2], resources, strict=True))


@pytest.fixture
def workspace(data, tmp_path) -> Workspace:
    (tmp_path / "data").symlink_to(data)
    return Workspace(tmp_path)


def test_the_sites_values_reach_every_job(workspace, tmp_path):
    """Rules of one group have to agree on the partition, or Snakemake refuses to group them."""
    profile = tmp_path / "profile"
    shutil.copytree(PROFILE, profile)
    settings = (profile / "config.yaml").read_text()
    site = {"account": "lab", "partition": "batch", "gpu_partition": "fast", "gpu_model": "a100", "memory": "9000"}
    for name, value in site.items():
        settings, found = re.subn(rf"^(  {name}:) \w+", rf"\1 {value}", settings, flags=re.MULTILINE)
        assert found == 1
    (profile / "config.yaml").write_text(settings)
    workspace.configure()
    jobs = ask(workspace, profile)
    assert {job["slurm_account"] for job in jobs.values()} == {"lab"}
    partitions = {rule: job["slurm_partition"] for rule, job in jobs.items()}
    assert partitions == {rule: "fast" if rule in ITERATION else "batch" for rule in jobs}
    assert {rule for rule, job in jobs.items() if "gpu_model" in job} == GPU
    assert {jobs[rule]["mem_mb"] for rule in ITERATION} == {"9000"}


def test_an_iteration_on_parts_has_one_partition(workspace, tmp_path):
    profile = tmp_path / "profile"
    shutil.copytree(PROFILE, profile)
    settings = (profile / "config.yaml").read_text().replace("gpu_partition: null", "gpu_partition: fast")
    (profile / "config.yaml").write_text(settings.replace("  partition: null", "  partition: batch"))
    workspace.configure(parts={"cut": True}, iterations=1)
    jobs = ask(workspace, profile)
    shared = {rule for rule, job in jobs.items() if job["slurm_partition"] == "batch"}
    loop = {rule for rule in jobs if rule.endswith("_parts")} | {"pool_features"}
    assert len(loop) > 8
    assert not shared & loop


def test_no_job_asks_for_a_gpu_where_the_device_is_the_cpu(workspace):
    """Else nothing runs on a cluster without GPUs."""
    workspace.configure(device="cpu")
    assert {job.get("gpu", "0") for job in ask(workspace).values()} == {"0"}


def test_the_rules_that_use_a_gpu_ask_for_one(workspace):
    workspace.configure()
    assert {rule for rule, job in ask(workspace).items() if job.get("gpu") == "1"} == GPU


def test_the_table_names_no_rule_that_is_not_there():
    """A renamed rule would lose its row without a word."""
    table = (PROFILE / "config.yaml").read_text().split("set-resources:\n")[1]
    files = [*ROOT.glob("rules/*.smk"), ROOT / "studies/Snakefile"]
    rules = {
        name
        for file in files
        for name in re.findall(r"^(?:use )?rule (?:\w+ as )?(\w+)(?: with)?:", file.read_text(), re.M)
    }
    assert set(re.findall(r"^  (\w+):", table, re.M)) <= rules
