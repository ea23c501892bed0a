"""One set of versions: what `make setup` installs is what the conda environment has."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def test_the_conda_environment_has_the_versions_of_the_lock_file():
    lock = {line for line in (ROOT / "requirements.lock").read_text().split("\n") if line and not line.startswith("#")}
    python, pip, pins = yaml.safe_load((ROOT / "envs/feel.yaml").read_text())["dependencies"]
    assert python.startswith("python=3.11") and pip == "pip"
    assert pins["pip"] and set(pins["pip"]) <= lock


def test_every_dependency_is_pinned_and_torch_is_exact():
    """A free torch would bring gigabytes of another build."""
    lock = dict(line.split("==") for line in (ROOT / "requirements.lock").read_text().split("\n") if "==" in line)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for line in [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]:
        assert re.match(r"[A-Za-z0-9-]+", line)[0].lower() in lock, line
    assert f"torch=={lock['torch']}" in project["dependencies"]
