"""The wheel, installed apart from the repository: what `pip install feel-steps` gives."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.paths import ROOT
from tests.workflow.conftest import TINY, Workspace, finished, make_cola_folder  # noqa: F401  a fixture

LEFT_OUT = shutil.ignore_patterns(".*", "results", "node_modules", "build", "dist", "site", "__pycache__", "*.egg-info")


def run(*words: object, **options) -> str:
    """Run a command without the repository on its path; give what it prints."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, env=environment, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel, built from a copy of the repository so that no earlier build is in it."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "source", ignore=LEFT_OUT)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    run(*build, "--wheel-dir", folder, folder / "source")
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def program(wheel) -> Path:
    """`feel-steps` in an environment that has the wheel, and its dependencies from here."""
    environment = wheel.with_name("environment")
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    packages = next(environment.glob("lib/python*/site-packages"))
    # as a plain path, so that the editable installation of the repository stays unknown
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    python = environment / "bin/python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    where = run(python, "-c", "import feel_steps; print(feel_steps.__file__)", cwd=environment)
    assert where.startswith(str(packages)), "the repository's package would be tested"
    return environment / "bin/feel-steps"


def test_the_wheel_runs_the_workflow_from_an_empty_folder(program, finished, tmp_path):  # noqa: F811
    """Who installs by pip has no clone; the result has to be the one of a clone."""
    make_cola_folder(tmp_path / "data")
    preset = {key: TINY[key] for key in ("iterations", "threads", "features", "refine", "train")}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump({**preset, "dataset": {"parts": 2}}))
    words = [program, "run", "data", "--clusters", 3, "--name", "tiny", "--annotations", "data/gt.json"]
    output = run(*words, "--configfile", "small.yaml", cwd=tmp_path)
    assert output.splitlines()[-1] == "results/tiny/report.html"
    whole, made = (Workspace(folder).digests() for folder in (finished, tmp_path))
    same = {file for file, digest in whole.items() if made.get(file) == digest}
    assert whole.keys() - same <= {"report.html"}, "the page alone shows the config, which has other keys here"
    # what the command wrote beside the results, read by plain Snakemake, makes the same files
    shutil.rmtree(tmp_path / "results/tiny/feel/seed-0/iter-2")
    snakefile = next(program.parents[1].glob("lib/python*/site-packages/feel_steps/workflow/Snakefile"))
    words = [program.with_name("python"), "-m", "snakemake", "--snakefile", snakefile, "--cores", 2]
    run(*words, "--configfile", "results/tiny.yaml", cwd=tmp_path)
    assert Workspace(tmp_path).digests() == made


def test_the_wheel_holds_what_a_run_needs(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "feel_steps/py.typed" in names
    for folder in ("rules", "schemas", "configs", "profiles", "envs"):
        files = [file for file in (ROOT / folder).rglob("*") if file.is_file() and file.suffix != ".pyc"]
        missing = {f"feel_steps/workflow/{file.relative_to(ROOT).as_posix()}" for file in files} - names
        assert not missing


def test_the_sdist_builds_the_same_wheel(wheel, tmp_path):
    """PyPI has both, and some systems install from the sdist."""
    shutil.copytree(ROOT, tmp_path / "source", ignore=LEFT_OUT)
    backend = "from setuptools import build_meta; print(build_meta.build_sdist({!r}))"
    run(sys.executable, "-c", backend.format(str(tmp_path)), cwd=tmp_path / "source")
    (sdist,) = tmp_path.glob("*.tar.gz")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    run(*build, "--wheel-dir", tmp_path, sdist)
    (again,) = tmp_path.glob("*.whl")
    assert again.name == wheel.name
    first, second = (zipfile.ZipFile(path) for path in (wheel, again))
    assert sorted(first.namelist()) == sorted(second.namelist())
    differing = [name for name in first.namelist() if first.read(name) != second.read(name)]
    assert [name for name in differing if not name.endswith("RECORD")] == []
