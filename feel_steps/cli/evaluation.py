"""What a run is worth: evaluate, gather, summary, verify, compare, map."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from feel_steps.cli.app import app
from feel_steps.cli.options import Out, Parts, Pooled, Seed, Videos, parse_numbers


@app.command()
def evaluate(
    videos: Videos,
    annotations: Annotated[Path, typer.Option(help="annotations table; it may be empty")],
    pooled: Pooled,
    clusters: Annotated[Path, typer.Option(help="clusters table")],
    refined: Annotated[Path, typer.Option(help="refined table")],
    selected: Annotated[Path, typer.Option(help="selected table")],
    detections: Annotated[Path, typer.Option(help="detections table")],
    out: Annotated[Path, typer.Option(help="metrics table")],
    out_mapping: Annotated[Path, typer.Option(help="which classes each cluster stands for")],
    previous: Annotated[Path | None, typer.Option(help="refined table of the iteration before")] = None,
    parts: Parts = None,
    tiou: Annotated[str, typer.Option(help="thresholds of mAP")] = "0.1,0.2,0.3,0.4,0.5,0.6,0.7",
    variant: Annotated[str, typer.Option(help="written into the table")] = "feel",
    seed: Seed = 0,
    iteration: Annotated[int, typer.Option(min=1, help="written into the table")] = 1,
) -> None:
    """Measure one iteration: clusterings, and detections by mAP where there are annotations.

    Example: feel-steps evaluate --videos videos.parquet --annotations annotations.parquet --pooled pooled.parquet
    --clusters clusters.parquet --refined refined.parquet --selected selected.parquet --detections detections.parquet
    --out metrics.parquet --out-mapping mapping.parquet
    """
    from feel_steps.evaluation.evaluate import evaluate as step
    from feel_steps.tables import tables

    clustered = ["video_id", "cluster"]
    rows, mapping = step(
        tables.read(annotations, "annotations"),
        tables.read(videos, "videos", ["video_id", "split"]),
        tables.read(clusters, "clusters", clustered),
        tables.read(refined, "refined", clustered),
        tables.read(selected, "selected", clustered),
        tables.stream(detections, "detections"),
        tables.read(previous, "refined", clustered) if previous else None,
        tiou=parse_numbers(tiou, "--tiou"),
        pooled=tables.read(pooled, "pooled"),
        parts=tables.read(parts, "parts") if parts else None,
    )
    size = len(rows["metric"])
    about = {"variant": [variant] * size, "seed": [seed] * size, "iteration": [iteration] * size}
    tables.write(out, "metrics", about | rows)
    tables.write(out_mapping, "mapping", mapping)


@app.command()
def evaluate_segments(
    videos: Videos,
    annotations: Annotated[Path, typer.Option(help="annotations table; it may be empty")],
    segments: Annotated[Path, typer.Option(help="segments table")],
    out: Annotated[Path, typer.Option(help="metrics table")],
    variant: Annotated[str, typer.Option(help="written into the table")] = "feel",
    seed: Seed = 0,
    iteration: Annotated[int, typer.Option(min=1, help="written into the table")] = 1,
) -> None:
    """Measure a segmentation: MoF, edit score and F1, over test videos, or over all if there are none.

    Example: feel-steps evaluate-segments --videos videos.parquet --annotations annotations.parquet
    --segments segments.parquet --out segment_metrics.parquet
    """
    import numpy as np

    from feel_steps.evaluation.evaluate import judged
    from feel_steps.evaluation.segmentation import measure_segments
    from feel_steps.tables import tables

    found, truth = judged(
        tables.read(segments, "segments"), tables.read(annotations, "annotations"), tables.read(videos, "videos")
    )
    rows = measure_segments(found, truth)
    stage, metric, value = zip(*rows, strict=True) if rows else ((), (), ())
    size = len(rows)
    about = {"variant": [variant] * size, "seed": [seed] * size, "iteration": [iteration] * size}
    named = {"stage": np.array(stage, object), "metric": np.array(metric, object), "value": np.array(value, float)}
    tables.write(out, "metrics", about | named)


@app.command()
def gather(metrics: Annotated[list[Path], typer.Argument(help="metrics tables")], out: Out) -> None:
    """Put metrics tables of many iterations, seeds and variants into one.

    Example: feel-steps gather results/demo/*/*/*/metrics.parquet --out metrics.parquet
    """
    from feel_steps.tables import tables

    tables.write(out, "metrics", tables.join([tables.read(file, "metrics") for file in metrics]))


@app.command()
def summary(run: Annotated[Path, typer.Argument(help="results folder of the run")]) -> None:
    """Print a finished run's numbers as a table.

    Example: feel-steps summary results/demo
    """
    from feel_steps.report.summary import describe
    from feel_steps.tables.run import find_run

    find_run(run)  # refuses a folder without a finished run
    typer.echo(describe(run))
    typer.echo(f"report: {run / 'report.html'}")


@app.command()
def verify(
    run: Annotated[Path, typer.Argument(help="results folder of the run")],
    delete: Annotated[
        bool, typer.Option("--delete", help="delete what is damaged or out of date, for snakemake to make again")
    ] = False,
) -> None:
    """Check that every file of a run is intact and up to date: same inputs and same source code as now.

    Prints one line for each file that is not, and exits with status 1. With --delete, and then the same snakemake
    command as before, the run ends as if nothing had happened to it. Do not use it while snakemake works on the run.

    Example: feel-steps verify results/demo
    """
    from feel_steps.tables.verify import delete as remove
    from feel_steps.tables.verify import summary as count
    from feel_steps.tables.verify import verify as step

    checked, findings = step(run)
    gone = remove(run, findings) if delete else []
    for finding in findings:
        typer.echo(f"{finding} (deleted)" if finding in gone else str(finding))
    typer.echo(count(run, checked, findings) + (f"; {len(gone)} deleted, run snakemake again" if gone else ""))
    if findings and not delete:
        raise typer.Exit(1)


@app.command()
def compare(
    run: Annotated[Path, typer.Argument(help="results folder of the run")],
    a: Annotated[str, typer.Argument(help="a variant")],
    b: Annotated[str, typer.Argument(help="the variant to compare it with")],
    tiou: Annotated[str | None, typer.Option(help="thresholds of mAP; by default the run's own")] = None,
    samples: Annotated[int, typer.Option(min=1, help="bootstrap draws")] = 1000,
    seed: Seed = 0,
) -> None:
    """Say by how much one variant is better than another: paired bootstrap over videos.

    Example: feel-steps compare results/ablation feel paper
    """
    from feel_steps.evaluation.compare import compare as step
    from feel_steps.evaluation.compare import last_iterations, sentences
    from feel_steps.tables.folders import check_folder

    check_folder(run)
    thresholds = parse_numbers(tiou, "--tiou") if tiou else None
    table = step(run, a, b, tiou=thresholds, samples=samples, seed=seed)
    for variant, last in last_iterations(run, (a, b)).items():
        typer.echo(f"{variant}: iteration {max(last.values())} of seeds {', '.join(map(str, last))}")
    typer.echo(sentences(table, a, b))


@app.command("map")
def map_(
    predictions: Annotated[Path, typer.Option(help="ActivityNet-style JSON of detections")],
    annotations: Annotated[Path, typer.Option(help="ActivityNet-style JSON of ground truth")],
    subset: Annotated[str, typer.Option(help="whose ground truth counts")] = "test",
    tiou: Annotated[str, typer.Option(help="thresholds")] = "0.1,0.2,0.3,0.4,0.5,0.6,0.7",
    json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Detection mAP as the ActivityNet kit defines it.

    Example: feel-steps map --predictions detections.json --annotations gt.json --subset test --tiou 0.3,0.5,0.7
    """
    from json import dumps

    from feel_steps.evaluation.activitynet import map_files

    result = map_files(predictions, annotations, subset=subset, tiou=parse_numbers(tiou, "--tiou"))
    if json:
        typer.echo(dumps(result))
        return
    for threshold, value in zip(result["tiou"], result["mAP"], strict=True):
        typer.echo(f"mAP@{threshold:.2f}  {value:.4f}")
    typer.echo(f"average   {result['average']:.4f}")
