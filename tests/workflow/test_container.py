"""Jobs in a container, with a stand-in for apptainer that says what it was asked and then runs the job itself."""

from __future__ import annotations

import sys

from .conftest import Workspace, make_cola_folder

STAND_IN = """#!{python}
import subprocess, sys
words = sys.argv[1:]
if "--version" in words:
    sys.exit(print("apptainer version 1.3.4"))
with open({log!r}, "a") as log:
    print(*words, file=log)
if "exec" in words:
    image = next(i for i, word in enumerate(words) if word.endswith(".sif"))
    sys.exit(subprocess.call(words[image + 1 :]))
"""


def test_jobs_run_in_the_image_that_the_config_names(tmp_path, monkeypatch):
    """With the key, and only then: without it, --sdm apptainer has nothing to run in."""
    (tmp_path / "bin").mkdir()
    program, log = tmp_path / "bin/apptainer", tmp_path / "log"
    program.write_text(STAND_IN.format(python=sys.executable, log=str(log)))
    program.chmod(0o755)
    (tmp_path / "bin/singularity").symlink_to(program)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    image = tmp_path / "feel-steps.sif"
    image.touch()
    workspace = Workspace(tmp_path)
    make_cola_folder(tmp_path / "data")
    workspace.configure()
    options = ["--sdm", "apptainer", "--config", f"container={image}", "--", "results/tiny/manifest.parquet"]
    workspace.snakemake(*options)
    assert (workspace.results / "manifest.parquet").is_file()
    jobs = [line for line in log.read_text().splitlines() if " exec " in f" {line}"]
    assert jobs and all(str(image) in line for line in jobs)
    assert any("feel_steps import" in line for line in jobs)
