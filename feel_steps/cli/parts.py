"""For videos that show several actions: cut, join, segment."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from feel_steps.cli.app import app
from feel_steps.cli.options import Clusters, Features, Out, Seed, Videos


@app.command()
def cut(
    videos: Videos,
    features: Features,
    out: Out,
    out_description: Annotated[
        Path | None, typer.Option(help="what snippets are described by, .safetensors; predict needs it in a run")
    ] = None,
    shortest: Annotated[float, typer.Option(min=0, help="seconds of the shortest part")] = 2.0,
    longest: Annotated[float, typer.Option(min=0, help="seconds of the longest part")] = 60.0,
    penalty: Annotated[
        float | None, typer.Option(min=0, help="what one more part costs; not given: by the kind of features")
    ] = None,
) -> None:
    """Cut all videos into parts where their features change, for videos that show several actions.

    Example: feel-steps cut --videos videos.parquet --features features --out parts.parquet --out-description
    description.safetensors
    """
    from json import dumps

    from feel_steps.description import Description
    from feel_steps.parts import check_lengths, count, to_table
    from feel_steps.parts import cut as step
    from feel_steps.pool import tell_family
    from feel_steps.tables import tables
    from feel_steps.tables.snippets import load_snippets, recorded_family
    from feel_steps.tables.tensors import write_arrays

    check_lengths(shortest, longest)
    table = tables.read(videos, "videos")
    snippets, seconds = load_snippets(table, features), table["snippet_stride"] / table["fps"]
    family = recorded_family(table, features) or tell_family(load_snippets(table, features, "train"))
    description = Description.fit(snippets, count(shortest, seconds), family)
    settings: dict[str, Any] = {"shortest": shortest, "longest": longest, "penalty": penalty}
    borders = step(snippets, seconds, description, **settings)
    tables.write(out, "parts", to_table(snippets, borders, table), {"settings": dumps(settings)})
    if out_description:
        about = {"family": description.family, "within": description.within}
        write_arrays(out_description, description.arrays, about)


@app.command()
def join(
    parts: Annotated[Path, typer.Option(help="parts table")],
    refined: Annotated[Path, typer.Option(help="refined table of the parts")],
    selected: Annotated[Path, typer.Option(help="selected table of the parts")],
    out: Annotated[Path, typer.Option(help="refined table: the cluster that most of each video has")],
    out_selected: Annotated[Path, typer.Option(help="selected table: a row for each cluster of a video")],
) -> None:
    """Give each video the clusters of its parts.

    Example: feel-steps join --parts parts.parquet --refined parts/refined.parquet --selected parts/selected.parquet
    --out refined.parquet --out-selected selected.parquet
    """
    from feel_steps.tables import tables
    from feel_steps.tables.parts import join as step

    videos, labels = step(
        tables.read(refined, "refined"), tables.read(selected, "selected"), tables.read(parts, "parts")
    )
    tables.write(out, "refined", videos)
    tables.write(out_selected, "selected", labels)


@app.command()
def segment(
    videos: Videos,
    features: Features,
    clusters: Clusters,
    out: Out,
    seed: Seed = 0,
    window: Annotated[float, typer.Option(help="seconds that describe a moment; about a short action")] = 2.0,
) -> None:
    """Give every moment of every video a cluster, coherent in time; export takes the table with --detections.

    Example: feel-steps segment --videos videos.parquet --features features --clusters 10 --out segments.parquet
    """
    from feel_steps.explore.segment import segment as step
    from feel_steps.tables import tables
    from feel_steps.tables.snippets import load_snippets, recorded_family

    table = tables.read(videos, "videos")
    if recorded_family(table, features) == "network":
        warnings.warn(
            "the segmentation is made for features of movement (descriptors, pose); on a network's, as these are, it "
            "finds less: see docs/explanation/parts.md",
            stacklevel=1,
        )
    train = table["split"] == "train"
    found = step(load_snippets(table, features), table, clusters, seed, window=window, train=train)
    tables.write(out, "segments", found)
