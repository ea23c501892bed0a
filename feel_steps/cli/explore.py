"""What a person does with a finished run: report, name, predict, export."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated

import typer

from feel_steps.cli.app import app
from feel_steps.cli.options import Device, Threads, parse_settings
from feel_steps.errors import InputError


def _choose(run: Path, variant: str | None, seed: int | None, iteration: int | None) -> tuple[Path, bool]:
    """Folder of an iteration, and whether the report shows it; says which of several variants is taken unasked."""
    from feel_steps.tables.run import find_run

    found = find_run(run)
    if variant is None and len(found.seeds) > 1:
        others = ", ".join(name for name in found.seeds if name != found.variant)
        typer.echo(f"variant: {found.variant}; --variant takes another: {others}", err=True)
    return found.choose(variant, seed, iteration)


@app.command()
def report(
    run: Annotated[Path, typer.Option(help="results folder of the run")],
    out: Annotated[Path, typer.Option(help="the page, .html")],
    settings: Annotated[str, typer.Option(help="the run's config as JSON, to show")] = "{}",
    names: Annotated[Path | None, typer.Option(help="names of clusters; default: clusters.yaml of the run")] = None,
    corrections: Annotated[Path | None, typer.Option(help="corrections.yaml that the run has applied")] = None,
    labels: Annotated[Path | None, typer.Option(help="labels table of the run, where some videos have labels")] = None,
    groups: Annotated[Path | None, typer.Option(help="folder of tables that feel-steps groups wrote")] = None,
) -> None:
    """Write the page that shows what was found.

    Example: feel-steps report --run results/demo --out results/demo/report.html
    """
    from feel_steps.dataset.annotations import match_ids
    from feel_steps.dataset.corrections import match_corrections, read_corrections
    from feel_steps.explore.mixed import mixed_videos
    from feel_steps.explore.names import find_names
    from feel_steps.report.page import report as step
    from feel_steps.tables import tables
    from feel_steps.tables.run import find_run

    found = find_run(run)
    place = found.iteration_folder(found.iterations)
    called = find_names(run, place, names)
    ids = found.videos["video_id"].tolist()
    given = match_corrections(read_corrections(corrections), match_ids(ids), ids, corrections) if corrections else None
    labelled = len(tables.read(labels, "given")["video_id"]) if labels else 0
    content = given.content if given else None
    config = parse_settings(settings, "--settings")
    lengths = config.get("parts") or {}
    mixed = mixed_videos(found, lengths.get("shortest", 2.0), lengths.get("longest", 60.0))
    step(run, out, config=config, names=called, corrections=content, labelled=labelled, groups=groups, mixed=mixed)


@app.command()
def name(
    run: Annotated[Path, typer.Argument(help="results folder of the run")],
    ask_here: Annotated[bool, typer.Option("--ask", help="ask in the terminal, also where there is a browser")] = False,
) -> None:
    """Give the clusters names: opens the page's edit mode, where everything else can be corrected, too.

    Without a browser, or with --ask, it shows when and where each cluster is most typical, writes the pictures to
    RUN/contact-sheet.png, and asks. These names are kept in RUN/clusters.yaml, and appear in the report, in exports and
    in predictions.

    Example: feel-steps name results/demo
    """
    from feel_steps.explore.naming import ask_names, open_page

    if not ask_here and open_page(run):
        typer.echo(f"page: {run / 'report.html'}; save corrections.yaml there, and run snakemake with")
        typer.echo("  --config corrections=corrections.yaml")
        return

    def ask(question: str, known: str) -> str:
        return typer.prompt(question, default=known, show_default=bool(known))

    path = ask_names(run, ask, typer.echo)
    typer.echo(f"\nnames: {path}; the next snakemake or feel-steps report writes them into the page")


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="results folder of a finished run")],
    files: Annotated[
        list[Path] | None, typer.Argument(help="videos, or folders of them; with --features, for players")
    ] = None,
    features: Annotated[
        list[Path] | None,
        typer.Option(help="arrays of the new videos, or a folder of them, where others made the run's"),
    ] = None,
    out: Annotated[Path, typer.Option(help="folder for JSON, CSV, subtitles and a page")] = Path("predicted"),
    variant: Annotated[str | None, typer.Option(help="default: the run's first")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="default: the variant's first")] = None,
    iteration: Annotated[int | None, typer.Option(min=1, help="default: the last")] = None,
    settings: Annotated[str, typer.Option(help="extractor's settings as JSON: where a network's weights are")] = "{}",
    device: Device = "auto",
    threads: Threads = 2,
) -> None:
    """Find in new videos what a run has learnt to find. A file that cannot be used is named, and the exit status is 1.

    Example: feel-steps predict results/demo clip.mp4 --out found

    Where others made the run's features: feel-steps predict results/mine --features new.npy
    """
    from feel_steps.explore.names import find_names
    from feel_steps.explore.predict import predict as step
    from feel_steps.explore.predict import table, write
    from feel_steps.runtime.claim import claim
    from feel_steps.tables.folders import check_out

    check_out(out)
    place, shown = _choose(run, variant, seed, iteration)
    names = find_names(run, place) if shown else {}
    own = parse_settings(settings, "--settings")
    with claim(device) as where:
        prediction = step(run, files or [], place, features=features or [], settings=own, device=where, threads=threads)
    for video_id in prediction.videos["video_id"][prediction.unlike]:
        strange = f"{video_id}: looks unlike everything the run was trained on; what is found may mean nothing"
        warnings.warn(strange, stacklevel=1)
    write(prediction, out, run=run.resolve().name, names=names)
    typer.echo(table(prediction, names))
    typer.echo(f"page: {out / 'predicted.html'}")
    for line in prediction.failed:
        typer.echo(f"error: {line}", err=True)
    if prediction.failed:
        raise typer.Exit(1)


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="a file; a folder for vtt, elan and fiftyone")],
    run: Annotated[Path | None, typer.Argument(help="results folder of a finished run")] = None,
    every: Annotated[bool, typer.Option("--all", help="all detections of the run, which overlap")] = False,
    form: Annotated[
        str, typer.Option(help="activitynet | csv | vtt | fiftyone | elan | boris | boris-tsv | labelstudio")
    ] = "activitynet",
    variant: Annotated[str | None, typer.Option(help="default: the run's first")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="default: the variant's first")] = None,
    iteration: Annotated[int | None, typer.Option(min=1, help="default: the last")] = None,
    names: Annotated[Path | None, typer.Option(help="names of clusters; default: clusters.yaml of the run")] = None,
    detections: Annotated[Path | None, typer.Option(help="instead of a run: a detections table, and --videos")] = None,
    videos: Annotated[Path | None, typer.Option(help="videos table of these detections")] = None,
) -> None:
    """Write the moments of a run for other tools; with --all, or from a table, detections.

    Example: feel-steps export results/demo --form csv --out moments.csv
    """
    from feel_steps.explore.export import export as step
    from feel_steps.explore.moments import as_detections
    from feel_steps.explore.names import find_names, read_names
    from feel_steps.tables import tables
    from feel_steps.tables.run import read_shown

    named: Path | None  # the iteration whose clusters these are
    if run is not None and detections is None:
        place, shown = _choose(run, variant, seed, iteration)
        found = read_shown(run, place, shown, "detections" if every else "moments")
        found = found if every else as_detections(found)
        called, named = find_names(run, place) if shown else {}, place
        videos = run / "videos.parquet"
    elif run is None and detections and videos:
        found, called = tables.read(detections, "detections"), {}
        named = detections.parent if (detections.parent / "centres.parquet").is_file() else None
    else:
        raise InputError("name the results folder of a run, or --detections and --videos without one")
    if names:
        called = read_names(names, named)
    step(found, tables.read(videos, "videos"), out, form=form, names=called)


@app.command()
def groups(
    run: Annotated[Path, typer.Argument(help="results folder of a finished run")],
    table: Annotated[Path, typer.Argument(help="CSV with the columns video_id,group")],
    out: Annotated[Path, typer.Option(help="folder for the tables, as Parquet and CSV")],
    correction: Annotated[str, typer.Option(help="for many tests: holm | bh")] = "holm",
    permutations: Annotated[int, typer.Option(min=99, help="regroupings of the videos, at most")] = 9999,
    variant: Annotated[str | None, typer.Option(help="default: the run's first")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="default: the variant's first")] = None,
    iteration: Annotated[int | None, typer.Option(min=1, help="default: the last")] = None,
    shown: Annotated[
        Path | None, typer.Option(help="folder of the iteration that the page shows; default: as metrics.parquet says")
    ] = None,
    names: Annotated[Path | None, typer.Option(help="names of clusters; default: clusters.yaml of the run")] = None,
) -> None:
    """Compare groups of videos: time share, bouts, latency and transitions of each cluster.

    Example: feel-steps groups results/mine groups.csv --out compared
    """
    from feel_steps.explore.groups import compare_groups, read_groups, summary, write
    from feel_steps.explore.names import find_names, read_names
    from feel_steps.tables import tables
    from feel_steps.tables.folders import check_out
    from feel_steps.tables.run import count_clusters, read_shown

    check_out(out)
    if shown and (variant, seed, iteration) != (None, None, None):
        raise InputError("give either --shown, or --variant, --seed and --iteration")
    place, is_shown = (shown, True) if shown else _choose(run, variant, seed, iteration)
    videos = tables.read(run / "videos.parquet", "videos")
    found = compare_groups(
        read_shown(run, place, is_shown, "moments"),
        dict(zip(videos["video_id"], videos["duration"].tolist(), strict=True)),
        read_groups(table, videos["video_id"]),
        count_clusters(place),
        correction=correction,  # type: ignore[arg-type]
        permutations=permutations,
    )
    called = read_names(names, place) if names else find_names(run, place) if is_shown else {}
    write(found, out, called)
    typer.echo(f"{summary(found, called)}\ntables: {out}")
