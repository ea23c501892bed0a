"""A tiny run of the real Snakefile, made once; tests work on copies of it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from filelock import FileLock  # torch needs it, so it is there

ROOT = Path(__file__).parents[2]
JOB = re.compile(r"^ *(?:local)?rule (\w+):$", re.MULTILINE)  # indented where it belongs to a group

TINY = {
    "name": "tiny",
    "iterations": 2,
    "clusters": 3,
    "threads": 1,
    "dataset": {"layout": "cola", "path": "data", "annotations": "data/gt.json", "parts": 2},
    "features": {"fps": 25, "window": 16, "stride": 16},
    "refine": {"k1": 4, "k2": 2},
    "train": {"steps": 8, "batch": 4, "length": 16, "settings": {"hidden": 16}},
}


def make_cola_folder(root: Path, train: int = 12, test: int = 4, classes: int = 3) -> None:
    """CoLA's folders: every third video of one class, whose feature rises where the action is."""
    rng = np.random.default_rng(0)
    database = {}
    for subset, count in (("train", train), ("test", test)):
        names = [f"{subset}_{index:02d}" for index in range(count)]
        for index, name in enumerate(names):
            length, label = 18 + index % 5, index % classes
            active = (np.arange(length) // 4) % 2 == 1
            for stream in ("rgb", "flow"):
                features = rng.random((length, 6), np.float32) * 0.4
                features[active, label] += 1
                folder = root / "features" / subset / stream
                folder.mkdir(parents=True, exist_ok=True)
                np.save(folder / f"{name}.npy", features)
            edges = np.flatnonzero(np.diff(np.r_[0, active, 0])) * 16 / 25
            segments = [{"label": f"action-{label}", "segment": [str(a), str(b)]} for a, b in edges.reshape(-1, 2)]
            database[name] = {"subset": subset, "annotations": segments}
        (root / f"split_{subset}.txt").write_text("\n".join(names) + "\n")
    (root / "gt.json").write_text(json.dumps({"database": database}))


class Workspace:
    """A folder in which the workflow runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results = folder / "results/tiny"

    def configure(self, **changes) -> None:
        """Write the tiny config with changes, section by section."""
        config = {key: {**value} if isinstance(value, dict) else value for key, value in TINY.items()}
        for key, value in changes.items():
            config[key] = {**config.get(key, {}), **value} if isinstance(value, dict) else value
        (self.folder / "tiny.yaml").write_text(yaml.safe_dump(config))

    def command(self, *arguments: str, root: Path = ROOT, snakefile: str = "Snakefile") -> list[str]:
        """Command line that runs Snakemake with the tiny config."""
        command = [sys.executable, "-m", "snakemake", "--cores", "2", "--snakefile", str(root / snakefile)]
        return [*command, "--directory", str(self.folder), "--configfile", str(self.folder / "tiny.yaml"), *arguments]

    def snakemake(self, *arguments: str, succeeds: bool = True, timeout: float = 300, **where) -> str:
        """Run Snakemake with the tiny config; give what it prints. ``where`` is as of :meth:`command`."""
        command = self.command(*arguments, **where)
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=timeout)
        output = done.stdout + done.stderr
        assert (done.returncode == 0) == succeeds, output
        return output

    def planned(self, *arguments: str, **where) -> set[str]:
        """What a dry run would do: "rule" for shared work, "rule 2" for work of iteration 2."""
        output = self.snakemake("--dry-run", "--quiet", "host", *arguments, **where)
        _, *parts = JOB.split(output)
        jobs = set()
        for rule, details in zip(parts[::2], parts[1::2], strict=True):
            iteration = re.search(r"iteration=(\d+)", details)
            jobs.add(rule + (f" {iteration[1]}" if iteration else ""))
        return jobs - {"all"}

    def digests(self) -> dict[str, str]:
        """SHA-256 of every artifact."""
        files = [f for f in self.results.rglob("*") if f.suffix in (".parquet", ".safetensors", ".html")]
        return {str(f.relative_to(self.results)): hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(files)}


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """Folder of a finished tiny run, which the workers share; not to be changed."""
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent
    folder = place / "finished"
    with FileLock(place / "finished.lock"):
        if not folder.exists():
            workspace = Workspace(tmp_path_factory.mktemp("finished"))
            make_cola_folder(workspace.folder / "data")
            workspace.configure()
            workspace.snakemake()
            workspace.folder.rename(folder)
    return folder


@pytest.fixture
def workspace(finished, tmp_path) -> Workspace:
    """A copy of the finished run, with Snakemake's memory of it."""
    shutil.copytree(finished, tmp_path / "run", symlinks=True)
    return Workspace(tmp_path / "run")
