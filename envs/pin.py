"""Pin every dependency: write requirements.lock, with hashes, and envs/feel.yaml (make lock).

Versions that are pinned already stay while they fit; delete requirements.lock first to take the newest.

torch and its CUDA packages stay out of the lock file: one version number names several builds without a hash in common,
and machines get theirs from different places. pyproject.toml pins torch, and its builds pin their CUDA packages.
"""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK, ENVIRONMENT = ROOT / "requirements.lock", ROOT / "envs/feel.yaml"
PIN = re.compile(r"^\S.*\n(?: .*\n)*", re.MULTILINE)  # a line, and the hashes that go with it
BUILDS = re.compile(r"(?:torch|triton|cuda-.*|nvidia-(?!ml-py).*)==")


def resolve(requirements: list[str], *options: str) -> list[str]:
    """Pins of the requirements and of all that they need, for Python 3.11 and newer."""
    command = ["uv", "pip", "compile", "--no-header", "--no-annotate", "--python-version", "3.11", *options, "-"]
    given = "\n".join(requirements)
    done = subprocess.run(command, cwd=ROOT, input=given, text=True, stdout=subprocess.PIPE, check=True)
    return PIN.findall(done.stdout)


def main() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = pyproject["project"]
    everything = [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]
    everything += pyproject["build-system"]["requires"]
    pins = resolve(everything, "--universal", "--generate-hashes", "--output-file", LOCK.name)
    LOCK.write_text(
        "# Exact versions and hashes of everything but torch, written by `make lock`.\n"
        + "".join(pin for pin in pins if not BUILDS.match(pin))
    )
    steps = [line for line in project["dependencies"] if not line.startswith("snakemake")]
    own = resolve(steps, "--constraint", LOCK.name, "--python-platform", "linux")
    ENVIRONMENT.write_text(
        "# What the steps run in under --use-conda, written by `make lock`.\n"
        "channels:\n  - conda-forge\ndependencies:\n  - python=3.11\n  - pip\n  - pip:\n"
        + "".join(f"      - {pin}" for pin in own if not BUILDS.match(pin) or pin.startswith("torch=="))
    )


if __name__ == "__main__":
    main()
