"""Studies of settings over many runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from feel_steps.cli.app import app
from feel_steps.cli.options import Clusters, Pooled, parse_settings


@app.command()
def label_classes(
    pooled: Pooled,
    annotations: Annotated[Path, typer.Option(help="annotations table")],
    clusters: Clusters,
    out: Annotated[Path, typer.Option(help="refined table")],
    out_selected: Annotated[Path, typer.Option(help="selected table, one row for each label of a video")],
) -> None:
    """Put each training video's annotated class in place of its cluster: the bound of weak supervision.

    Example: feel-steps label-classes --pooled pooled.parquet --annotations annotations.parquet --clusters 20
    --out refined.parquet --out-selected selected.parquet
    """
    from feel_steps.studies.true_labels import true_classes
    from feel_steps.tables import tables

    video_ids = tables.read(pooled, "pooled")["video_id"]
    refined, selected = true_classes(video_ids, tables.read(annotations, "annotations"), clusters)
    tables.write(out, "refined", refined)
    tables.write(out_selected, "selected", selected)


@app.command()
def gather_study(
    metrics: Annotated[list[Path], typer.Argument(help="metrics tables of the study's variants")],
    settings: Annotated[str, typer.Option(help="label of each setting to its variant and its x and y, as JSON")],
    out: Annotated[Path, typer.Option(help="study table")],
) -> None:
    """Gather a study's table from the metrics of its variants.

    Example: feel-steps gather-study --settings '{"CCI": {"variant": "feel"}, "no CCI": {"variant": "no-cci"}}'
    --out cci.parquet results/ablation/*/*/*/metrics.parquet
    """
    from feel_steps.studies.tables import gather
    from feel_steps.tables import tables

    own = parse_settings(settings, "--settings")
    tables.write(out, "study", gather((tables.read(file, "metrics") for file in metrics), own))


@app.command()
def study(
    name: Annotated[str, typer.Argument(help="a program of feel_steps/studies")],
    annotations: Annotated[Path, typer.Option(help="annotations table")],
    clusters: Clusters,
    out: Annotated[Path, typer.Option(help="study table")],
    pooled: Annotated[list[Path] | None, typer.Argument(help="pooled tables, …/seed-S/iter-I/pooled.parquet")] = None,
    settings: Annotated[str, typer.Option(help="the program's own settings, as JSON")] = "{}",
) -> None:
    """Run a study that is a program.

    Example: feel-steps study noise --annotations annotations.parquet --clusters 6 --out noise.parquet
    results/demo/feel/seed-*/iter-*/pooled.parquet
    """
    from feel_steps.studies import get_program, get_run
    from feel_steps.tables import tables

    step = get_program(name)
    by_run = {get_run(file): tables.read(file, "pooled") for file in pooled or ()}
    truth = tables.read(annotations, "annotations")
    tables.write(out, "study", step(by_run, truth, clusters=clusters, **parse_settings(settings, "--settings")))


@app.command()
def studies_page(
    files: Annotated[list[Path], typer.Argument(help="study tables, each named as its study")],
    studies: Annotated[str, typer.Option(help="entries of studies.yaml, as JSON")],
    out: Annotated[Path, typer.Option(help="the page, .html")],
    name: Annotated[str, typer.Option(help="what the page calls the run")] = "run",
) -> None:
    """Write the page that shows what the studies found.

    Example: feel-steps studies-page --studies '{"ablation": {"title": "Ablation", "question": "…", "paper": "…"}}'
    --out studies.html ablation.parquet
    """
    from feel_steps.studies.page import write_studies
    from feel_steps.tables import tables

    read = {file.stem: tables.read(file, "study") for file in files}
    write_studies(read, parse_settings(studies, "--studies"), out, name=name)
