"""The workflow inside another one, and what a plain run leaves alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from .conftest import ROOT, Workspace, make_cola_folder

MODULE = f"""
module feel:
    snakefile: {str(ROOT / "Snakefile")!r}
    config: config

use rule * from feel
"""
# Notes every file that Python opens.
WATCH = """
import sys
from pathlib import Path

log = open(Path(__file__).with_name("opened"), "a", buffering=1)
sys.addaudithook(lambda event, args: log.write(f"{args[0]}\\n") if event == "open" else None)
"""


def test_another_workflow_runs_this_one_to_the_same_bytes(finished, tmp_path):
    """From a folder of its own, with a config that has only what differs: the way of the workflow catalog."""
    make_cola_folder(tmp_path / "data")
    (tmp_path / "workflow").mkdir()
    (tmp_path / "workflow/Snakefile").write_text(MODULE)
    other = Workspace(tmp_path)
    other.configure()
    other.snakemake(root=tmp_path, snakefile="workflow/Snakefile")
    assert other.digests() == Workspace(finished).digests()
    assert other.planned(root=tmp_path, snakefile="workflow/Snakefile") == set()


def test_another_workflow_gives_a_config_of_its_own_and_other_names(tmp_path):
    """A part of its config may be ours, and its rules may have our names."""
    make_cola_folder(tmp_path / "data")
    ours = MODULE.replace("config: config", "config: config['feel']").replace("from feel", "from feel as feel_*")
    rule = "rule all:\n    input: rules.feel_all.input\n"
    (tmp_path / "Snakefile").write_text(f"configfile: 'own.yaml'\n{ours}\n{rule}")
    (tmp_path / "own.yaml").write_text(
        "feel: {name: tiny, dataset: {layout: cola, path: data}, clusters: 3, iterations: 2, corrections: c.yaml}"
    )
    (tmp_path / "c.yaml").write_text("of: {variant: feel, seed: 0, iteration: 1, centres: '0'}\nmoves: {train_00: 1}")
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "-n", "-p"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "constrain --corrections c.yaml" in done.stderr + done.stdout
    assert "feel_train_localizer" in done.stdout and "results/tiny/report.html" in done.stdout


def test_a_plain_run_opens_no_study(tmp_path):
    """Studies must cost nothing where nobody asks for them, and a mistake in one must stop nothing else."""
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "-n", "--snakefile", str(ROOT / "Snakefile")]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    opened = {Path(name) for name in (tmp_path / "opened").read_text().splitlines()}
    assert ROOT / "config.yaml" in opened and ROOT / "rules/common.smk" in opened
    assert not [file for file in opened if file.is_relative_to(ROOT / "studies")]
