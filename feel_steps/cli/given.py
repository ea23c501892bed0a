"""What a person says about videos and clusters: import-labels, constrain, correct."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated

import typer

from feel_steps.cli.app import app
from feel_steps.cli.options import Clusters, Out, Videos, parse_settings

CorrectionsFile = Annotated[Path, typer.Option(help="corrections.yaml, as the page saves it")]


@app.command()
def import_labels(
    manifest: Annotated[Path, typer.Option(help="manifest table")],
    labels: Annotated[Path, typer.Option(help="CSV video_id,label; or segments, as annotations are given")],
    clusters: Clusters,
    out: Out,
) -> None:
    """Read labels of some videos, which the loop is to keep.

    Example: feel-steps import-labels --manifest manifest.parquet --labels labels.csv --clusters 6 --out labels.parquet
    """
    from feel_steps.dataset.labels import read_labels
    from feel_steps.tables import tables

    videos = tables.read(manifest, "manifest")["video_id"].tolist()
    tables.write(out, "given", read_labels(labels, videos, clusters))


@app.command()
def constrain(
    corrections: CorrectionsFile,
    videos: Videos,
    centres: Annotated[Path, typer.Option(help="centres of the clusters that were corrected")],
    out: Out,
) -> None:
    """Turn moves, ignored videos and marked moments into what later iterations must obey.

    Example: feel-steps constrain --corrections corrections.yaml --videos videos.parquet --centres centres.parquet
    --out constraints.parquet
    """
    from feel_steps.explore.corrections import list_given, load_corrections
    from feel_steps.tables import tables

    given = load_corrections(corrections, tables.read(videos, "videos"), centres)
    tables.write(out, "given", list_given(given))


@app.command()
def correct(
    moments: Annotated[Path, typer.Option(help="moments table of the iteration that is shown")],
    videos: Videos,
    refined: Annotated[Path, typer.Option(help="its refined table")],
    embeddings: Annotated[Path, typer.Option(help="its embeddings table")],
    out: Annotated[Path, typer.Option(help="moments table, corrected")],
    out_names: Annotated[Path, typer.Option(help="names table: under which number and name a cluster is shown")],
    out_given: Annotated[Path, typer.Option(help="table of what was said about videos")],
    corrections: Annotated[Path | None, typer.Option(help="corrections.yaml; none: nothing is corrected")] = None,
    centres: Annotated[
        Path | None,
        typer.Option(help="centres of the corrected clusters, in the folder of their iteration"),
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="labels table, whose names the clusters carry")] = None,
) -> None:
    """Apply a person's corrections to what is shown: names, merges, moved and ignored videos, marked moments.

    Example: feel-steps correct --moments moments.parquet --videos videos.parquet --refined refined.parquet
    --embeddings embeddings.parquet --corrections corrections.yaml --centres centres.parquet --out corrected.parquet
    --out-names names.parquet --out-given given.parquet
    """
    from feel_steps.explore.corrections import (
        correct_moments,
        list_given,
        list_unmatched,
        load_corrections,
        name_clusters,
    )
    from feel_steps.explore.moments import read_rule
    from feel_steps.tables import tables
    from feel_steps.tables.run import assign

    table = tables.read(videos, "videos")
    video_ids = table["video_id"]
    scores, found = tables.read(embeddings, "embeddings", ["video_id", "score"]), tables.read(moments, "moments")
    settings, given = tables.read_metadata(moments).get("settings", "{}"), None
    if corrections and centres:
        given = load_corrections(corrections, table, centres)
        before = tables.read(centres.with_name("embeddings.parquet"), "embeddings", ["video_id", "score"])
        rule = read_rule(parse_settings(settings, f"{moments}"))
        assigned, former = (
            dict(zip(video_ids, assign(video_ids, tables.read(file, "refined"), own).tolist(), strict=True))
            for file, own in ((refined, scores), (centres.with_name("refined.parquet"), before))
        )
        origin = tables.read(centres.with_name("moments.parquet"), "moments")
        if unmatched := list_unmatched(given, [(origin, former), (found, assigned)], former, rule):
            mark, number = unmatched[0], f"{len(unmatched)} of {len(given.moments)}"
            warnings.warn(
                f"{corrections}: marks that fit no moment: {number}, the first in '{mark.video_id}', "
                f"cluster {mark.cluster}, {mark.t_start:g} to {mark.t_end:g} s; unless you wrote them, they are of "
                "another page",
                stacklevel=1,
            )
        found = correct_moments(found, given, assigned, rule, former)
    tables.write(out, "moments", found, {"settings": settings})
    tables.write(out_given, "given", list_given(given))
    labelled = tables.read(labels, "given") if labels else None
    tables.write(out_names, "names", name_clusters(scores["score"].shape[1], given, labelled))
