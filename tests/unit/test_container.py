"""The container's steps. No test builds an image; CI does."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib

from tests.paths import ROOT

INSTRUCTION = re.compile(r"^([A-Z]+) (.+)$", re.MULTILINE)
STAND_IN = (
    '#!/bin/sh\necho "$0 $*" >>calls\nwhile [ $# -gt 0 ]; do [ "$1" = --constraint ] && cp "$2" pins; shift; done\n'
)


def test_the_dockerfile_runs_the_script():
    steps = INSTRUCTION.findall((ROOT / "Dockerfile").read_text("utf-8"))
    assert [name for name, _ in steps] == ["FROM", "ARG", "COPY", "RUN", "WORKDIR", "ENV", "ENTRYPOINT"]
    given = dict(steps)
    assert given["RUN"] == 'sh /opt/feel-steps/envs/container.sh "$TORCH"' and given["ARG"] == "TORCH=cpu"
    assert given["COPY"].split() == [".", "/opt/feel-steps"] and (ROOT / "envs/container.sh").is_file()
    ignored = (ROOT / ".dockerignore").read_text("utf-8").split()
    for needed in ("Snakefile", "config.yaml", "rules", "schemas", "configs", "profiles", "envs", "studies", "docs"):
        assert needed not in ignored, f"the image would lack {needed}"


def test_the_script_installs_the_pinned_versions(tmp_path):
    """Whoever uses the image gets the versions that were tested, and the build of torch that they asked for."""
    (tmp_path / "envs").mkdir()
    shutil.copy(ROOT / "envs/container.sh", tmp_path / "envs")
    for file in ("pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / file, tmp_path)
    for program in ("pip", "feel-steps"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / program).write_text(STAND_IN)
        (tmp_path / "bin" / program).chmod(0o755)
    environment = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}
    subprocess.run(["/bin/sh", tmp_path / "envs/container.sh", "cu130"], check=True, env=environment, cwd="/")
    calls = (tmp_path / "calls").read_text().splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (torch,) = (name for name in project["dependencies"] if name.startswith("torch=="))
    assert calls[0].endswith(f"--index-url https://download.pytorch.org/whl/cu130 {torch}")
    (extras,) = re.findall(r"\.\[([a-z0-9,]+)\]$", calls[1])
    assert set(extras.split(",")) <= project["optional-dependencies"].keys()
    pins = set((tmp_path / "pins").read_text().split())
    locked = re.findall(
        r"^([A-Za-z0-9._-]+==[^ ;\\\n]+)", (ROOT / "requirements.lock").read_text("utf-8"), re.MULTILINE
    )
    assert len(pins) == len(locked) > 100 and pins == set(locked)
