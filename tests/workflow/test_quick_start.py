"""Jobs start as forks of a process that has loaded the libraries. Nothing but time may tell them from others."""

from __future__ import annotations

import sys

import pytest

from feel_steps.runtime.forkserver import ADDRESS

from .conftest import Workspace

LOOK = f"""
rule look:
    output: "looked.txt"
    shell: "echo ${{{{{ADDRESS}:-alone}}}} > {{output}}"
"""


@pytest.mark.skipif(sys.platform != "linux", reason="jobs are forked on Linux only")
def test_jobs_that_start_by_themselves_give_the_same_bytes(finished, workspace, tmp_path, monkeypatch):
    long = tmp_path / ("long" * 30)  # too long for the server's socket, so no job reaches it
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    (workspace.folder / "own.smk").write_text(LOOK)
    workspace.configure(custom_rules=["own.smk"])
    workspace.snakemake("--forceall", "all", "look")
    alone, forked = workspace.digests(), Workspace(finished).digests()
    del alone["report.html"], forked["report.html"]  # it shows the config
    assert alone == forked
    assert (workspace.folder / "looked.txt").read_text().startswith(str(long))


def test_few_jobs_wait_for_no_server(workspace):
    (workspace.folder / "own.smk").write_text(LOOK)
    workspace.configure(custom_rules=["own.smk"])
    workspace.snakemake("--nolock", "look")
    assert (workspace.folder / "looked.txt").read_text() == "alone\n"
