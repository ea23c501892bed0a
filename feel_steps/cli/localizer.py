"""From pseudo-labels to detections: train, attend, localize."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from feel_steps.cli.app import app
from feel_steps.cli.options import Clusters, Device, Features, Parts, Seed, Threads, Videos, parse_range, parse_settings
from feel_steps.errors import InputError


@app.command()
def train(
    videos: Videos,
    features: Features,
    selected: Annotated[Path, typer.Option(help="selected table: the pseudo-labelled training set")],
    clusters: Clusters,
    out: Annotated[Path, typer.Option(help="weights, .safetensors")],
    out_training: Annotated[Path, typer.Option(help="training table: the loss over the steps")],
    localizer: Annotated[str, typer.Option(help="which network")] = "cola",
    settings: Annotated[str, typer.Option(help="the network's own settings, as JSON")] = "{}",
    seed: Seed = 0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="optimizer steps; not given: as many as --epochs take")
    ] = None,
    epochs: Annotated[float, typer.Option(min=0, help="passes over the selected videos")] = 24.0,
    least_steps: Annotated[int, typer.Option(min=1, help="however few videos there are")] = 300,
    most_steps: Annotated[int, typer.Option(min=1, help="however many videos there are")] = 3000,
    batch: Annotated[int, typer.Option(min=1, help="videos a step")] = 16,
    length: Annotated[int, typer.Option(min=2, help="snippets sampled from each video, with jitter")] = 750,
    learning_rate: Annotated[float, typer.Option(min=0)] = 1e-4,
    weight_decay: Annotated[float, typer.Option(min=0)] = 5e-4,
    precision: Annotated[
        str, typer.Option(help="auto | float32 | bfloat16 (auto: where the hardware has it)")
    ] = "auto",
    device: Device = "auto",
    threads: Threads = 2,
    parts: Parts = None,
) -> None:
    """Train a localizer on the selected videos, their clusters standing for labels.

    A training that was killed goes on from its last checkpoint, and ends with the same bytes.

    Example: feel-steps train --videos videos.parquet --features features --selected selected.parquet --clusters 20
    --out model.safetensors --out-training training.parquet
    """
    from feel_steps.localizers import weights
    from feel_steps.runtime.claim import claim
    from feel_steps.tables import tables
    from feel_steps.tables.snippets import load_snippets
    from feel_steps.train import train as step

    own = parse_settings(settings, "--settings")
    snippets = load_snippets(tables.read(videos, "videos"), features, "train")
    if parts:  # each part is a bag of its own
        from feel_steps.parts import split  # takes a quarter of a second, for SciPy

        snippets, _ = split(snippets, tables.read(parts, "parts"))
    chosen = tables.read(selected, "selected")
    place = {video_id: row for row, video_id in enumerate(snippets.video_ids)}
    if unknown := [video_id for video_id in chosen["video_id"] if video_id not in place]:
        raise InputError(f"{selected}: video '{unknown[0]}' is no training video of {videos}; run pool again")
    checkpoint = out.with_name(f".{out.name}.checkpoint")
    with claim(device) as where:
        model, table = step(
            snippets,
            [place[video_id] for video_id in chosen["video_id"]],  # type: ignore[arg-type]
            chosen["cluster"],
            clusters=clusters,
            localizer=localizer,
            settings=own,
            seed=seed,
            steps=steps,
            epochs=epochs,
            least_steps=least_steps,
            most_steps=most_steps,
            batch=batch,
            length=length,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            precision=precision,
            device=where,
            threads=threads,
            checkpoint=checkpoint,
        )
        tables.write(out_training, "training", table)
        taken = int(table["step"][-1])
        weights.save(model, out, {"length": length, "precision": precision, "seed": seed, "steps": taken})
    checkpoint.unlink(missing_ok=True)


@app.command()
def attend(
    videos: Videos,
    features: Features,
    model: Annotated[Path, typer.Option(help="trained weights, .safetensors")],
    out: Annotated[Path, typer.Option(help="attention table: actionness and activation of every snippet")],
    out_embeddings: Annotated[Path, typer.Option(help="embeddings table: one vector a video, and class probabilities")],
    length: Annotated[int, typer.Option(min=2, help="longer videos are sampled, see sampling")] = 750,
    sampling: Annotated[
        str, typer.Option(help="of longer videos: windows, side by side | length: at so many snippets, as published")
    ] = "windows",
    precision: Annotated[str, typer.Option(help="auto | float32 | bfloat16")] = "auto",
    device: Device = "auto",
    threads: Threads = 2,
    parts: Parts = None,
    out_part_embeddings: Annotated[
        Path | None, typer.Option(help="with --parts: embeddings table of the parts")
    ] = None,
) -> None:
    """Look at all videos, of training and test, with a trained localizer.

    Example: feel-steps attend --videos videos.parquet --features features --model model.safetensors
    --out attention.parquet --out-embeddings embeddings.parquet
    """
    from contextlib import nullcontext
    from json import dumps

    from feel_steps.attend import attend_in_blocks
    from feel_steps.localizers import weights
    from feel_steps.runtime.claim import claim
    from feel_steps.tables import tables
    from feel_steps.tables.snippets import load_snippets

    table = tables.read(videos, "videos")
    snippets = load_snippets(table, features)
    with (
        claim(device) as where,
        tables.write_in_pieces(out, "attention", {"settings": dumps({"sampling": sampling})}) as attention,
        tables.write_in_pieces(out_embeddings, "embeddings") as embeddings,
        tables.write_in_pieces(out_part_embeddings, "embeddings") if out_part_embeddings else nullcontext() as of_parts,
    ):
        how: dict[str, Any] = {"length": length, "sampling": sampling, "precision": precision}
        how |= {"device": where, "threads": threads}
        cuts = tables.read(parts, "parts") if parts else None
        for maps, vectors, part_vectors in attend_in_blocks(weights.load(model), snippets, table, cuts, **how):
            attention.add(maps)
            embeddings.add(vectors)
            if of_parts:
                of_parts.add(part_vectors)


@app.command()
def localize(
    videos: Videos,
    attention: Annotated[Path, typer.Option(help="attention table")],
    embeddings: Annotated[Path, typer.Option(help="embeddings table")],
    out: Annotated[Path, typer.Option(help="detections table")],
    out_moments: Annotated[
        Path | None, typer.Option(help="moments table: segments that do not overlap, chosen from the detections")
    ] = None,
    confidence: Annotated[
        Path | None, typer.Option(help="confidence table: how sure the clusters are, for the moments")
    ] = None,
    time: Annotated[
        str, typer.Option(help="moment of a snippet: centre of its window | start of its stride (published)")
    ] = "centre",
    signal: Annotated[
        str, typer.Option(help="what segments are cut from: both, activation and actionness | activation (published)")
    ] = "both",
    class_threshold: Annotated[float, typer.Option(help="classes scored below it are not looked for")] = 0.2,
    cas_thresholds: Annotated[str, typer.Option(help="of the signal: start,stop,step")] = "0,0.225,0.025",
    actionness_thresholds: Annotated[str, typer.Option(help="start,stop,step")] = "0.1,0.9,0.025",
    score: Annotated[
        str, typer.Option(help="of contrast and class score: product | sum, contrast + class-weight x class score")
    ] = "product",
    class_weight: Annotated[float, typer.Option(min=0, help="score sum: weight of the class score")] = 0.2,
    nms: Annotated[float, typer.Option(help="without soft-NMS: tIoU above which the weaker detection goes")] = 0.6,
    soft_nms: Annotated[float, typer.Option(min=0, help="width of soft-NMS; 0: plain NMS (published)")] = 0.3,
    moments: Annotated[
        str,
        typer.Option(help="what makes a moment, as JSON: overlap (all | cluster), shortest and gap, in seconds"),
    ] = "{}",
) -> None:
    """Turn attention into detections: proposals scored by outer-inner contrast, then (soft) NMS.

    Moments are what a person is shown: the strongest detections, none of which overlap.

    Example: feel-steps localize --videos videos.parquet --attention attention.parquet --embeddings embeddings.parquet
    --out detections.parquet
    """
    from contextlib import nullcontext
    from dataclasses import asdict
    from json import dumps

    from feel_steps.explore.moments import Trust, find_moments, read_rule
    from feel_steps.localize import Settings, localize_in_pieces
    from feel_steps.tables import tables

    settings: dict[str, Any] = {
        "time": time,
        "signal": signal,
        "class_threshold": class_threshold,
        "cas_thresholds": parse_range(cas_thresholds, "--cas-thresholds"),
        "actionness_thresholds": parse_range(actionness_thresholds, "--actionness-thresholds"),
        "score": score,
        "class_weight": class_weight,
        "nms": nms,
        "soft_nms": soft_nms,
    }
    rule = read_rule(parse_settings(moments, "--moments"))
    trust = Trust(tables.read(confidence, "confidence") if confidence else None)
    pieces = localize_in_pieces(
        tables.stream(attention, "attention", ["video_id", "actionness", "activation"]),
        tables.read(embeddings, "embeddings", ["video_id", "score"]),
        tables.read(videos, "videos", ["video_id", "fps", "snippet_stride", "snippet_window"]),
        Settings(**settings),
    )
    about, about_moments = {"settings": dumps(settings)}, {"settings": dumps(asdict(rule))}
    with (
        tables.write_in_pieces(out, "detections", about) as detections,
        tables.write_in_pieces(out_moments, "moments", about_moments) if out_moments else nullcontext() as shown,
    ):
        for found in pieces:
            detections.add(found)
            if shown:
                shown.add(find_moments(found, rule, trust))
