"""The steps of the studies, ``python -m studies STEP``: one a rule, each with its provenance as those of feel-steps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from feel_steps.cli.app import Steps, main
from feel_steps.cli.options import Clusters, Pooled, parse_settings

app = Steps(
    help="Steps of the studies, called by studies/Snakefile.", no_args_is_help=True, pretty_exceptions_enable=False
)


@app.command()
def label_classes(
    pooled: Pooled,
    annotations: Annotated[Path, typer.Option(help="annotations table")],
    clusters: Clusters,
    out: Annotated[Path, typer.Option(help="refined table")],
    out_selected: Annotated[Path, typer.Option(help="selected table, one row for each label of a video")],
) -> None:
    """Put each training video's annotated class in place of its cluster: the bound of weak supervision."""
    from feel_steps.tables import tables
    from studies.true_labels import true_classes

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
    """Gather a study's table from the metrics of its variants."""
    from feel_steps.tables import tables
    from studies.tables import gather

    labelled = parse_settings(settings, "--settings")
    tables.write(out, "study", gather((tables.read(file, "metrics") for file in metrics), labelled))


@app.command()
def run_study(
    name: Annotated[str, typer.Argument(help="a program of studies/settings.py")],
    pooled: Annotated[list[Path], typer.Argument(help="pooled tables, …/seed-S/iter-I/pooled.parquet")],
    annotations: Annotated[Path, typer.Option(help="annotations table")],
    clusters: Clusters,
    out: Annotated[Path, typer.Option(help="study table")],
    settings: Annotated[str, typer.Option(help="the program's own settings, as JSON")] = "{}",
) -> None:
    """Run a study that is a program."""
    from inspect import signature

    from feel_steps.tables import tables
    from studies.measures import read_pooled
    from studies.settings import get_program

    step, options = get_program(name), parse_settings(settings, "--settings")
    offered = {"annotations": tables.read(annotations, "annotations"), "clusters": clusters}
    taken = {key: value for key, value in offered.items() if key in signature(step).parameters}
    tables.write(out, "study", step(read_pooled(pooled), **taken, **options))


@app.command()
def write_studies(
    files: Annotated[list[Path], typer.Argument(help="study tables, each named as its study")],
    studies: Annotated[str, typer.Option(help="entries of studies.yaml, as JSON")],
    out: Annotated[Path, typer.Option(help="the page, .html")],
    name: Annotated[str, typer.Option(help="what the page calls the run")] = "run",
) -> None:
    """Write the page that shows what the studies found."""
    from feel_steps.tables import tables
    from studies.page import write_studies as step

    read = {file.stem: tables.read(file, "study") for file in files}
    step(read, parse_settings(studies, "--studies"), out, name=name)


if __name__ == "__main__":
    main(app)
