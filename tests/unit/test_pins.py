"""One set of versions: what `make setup` installs is what the conda environment has."""

from __future__ import annotations

import re
import tomllib

import yaml

from tests.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text()
LOCKED = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", LOCK, re.MULTILINE))


def test_the_conda_environment_has_the_versions_of_the_lock_file():
    """torch stands in pyproject.toml: its builds share a number, but no hash (envs/pin.py)."""
    python, pip, section = yaml.safe_load((ROOT / "envs/feel.yaml").read_text())["dependencies"]
    assert python == "python=3.11" and pip == "pip"
    pins = dict(pin.split("==") for pin in section["pip"])
    torch = pins.pop("torch")
    assert f"torch=={torch}" in PROJECT["dependencies"]
    assert pins and pins.items() <= LOCKED.items()


def test_every_dependency_is_pinned_with_hashes():
    """A free torch would bring gigabytes of another build; a file that somebody exchanged would be installed."""
    needs = [*PROJECT["dependencies"], *sum(PROJECT["optional-dependencies"].values(), [])]
    names = {re.match(r"[A-Za-z0-9-]+", line)[0].lower() for line in needs}
    assert names - {"torch"} <= LOCKED.keys() and "torch" not in LOCKED
    pins = re.findall(r"^\S+==.*\n(?: {4}--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+", LOCK, re.MULTILINE)
    assert len(pins) == len(LOCKED)
    assert "://" not in LOCK
