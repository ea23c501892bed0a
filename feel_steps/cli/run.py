"""One command for a whole run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from feel_steps.cli.app import app
from feel_steps.cli.options import parse_integers
from feel_steps.errors import InputError


@app.command(no_args_is_help=True, context_settings={"allow_extra_args": True})
def run(
    context: typer.Context,
    path: Annotated[Path | None, typer.Argument(help="folder of videos, or of feature arrays")] = None,
    clusters: Annotated[str, typer.Option(help="kinds of action to look for; several numbers are compared")] = "",
    name: Annotated[
        str | None, typer.Option(help="results go to results/NAME; default: the folder's, with hyphens where needed")
    ] = None,
    features: Annotated[Path | None, typer.Option(help="folder of feature arrays of these videos")] = None,
    annotations: Annotated[Path | None, typer.Option(help="ground truth, for evaluation only")] = None,
    split: Annotated[Path | None, typer.Option(help="CSV video_id,split with train or test")] = None,
    configfile: Annotated[Path | None, typer.Option(help="YAML file of further settings, such as a preset")] = None,
    cores: Annotated[int, typer.Option(min=1, help="CPU cores")] = 2,
    profile: Annotated[str | None, typer.Option(help="Snakemake profile, such as slurm")] = None,
    demo: Annotated[bool, typer.Option("--demo", help="run the built-in demo")] = False,
    open_: Annotated[bool, typer.Option("--open", help="open the page in a browser at the end")] = False,
) -> None:
    """Find the actions in a folder of videos, from features to the page.

    What follows `--` goes to Snakemake. The same command continues a run that was stopped.

    Example: feel-steps run videos --clusters 4,6,8 --cores 8 -- --dry-run
    """
    from feel_steps.explore.launch import default_name, finish, is_dry, make_config, start

    options = context.args
    if path is not None and str(path).startswith("-"):  # the first of Snakemake's options, where no folder is given
        path, options = None, [str(path), *options]
    if demo == (path is not None):
        raise InputError("give a folder of videos or of feature arrays, or --demo")
    name = name or default_name(path)
    numbers = parse_integers(clusters, "--clusters") if clusters else []
    data = {"features": features, "annotations": annotations, "split": split, "settings": configfile}
    config = make_config(path, name=name, clusters=numbers, **data)
    status, words = start(config, cores=cores, profile=profile, options=options)
    if status:
        raise typer.Exit(status)
    page = Path("results", name, "report.html")
    if page.is_file() and not is_dry(words):  # there may be none if a part of the run was asked for
        finish(page, open_page=open_)
