"""`snakemake --use-conda`, with Snakemake's own code and pip, and a stand-in for conda (tests/system/conda/bin/conda).

What the stand-in does not prove: that conda solves envs/feel.yaml on conda-forge.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflow.conftest import ROOT, finished, workspace  # noqa: F401  fixtures

STAND_IN = ROOT / "tests/system/conda/bin"
WHERE = f"""
rule where:
    output: "where.txt"
    conda: "{ROOT}/envs/feel.yaml"
    shell: "python -c 'import sys, torch, feel_steps; print(sys.prefix, feel_steps.__file__)' > {{output}}"
"""


@pytest.fixture
def environments(request, monkeypatch) -> Path:
    """Folder of environments, made anew when a pin or the stand-in changes; with the stand-in on the PATH."""
    if sys.version_info[:2] != (3, 11):
        pytest.skip("envs/feel.yaml has Python 3.11, and the stand-in can only link the one that runs the tests")
    folders = [str(STAND_IN), str(Path(sys.executable).parent), os.environ["PATH"]]
    monkeypatch.setenv("PATH", os.pathsep.join(folders))
    digest = hashlib.sha256((STAND_IN / "conda").read_bytes()).hexdigest()[:8]
    return request.config.cache.mkdir(f"conda-{digest}")


def test_a_run_in_conda_environments_gives_the_same_bytes(workspace, environments):  # noqa: F811
    """A rule without its environment, an unpinned package, or a package that cannot be imported inside."""
    expected = workspace.digests()
    (workspace.folder / "where.smk").write_text(WHERE)
    workspace.configure(custom_rules=["where.smk"])
    conda = ("--use-conda", "--conda-prefix", str(environments))
    output = workspace.snakemake(*conda, "--forceall", "--", "all", "where.txt", timeout=2400)
    found = workspace.digests()
    assert expected.pop("report.html") != found.pop("report.html")  # it shows the config, with the rule that was added
    assert found == expected
    steps = int(re.findall(r"of (\d+) steps", output)[-1])
    assert output.count("Activating conda environment") == steps - 1 > 20  # all but "all"
    prefix, package = (workspace.folder / "where.txt").read_text().split()
    assert Path(prefix).parent == environments.resolve()
    assert package == str(ROOT / "feel_steps/__init__.py")


def test_snakemake_needs_none_of_the_packages_of_the_steps():
    """With --use-conda people start Snakemake from an environment of its own, which has neither numpy nor torch."""
    texts = [(ROOT / f"rules/{name}.smk").read_text() for name in ("compat", "common")]
    found = re.findall(r"^from feel_steps\S* import (?:\([^)]*\)|.*)", "\n".join(texts), re.MULTILINE)
    imports = "\n".join(["import yaml", *found])
    code = f"""
import sys
for package in ("cv2", "numpy", "pandas", "pyarrow", "pynvml", "scipy", "sklearn", "torch", "typer"):
    sys.modules[package] = None  # as if it were not installed
{imports}
assert schedule(1) == 0.25
assert resolve(yaml.safe_load(open("config.yaml")), "feel")
count("auto"), get_source("train")
check_settings("cola", {{"hidden": 8}})
"""
    code = code.replace(
        "from feel_steps.errors", "from feel_steps.localizers import check_settings\nfrom feel_steps.errors"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
