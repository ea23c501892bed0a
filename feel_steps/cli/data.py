"""From videos or features of one's own to snippet features: demo, import, extract, inspect, index."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from feel_steps.cli.app import app
from feel_steps.cli.options import Device, Out, Seed, Threads, Videos, parse_settings
from feel_steps.errors import InputError

if TYPE_CHECKING:
    from feel_steps.tables.kinds import Columns


@app.command()
def demo(
    out: Out,
    train: Annotated[int, typer.Option(min=2, help="training videos")] = 40,
    test: Annotated[int, typer.Option(min=0, help="test videos")] = 20,
    seed: Seed = 0,
    workers: Annotated[int, typer.Option(min=1, help="processes that render")] = 1,
) -> None:
    """Render the demo: videos of figures performing actions, with exact annotations.

    Example: feel-steps demo --out demo --train 40 --test 20
    """
    from feel_steps.demo.render import render

    render(out, train=train, test=test, seed=seed, workers=workers)


@app.command("import")
def import_(
    layout: Annotated[
        str, typer.Option(help="videos: video files | features: an array a video | cola: CoLA's folders")
    ],
    path: Annotated[Path, typer.Option(help="the folder")],
    out: Annotated[Path, typer.Option(help="manifest table")],
    out_unreadable: Annotated[Path, typer.Option(help="table of videos left out, with reasons")],
    split: Annotated[
        Path | None, typer.Option(help="CSV video_id,split; without it every video is for training")
    ] = None,
    parts: Annotated[int, typer.Option(min=1, help="feature files to spread the videos over")] = 1,
    on_bad_video: Annotated[Literal["fail", "skip"], typer.Option(help="stop at one, or leave it out")] = "fail",
    fps: Annotated[float, typer.Option(min=0.01, help="frame rate of the snippets")] = 25.0,
    window: Annotated[int, typer.Option(min=1, help="frames of a snippet; a shorter video is a bad one")] = 16,
    stride: Annotated[int, typer.Option(help="layouts features and cola: frames from one snippet to the next")] = 16,
    links: Annotated[str, typer.Option(help="where links in the folder may lead: inside | anywhere")] = "inside",
    streams: Annotated[str, typer.Option(help="layout features: sub-folders to join, such as rgb,flow")] = "",
    key: Annotated[str | None, typer.Option(help="layout features: name of the array in files of several")] = None,
    transposed: Annotated[bool, typer.Option(help="layout features: files hold [dimension, snippets]")] = False,
    videos: Annotated[Path | None, typer.Option(help="layout features: folder of the video files")] = None,
) -> None:
    """List the videos to process, each checked before any work starts.

    Example: feel-steps import --layout videos --path clips --out manifest.parquet --out-unreadable unreadable.parquet
    """
    from feel_steps.dataset.arrays import import_arrays
    from feel_steps.dataset.cola import import_cola
    from feel_steps.dataset.folder import import_videos
    from feel_steps.tables import tables

    skipped: Columns = {"video_id": [], "path": [], "reason": []}  # type: ignore[dict-item]
    if layout == "videos":
        shortest = (window - 0.5) / fps  # extraction rounds to whole frames
        manifest, skipped = import_videos(
            path, split=split, parts=parts, min_duration=shortest, on_bad_video=on_bad_video, links=links
        )
    elif layout == "features":
        manifest, skipped = import_arrays(
            path,
            fps=fps,
            window=window,
            stride=stride,
            streams=streams.split(",") if streams else (),
            key=key,
            transposed=transposed,
            videos=videos,
            split=split,
            parts=parts,
            on_bad_video=on_bad_video,
            links=links,
        )
    elif layout == "cola":
        if split:
            raise InputError("--split is for other layouts; layout cola has its splits in the folder")
        manifest = import_cola(path, fps=fps, window=window, stride=stride, parts=parts, links=links)
    else:
        raise InputError(f"--layout {layout}: expected videos, features or cola")
    tables.write(out, "manifest", manifest)
    for video_path, reason in zip(skipped["path"], skipped["reason"], strict=True):
        print(f"warning: skipped {video_path}: {reason}", file=sys.stderr)
    tables.write(out_unreadable, "skipped", skipped)


@app.command()
def import_annotations(
    manifest: Annotated[Path, typer.Option(help="manifest table")],
    out: Out,
    annotations: Annotated[
        Path | None,
        typer.Option(help="ActivityNet-style JSON, or CSV video_id,label,t_start,t_end; none: an empty table"),
    ] = None,
    unreadable: Annotated[Path | None, typer.Option(help="table of videos left out; they may be annotated")] = None,
    out_dropped: Annotated[Path | None, typer.Option(help="table of segments that do not fit their videos")] = None,
    strict: Annotated[bool, typer.Option(help="refuse segments that do not fit instead of clipping them")] = False,
) -> None:
    """Read ground truth, which evaluation, report and studies alone will see.

    Example: feel-steps import-annotations --manifest manifest.parquet --annotations gt.json --out annotations.parquet
    """
    from feel_steps.dataset.annotations import read_annotations
    from feel_steps.tables import tables

    skipped = tables.read(unreadable, "skipped")["video_id"].tolist() if unreadable else ()
    truth, dropped = read_annotations(annotations, tables.read(manifest, "manifest"), skipped, strict=strict)
    tables.write(out, "annotations", truth)
    if out_dropped:
        tables.write(out_dropped, "dropped", dropped)


@app.command()
def extract(
    manifest: Annotated[Path, typer.Option(help="manifest table")],
    part: Annotated[int, typer.Option(min=0, help="which part of it")],
    out: Annotated[Path, typer.Option(help="features table")],
    extractor: Annotated[
        str, typer.Option(help="a name, or package.module:Class; cola, arrays: read --root")
    ] = "descriptors",
    root: Annotated[Path | None, typer.Option(help="extractors cola and arrays: the folder to read")] = None,
    fps: Annotated[float, typer.Option(min=0.01, help="frames a second")] = 25.0,
    window: Annotated[int, typer.Option(min=1, help="frames of a snippet")] = 16,
    stride: Annotated[int, typer.Option(min=1, help="frames from one snippet to the next")] = 16,
    on_bad_video: Annotated[Literal["fail", "skip"], typer.Option(help="stop at one, or leave it out")] = "fail",
    settings: Annotated[str, typer.Option(help="the extractor's own settings, as JSON")] = "{}",
    cache: Annotated[Path | None, typer.Option(help="folder that keeps features for the next extraction")] = None,
    device: Device = "auto",
    threads: Threads = 1,
) -> None:
    """Extract the snippet features of one part of the videos.

    Example: feel-steps extract --manifest manifest.parquet --part 0 --fps 15 --stride 8
    --settings '{"flow": "dis"}' --out features/part-0000.parquet
    """
    from feel_steps.features.extract import extract_part, takes
    from feel_steps.runtime.claim import claim
    from feel_steps.tables import tables

    with claim(device if takes(extractor, "device") else "cpu") as where:
        extract_part(
            tables.read(manifest, "manifest"),
            part,
            out,
            extractor=extractor,
            root=root,
            fps=fps,
            window=window,
            stride=stride,
            on_bad_video=on_bad_video,
            cache=cache,
            device=where,
            threads=threads,
            **parse_settings(settings, "--settings"),
        )


@app.command()
def inspect(
    features: Annotated[Path, typer.Argument(help="features table, a folder of them, or a folder of arrays")],
    fps: Annotated[float, typer.Option(min=0.01, help="arrays: frame rate that they should have")] = 25.0,
    window: Annotated[int, typer.Option(min=1, help="arrays: frames of a snippet")] = 16,
    stride: Annotated[int, typer.Option(min=1, help="arrays: frames from one snippet to the next")] = 16,
    videos: Annotated[
        Path | None, typer.Option(help="arrays: the video files, or a JSON that says how long they are")
    ] = None,
    key: Annotated[str | None, typer.Option(help="arrays: name of the array in files of several")] = None,
) -> None:
    """Say how features were made, and what arrays of unknown origin most likely are, with a config that reads them.

    Example: feel-steps inspect npy --videos videos
    """
    from feel_steps.explore.inspect import inspect as step

    typer.echo(step(features, fps=fps, window=window, stride=stride, videos=videos, key=key))


@app.command()
def index(
    parts: Annotated[list[Path], typer.Argument(help="features tables")],
    manifest: Annotated[Path, typer.Option(help="manifest table")],
    unreadable: Annotated[Path, typer.Option(help="table of videos that import left out")],
    out: Annotated[Path, typer.Option(help="videos table")],
    out_skipped: Annotated[Path, typer.Option(help="table of all videos left out, with reasons")],
) -> None:
    """List the videos that have features, and how their snippets lie in time.

    Example: feel-steps index --manifest manifest.parquet --unreadable unreadable.parquet --out videos.parquet
    --out-skipped skipped.parquet features/part-*.parquet
    """
    from feel_steps.features.index import index as step
    from feel_steps.tables import tables

    videos, skipped = step(tables.read(manifest, "manifest"), tables.read(unreadable, "skipped"), parts)
    tables.write(out, "videos", videos)
    tables.write(out_skipped, "skipped", skipped)


@app.command()
def scale(
    parts: Annotated[list[Path], typer.Argument(help="features tables, as extracted")],
    videos: Videos,
    out: Annotated[Path, typer.Option(help="folder of the scaled features tables, of the same names")],
    out_scaling: Annotated[Path, typer.Option(help="scaling table, which scales the features of new videos too")],
    weights: Annotated[str, typer.Option(help="factors on the weights of streams or extractors, as JSON")] = "{}",
) -> None:
    """Bring the streams of features to one scale, fitted on the training videos.

    Example: feel-steps scale --videos videos.parquet --out features --out-scaling scaling.parquet raw/part-*.parquet
    """
    from feel_steps.features.scaling import fit, scale_part
    from feel_steps.tables import tables

    known = tables.read(videos, "videos")
    training = known["video_id"][known["split"] == "train"]
    scaling, components = fit(parts, training, weights=parse_settings(weights, "--weights"))
    tables.write(out_scaling, "scaling", scaling)
    for part in parts:
        scale_part(part, out / part.name, scaling, components)
