"""The first steps of a run, made by the commands themselves in a second or two: enough to damage, move and verify."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from feel_steps import cli
from tests.workflow.conftest import make_cola_folder

ITERATIONS = ("feel/seed-0/iter-1", "feel/seed-1/iter-1")


def call(*arguments) -> str:
    """Call a command in this process; errors come as exceptions."""
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


def build(folder: Path, name: str = "small") -> Path:
    """Make data/ and results/{name} in a folder, up to the selection of iteration 1; give the run."""
    data, run = folder / "data", folder / "results" / name
    make_cola_folder(data)
    manifest, unreadable = run / "manifest.parquet", run / "unreadable.parquet"
    call("import", "--layout", "cola", "--path", data, "--parts", 2, "--out", manifest, "--out-unreadable", unreadable)
    truth = ["--annotations", data / "gt.json", "--unreadable", unreadable]
    call("import-annotations", "--manifest", manifest, *truth, "--out", run / "annotations.parquet")
    parts = [run / f"features/part-000{part}.parquet" for part in range(2)]
    for part, out in enumerate(parts):
        own = ["--extractor", "cola", "--root", data, "--cache", folder / "cache"]
        call("extract", "--manifest", manifest, "--part", part, *own, "--out", out)
    videos = run / "videos.parquet"
    out = ["--out", videos, "--out-skipped", run / "skipped.parquet"]
    call("index", *parts, "--manifest", manifest, "--unreadable", unreadable, *out)
    for seed, place in enumerate(ITERATIONS):
        iterate(run, run / place, seed)
    return run


def iterate(run: Path, place: Path, seed: int) -> None:
    """Pool, cluster, refine and select."""
    pooled, clusters, centres, refined = (
        place / f"{name}.parquet" for name in ("pooled", "clusters", "centres", "refined")
    )
    call("pool", "--videos", run / "videos.parquet", "--features", run / "features", "--out", pooled)
    out = ["--out-clusters", clusters, "--out-centres", centres]
    call("cluster", "--pooled", pooled, "--clusters", 3, "--seed", seed, *out)
    tables = ["--pooled", pooled, "--clusters", clusters, "--centres", centres]
    call("refine", *tables, "--method", "none", "--out", refined)
    call("select", "--refined", refined, "--rate", 0.5, "--out", place / "selected.parquet")
