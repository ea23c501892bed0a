"""Pin every dependency: write requirements.lock and envs/feel.yaml from the environment that runs this (make lock).

The conda environment gets what the steps need; Snakemake and the tools for development stay outside it.
"""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
TOOLS = {"pip", "setuptools", "wheel", "feel-steps"}


def closure(names: list[str]) -> set[str]:
    """Packages with all that they need, as installed here."""
    found: set[str] = set()
    while names:
        name = canonicalize_name(names.pop())
        if name in found:
            continue
        found.add(name)
        for line in distribution(name).requires or []:
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                names.append(need.name)
    return found


def main() -> None:
    versions = {canonicalize_name(d.metadata["Name"]): d.version.partition("+")[0] for d in distributions()}
    pins = {name: f"{name}=={version}" for name, version in sorted(versions.items()) if name not in TOOLS}
    (ROOT / "requirements.lock").write_text(
        "# Exact versions of everything, written by `make lock`.\n" + "".join(f"{pin}\n" for pin in pins.values())
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    steps = [re.match(r"[\w-]+", line)[0] for line in project["dependencies"] if not line.startswith("snakemake")]
    own = "".join(f"      - {pins[name]}\n" for name in sorted(closure(steps) - TOOLS))
    (ROOT / "envs/feel.yaml").write_text(
        "# What the steps run in under --use-conda, written by `make lock`.\n"
        f"channels:\n  - conda-forge\ndependencies:\n  - python=3.11\n  - pip\n  - pip:\n{own}"
    )


if __name__ == "__main__":
    main()
