"""The demo on other videos than the default ones: if this fails, the loop runs but does not learn."""

from __future__ import annotations

import subprocess
import sys

import pytest
import yaml

from feel_steps.tables import tables
from tests.paths import ROOT

SETTINGS = {"name": "learns", "demo": {"train": 24, "test": 12, "seed": 7}, "iterations": 2, "train": {"steps": 200}}
# The last iteration must reach the first number, and either the second number or more than the first iteration has.
NEEDED = {("refine", "nmi"): (0.5, 0.65), ("localize", "mAP"): (0.3, 0.6)}


@pytest.fixture(scope="module")
def scores(tmp_path_factory) -> dict[tuple[str, str], list[float]]:
    """Each score by iteration."""
    folder = tmp_path_factory.mktemp("demo")
    (folder / "config.yaml").write_text(yaml.safe_dump(SETTINGS))
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(folder), "--configfile", str(folder / "config.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    table = tables.read(folder / "results/learns/metrics.parquet", "metrics")
    rows = sorted(zip(*(table[key].tolist() for key in ("iteration", "stage", "metric", "value")), strict=True))
    return {
        (stage, metric): [value for _, s, m, value in rows if (s, m) == (stage, metric)] for stage, metric in NEEDED
    }


@pytest.mark.parametrize("score", NEEDED, ids="-".join)
def test_the_loop_learns(scores, score):
    """A loop that ignored its own results would pass every comparison of bytes."""
    (first, *_, last), (least, good) = scores[score], NEEDED[score]
    assert last >= least and (last >= good or last > first), scores[score]
