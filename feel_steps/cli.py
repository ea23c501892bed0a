"""The command line: one thin command a step. It reads tables, calls the step's function and writes tables.

Steps are imported inside their commands, so that ``--help`` answers at once and no command loads what it does not need.
"""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from feel_steps.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from feel_steps.artifacts import Columns


class Steps(typer.Typer):
    """An app whose commands record what they are and read, so that artifacts say where they come from."""

    def command(  # type: ignore[override]
        self, name: str | None = None, **settings: Any
    ) -> Callable[[Callable], Callable]:
        """Register a function as a command; called as a function, it records nothing."""
        register = super().command(name, **settings)

        def record(function: Callable) -> Callable:
            @wraps(function)
            def step(**options: Any) -> None:
                from feel_steps import provenance

                with provenance.recording(name or function.__name__.replace("_", "-"), options):
                    function(**options)

            register(step)
            return function

        return record


app = Steps(
    help="Find which actions happen in untrimmed videos, and when, without a label: one command a step.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def main() -> None:
    """Run the command line; what a user can mend is said in one line, without a traceback."""
    warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("error: terminated"))  # in good order: no half file stays
    try:
        app()
    except InputError as error:
        sys.exit(f"error: {error}")
    except MemoryError as error:
        sys.exit(f"error: out of memory ({error or 'no details'}); give the job more and run the same command again")
    except OSError as error:  # no space, no permission, no such folder
        sys.exit(f"error: {error.filename or 'file'}: {error.strerror or error}")


# Options that several commands share.
Videos = Annotated[Path, typer.Option(help="videos table")]
Features = Annotated[Path, typer.Option(help="folder of the feature parts")]
Pooled = Annotated[Path, typer.Option(help="pooled table: one vector a video")]
Clusters = Annotated[int, typer.Option(min=1, help="number of clusters, K")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1)]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads; the same number gives the same bytes")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")]
Usage = Annotated[Path | None, typer.Option(help="where to write what was used of a GPU, if one was")]
Out = Annotated[Path, typer.Option(help="where the result goes")]


def _numbers(text: str, option: str) -> list[float]:
    """Parse ``0.1,0.2,0.3``."""
    try:
        return [float(item) for item in text.split(",")]
    except ValueError:
        raise InputError(f"{option} {text!r}: expected numbers with commas between them, such as 0.1,0.2,0.3") from None


def _range(text: str, option: str) -> tuple[float, float, float]:
    """Parse ``start,stop,step``."""
    values = _numbers(text, option)
    if len(values) != 3:
        raise InputError(f"{option} {text!r}: expected start,stop,step")
    return values[0], values[1], values[2]


def _settings(text: str, option: str) -> dict[str, Any]:
    """Parse a JSON object."""
    import json

    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{option} {text!r}: not JSON ({error})") from None
    if not isinstance(values, dict):
        raise InputError(f"{option} {text!r}: expected a JSON object, {{}}")
    return values


def _aligned(table: Columns, video_ids: np.ndarray, path: Path, other: Path) -> Columns:
    """Rows of a one-row-a-video table in the order of ``video_ids``."""
    place = {video_id: row for row, video_id in enumerate(table["video_id"])}
    if missing := [video_id for video_id in video_ids if video_id not in place]:
        raise InputError(f"{path}: video '{missing[0]}' of {other} is not in it; run the step that wrote it again")
    rows = [place[video_id] for video_id in video_ids]
    return {name: values[rows] for name, values in table.items()}


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
    from feel_steps.dataset.demo import render

    render(out, train=train, test=test, seed=seed, workers=workers)


@app.command("import")
def import_(
    layout: Annotated[str, typer.Option(help="videos: a folder of video files | cola: CoLA's folders of features")],
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
    stride: Annotated[int, typer.Option(help="layout cola: frames from one snippet to the next")] = 16,
    links: Annotated[str, typer.Option(help="where links in the folder may lead: inside | anywhere")] = "inside",
) -> None:
    """List the videos to process, each checked before any work starts.

    Example: feel-steps import --layout videos --path clips --out manifest.parquet --out-unreadable unreadable.parquet
    """
    from feel_steps import artifacts
    from feel_steps.dataset.layouts import import_cola, import_videos

    skipped: Columns = {"video_id": [], "path": [], "reason": []}  # type: ignore[dict-item]
    if layout == "videos":
        shortest = (window - 0.5) / fps  # extraction rounds to whole frames
        manifest, skipped = import_videos(
            path, split=split, parts=parts, min_duration=shortest, on_bad_video=on_bad_video, links=links
        )
    elif layout == "cola":
        if split:
            raise InputError("--split is for layout videos; layout cola has its splits in the folder")
        manifest = import_cola(path, fps=fps, window=window, stride=stride, parts=parts, links=links)
    else:
        raise InputError(f"--layout {layout}: expected videos or cola")
    artifacts.write(out, "manifest", manifest)
    for video_path, reason in zip(skipped["path"], skipped["reason"], strict=True):
        print(f"warning: skipped {video_path}: {reason}", file=sys.stderr)
    artifacts.write(out_unreadable, "skipped", skipped)


@app.command()
def import_annotations(
    manifest: Annotated[Path, typer.Option(help="manifest table")],
    out: Out,
    annotations: Annotated[
        Path | None,
        typer.Option(help="ActivityNet-style JSON, or CSV video_id,label,t_start,t_end; none: an empty table"),
    ] = None,
    unreadable: Annotated[Path | None, typer.Option(help="table of videos left out; they may be annotated")] = None,
) -> None:
    """Read ground truth, which evaluation, report and studies alone will see.

    Example: feel-steps import-annotations --manifest manifest.parquet --annotations gt.json --out annotations.parquet
    """
    from feel_steps import artifacts
    from feel_steps.dataset.layouts import read_annotations

    skipped = artifacts.read(unreadable, "skipped")["video_id"].tolist() if unreadable else ()
    artifacts.write(out, "annotations", read_annotations(annotations, artifacts.read(manifest, "manifest"), skipped))


@app.command()
def extract(
    manifest: Annotated[Path, typer.Option(help="manifest table")],
    part: Annotated[int, typer.Option(min=0, help="which part of it")],
    out: Annotated[Path, typer.Option(help="features table")],
    extractor: Annotated[str, typer.Option(help="descriptors | i3d | cola: read CoLA's folders")] = "descriptors",
    root: Annotated[Path | None, typer.Option(help="extractor cola: the folder that holds features/")] = None,
    fps: Annotated[float, typer.Option(min=0.01, help="frames a second")] = 25.0,
    window: Annotated[int, typer.Option(min=1, help="frames of a snippet")] = 16,
    stride: Annotated[int, typer.Option(min=1, help="frames from one snippet to the next")] = 16,
    on_bad_video: Annotated[Literal["fail", "skip"], typer.Option(help="stop at one, or leave it out")] = "fail",
    settings: Annotated[str, typer.Option(help="the extractor's own settings, as JSON")] = "{}",
    cache: Annotated[Path | None, typer.Option(help="folder that keeps features for the next extraction")] = None,
    device: Device = "auto",
    usage: Usage = None,
    threads: Threads = 1,
) -> None:
    """Extract the snippet features of one part of the videos.

    Example: feel-steps extract --manifest manifest.parquet --part 0 --fps 15 --stride 8
    --settings '{"flow": "dis"}' --out features/part-0000.parquet
    """
    from feel_steps import artifacts, gpus
    from feel_steps.features.extract import extract_part, takes

    with gpus.claim(device if takes(extractor, "device") else "cpu", usage) as where:
        extract_part(
            artifacts.read(manifest, "manifest"),
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
            **_settings(settings, "--settings"),
        )


@app.command()
def inspect(
    features: Annotated[Path, typer.Argument(help="features table, a folder of them, or CoLA's folders")],
    fps: Annotated[float, typer.Option(min=0.01, help="CoLA's folders: frame rate they should have")] = 25.0,
    window: Annotated[int, typer.Option(min=1, help="CoLA's folders: frames of a snippet")] = 16,
    stride: Annotated[int, typer.Option(min=1, help="CoLA's folders: frames from one snippet to the next")] = 16,
    videos: Annotated[
        Path | None, typer.Option(help="CoLA's folders: the video files, or a JSON that says how long they are")
    ] = None,
) -> None:
    """Say how features were made, and what features of unknown origin most likely are.

    Example: feel-steps inspect data/THUMOS14 --videos data/THUMOS14/videos
    """
    from feel_steps.inspect_features import inspect as step

    typer.echo(step(features, fps=fps, window=window, stride=stride, videos=videos))


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
    from feel_steps import artifacts
    from feel_steps.dataset.videos import index as step

    videos, skipped = step(artifacts.read(manifest, "manifest"), artifacts.read(unreadable, "skipped"), parts)
    artifacts.write(out, "videos", videos)
    artifacts.write(out_skipped, "skipped", skipped)


@app.command()
def pool(
    videos: Videos,
    features: Features,
    out: Out,
    method: Annotated[str, typer.Option(help="mean | actionness | easy-action | adapted")] = "mean",
    normalize: Annotated[bool, typer.Option(help="scale each vector to length 1")] = False,
    attention: Annotated[Path | None, typer.Option(help="attention table of the iteration before")] = None,
    embeddings: Annotated[Path | None, typer.Option(help="embeddings table of the iteration before")] = None,
) -> None:
    """Make one vector of each training video from its snippets.

    Example: feel-steps pool --videos videos.parquet --features features --out pooled.parquet
    """
    from json import dumps

    from feel_steps import artifacts
    from feel_steps.pool import COLUMNS
    from feel_steps.pool import pool as step
    from feel_steps.snippets import load_snippets

    snippets = load_snippets(artifacts.read(videos, "videos"), features, "train")
    maps = pooled_before = None
    if attention and method == "actionness":
        maps = artifacts.read(attention, "attention", ["video_id", "snippet", "actionness"])
    if embeddings and method in COLUMNS:
        pooled_before = artifacts.read(embeddings, "embeddings")
    vectors = step(snippets, method=method, attention=maps, embeddings=pooled_before, normalize=normalize)
    settings = {"method": method, "normalize": normalize}
    artifacts.write(out, "pooled", {"video_id": snippets.video_ids, "feature": vectors}, {"settings": dumps(settings)})


@app.command()
def cluster(
    pooled: Pooled,
    clusters: Clusters,
    seed: Seed,
    out_clusters: Annotated[Path, typer.Option(help="clusters table: video, cluster, distance")],
    out_centres: Annotated[Path, typer.Option(help="centres table")],
    n_init: Annotated[int, typer.Option(min=1, help="starts, of which the best is kept")] = 10,
) -> None:
    """Cluster the videos by k-means, Euclidean.

    Example: feel-steps cluster --pooled pooled.parquet --clusters 20 --seed 0
    --out-clusters clusters.parquet --out-centres centres.parquet
    """
    import numpy as np

    from feel_steps import artifacts
    from feel_steps.cluster import cluster as step

    table = artifacts.read(pooled, "pooled")
    labels, distances, centres = step(table["feature"], clusters, seed, n_init=n_init)
    rows = {"video_id": table["video_id"], "cluster": labels, "distance": distances}
    artifacts.write(out_clusters, "clusters", rows)
    artifacts.write(out_centres, "centres", {"cluster": np.arange(len(centres)), "feature": centres})


@app.command()
def refine(
    pooled: Pooled,
    clusters: Annotated[Path, typer.Option(help="clusters table")],
    centres: Annotated[Path, typer.Option(help="centres table")],
    out: Annotated[Path, typer.Option(help="refined table")],
    method: Annotated[str, typer.Option(help="cci | none: keep the k-means clusters")] = "cci",
    k1: Annotated[int, typer.Option(min=1, help="neighbours that may be reciprocal")] = 20,
    k2: Annotated[int, typer.Option(min=1, help="neighbours averaged in query expansion; 1: off")] = 6,
    lambda_: Annotated[float, typer.Option("--lambda", help="weight of the Euclidean part, 0 to 1")] = 0.3,
    device: Device = "cpu",
) -> None:
    """Assign every video to the centre that is nearest in the feature-robust Jaccard distance (CCI).

    Example: feel-steps refine --pooled pooled.parquet --clusters c.parquet --centres m.parquet --out refined.parquet
    """
    import numpy as np

    from feel_steps import artifacts, gpus

    table, points = artifacts.read(pooled, "pooled"), artifacts.read(centres, "centres")["feature"]
    if table["feature"].shape[1] != points.shape[1]:
        raise InputError(
            f"{centres}: centres of dimension {points.shape[1]}, but {pooled} has {table['feature'].shape[1]}; "
            "cluster again"
        )
    own = _aligned(artifacts.read(clusters, "clusters"), table["video_id"], clusters, pooled)
    if not np.isin(own["cluster"], np.arange(len(points))).all():
        raise InputError(f"{clusters}: column 'cluster' names clusters that {centres} does not have; cluster again")
    if method == "cci":
        from feel_steps.jaccard import refine as step

        with gpus.claim(device) as where:
            columns = step(table["feature"], points, k1=k1, k2=k2, lambda_value=lambda_, device=where)
    elif method == "none":
        from feel_steps.cluster import keep_clusters

        columns = keep_clusters(table["feature"], points, own["cluster"])
    else:
        raise InputError(f"--method {method}: expected cci or none")
    artifacts.write(out, "refined", {"video_id": table["video_id"], **columns})


@app.command()
def select(
    refined: Annotated[Path, typer.Option(help="refined table")],
    rate: Annotated[float, typer.Option(help="share of each cluster that is kept, above 0, up to 1")],
    out: Out,
    second: Annotated[float, typer.Option(help="share of these that get the runner-up as a second label")] = 0.0,
) -> None:
    """Keep the most reliable share of each cluster as pseudo-labelled training set (IIS).

    Example: feel-steps select --refined refined.parquet --rate 0.25 --out selected.parquet
    """
    from feel_steps import artifacts
    from feel_steps.selection import second_labels
    from feel_steps.selection import select as step

    table = artifacts.read(refined, "refined")
    rows, rank = step(table["cluster"], table["distance"], rate)
    kept: dict[str, Any] = {name: table[name][rows] for name in ("video_id", "cluster", "distance")}
    kept["rank"] = rank
    if second:
        if "second" not in table:
            raise InputError(f"{refined}: column 'second' is missing, the runner-up of each video; refine again")
        runner_up, distance, margin = (table[name][rows] for name in ("second", "distance", "margin"))
        kept["second"] = second_labels(runner_up, distance, margin, second)
    artifacts.write(out, "selected", kept)


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
    steps: Annotated[int, typer.Option(min=1, help="optimizer steps")] = 6000,
    batch: Annotated[int, typer.Option(min=1, help="videos a step")] = 16,
    length: Annotated[int, typer.Option(min=2, help="snippets sampled from each video, with jitter")] = 750,
    learning_rate: float = 1e-4,
    weight_decay: float = 5e-4,
    precision: Annotated[
        str, typer.Option(help="auto | float32 | bfloat16 (auto: where the hardware has it)")
    ] = "auto",
    device: Device = "auto",
    usage: Usage = None,
    threads: Threads = 2,
) -> None:
    """Train a localizer on the selected videos, their clusters standing for labels.

    A training that was killed goes on from its last checkpoint, and ends with the same bytes.

    Example: feel-steps train --videos videos.parquet --features features --selected selected.parquet --clusters 20
    --out model.safetensors --out-training training.parquet
    """
    from feel_steps import artifacts, gpus
    from feel_steps.localizers import weights
    from feel_steps.snippets import load_snippets
    from feel_steps.train import train as step

    own = _settings(settings, "--settings")
    snippets = load_snippets(artifacts.read(videos, "videos"), features, "train")
    chosen = artifacts.read(selected, "selected")
    place = {video_id: row for row, video_id in enumerate(snippets.video_ids)}
    if unknown := [video_id for video_id in chosen["video_id"] if video_id not in place]:
        raise InputError(f"{selected}: video '{unknown[0]}' is no training video of {videos}; run pool again")
    checkpoint = out.with_name(f".{out.name}.checkpoint")
    with gpus.claim(device, usage) as where:
        model, table = step(
            snippets,
            [place[video_id] for video_id in chosen["video_id"]],  # type: ignore[arg-type]
            chosen["cluster"],
            clusters=clusters,
            second=chosen.get("second"),
            localizer=localizer,
            settings=own,
            seed=seed,
            steps=steps,
            batch=batch,
            length=length,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            precision=precision,
            device=where,
            threads=threads,
            checkpoint=checkpoint,
        )
        artifacts.write(out_training, "training", table)
        weights.save(model, out, {"length": length, "precision": precision, "seed": seed, "steps": steps})
    checkpoint.unlink(missing_ok=True)


@app.command()
def attend(
    videos: Videos,
    features: Features,
    model: Annotated[Path, typer.Option(help="trained weights, .safetensors")],
    out: Annotated[Path, typer.Option(help="attention table: actionness and activation of every snippet")],
    out_embeddings: Annotated[Path, typer.Option(help="embeddings table: one vector a video, and class probabilities")],
    length: Annotated[int, typer.Option(min=2, help="longer videos are sampled at so many snippets")] = 750,
    precision: Annotated[str, typer.Option(help="auto | float32 | bfloat16")] = "auto",
    device: Device = "auto",
    usage: Usage = None,
    threads: Threads = 2,
) -> None:
    """Look at all videos, of training and test, with a trained localizer.

    Example: feel-steps attend --videos videos.parquet --features features --model model.safetensors
    --out attention.parquet --out-embeddings embeddings.parquet
    """
    from feel_steps import artifacts, gpus
    from feel_steps.attend import attend as step
    from feel_steps.localizers import weights
    from feel_steps.snippets import load_snippets

    table = artifacts.read(videos, "videos")
    snippets = load_snippets(table, features)
    with gpus.claim(device, usage) as where:
        attention, embeddings = step(
            weights.load(model),
            snippets,
            table,
            length=length,
            precision=precision,
            device=where,
            threads=threads,
        )
    artifacts.write(out, "attention", attention)
    artifacts.write(out_embeddings, "embeddings", embeddings)


@app.command()
def localize(
    videos: Videos,
    attention: Annotated[Path, typer.Option(help="attention table")],
    embeddings: Annotated[Path, typer.Option(help="embeddings table")],
    out: Annotated[Path, typer.Option(help="detections table")],
    class_threshold: Annotated[float, typer.Option(help="classes scored below it are not looked for")] = 0.2,
    cas_thresholds: Annotated[str, typer.Option(help="of activation: start,stop,step")] = "0,0.225,0.025",
    actionness_thresholds: Annotated[str, typer.Option(help="start,stop,step")] = "0.1,0.9,0.025",
    nms: Annotated[float, typer.Option(help="tIoU above which the weaker of two detections goes")] = 0.6,
    soft_nms: Annotated[float | None, typer.Option(help="soft-NMS instead: width of the Gaussian")] = None,
) -> None:
    """Turn attention into detections: proposals scored by outer-inner contrast, then NMS.

    Example: feel-steps localize --videos videos.parquet --attention attention.parquet --embeddings embeddings.parquet
    --out detections.parquet
    """
    from json import dumps

    from feel_steps import artifacts
    from feel_steps.localize import localize as step

    settings: dict[str, Any] = {
        "class_threshold": class_threshold,
        "cas_thresholds": _range(cas_thresholds, "--cas-thresholds"),
        "actionness_thresholds": _range(actionness_thresholds, "--actionness-thresholds"),
        "nms": nms,
        "soft_nms": soft_nms,
    }
    detections = step(
        artifacts.read(attention, "attention"),
        artifacts.read(embeddings, "embeddings"),
        artifacts.read(videos, "videos"),
        **settings,
    )
    artifacts.write(out, "detections", detections, {"settings": dumps(settings)})


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
    from feel_steps import artifacts
    from feel_steps.evaluate import evaluate as step

    rows, mapping = step(
        artifacts.read(annotations, "annotations"),
        artifacts.read(videos, "videos"),
        artifacts.read(clusters, "clusters"),
        artifacts.read(refined, "refined"),
        artifacts.read(selected, "selected"),
        artifacts.read(detections, "detections"),
        artifacts.read(previous, "refined") if previous else None,
        tiou=_numbers(tiou, "--tiou"),
        pooled=artifacts.read(pooled, "pooled"),
    )
    size = len(rows["metric"])
    about = {"variant": [variant] * size, "seed": [seed] * size, "iteration": [iteration] * size}
    artifacts.write(out, "metrics", about | rows)
    artifacts.write(out_mapping, "mapping", mapping)


@app.command()
def gather(tables: Annotated[list[Path], typer.Argument(help="metrics tables")], out: Out) -> None:
    """Put metrics tables of many iterations, seeds and variants into one.

    Example: feel-steps gather results/demo/*/*/*/metrics.parquet --out metrics.parquet
    """
    import numpy as np

    from feel_steps import artifacts

    read = [artifacts.read(table, "metrics") for table in tables]
    artifacts.write(out, "metrics", {name: np.concatenate([table[name] for table in read]) for name in read[0]})


@app.command()
def label_classes(
    pooled: Pooled,
    annotations: Annotated[Path, typer.Option(help="annotations table")],
    clusters: Clusters,
    out: Annotated[Path, typer.Option(help="refined table")],
) -> None:
    """Put each training video's annotated class in place of its cluster: the bound of weak supervision.

    Example: feel-steps label-classes --pooled pooled.parquet --annotations annotations.parquet --clusters 20
    --out refined.parquet
    """
    from feel_steps import artifacts
    from feel_steps.true_labels import true_classes

    video_ids = artifacts.read(pooled, "pooled")["video_id"]
    artifacts.write(out, "refined", true_classes(video_ids, artifacts.read(annotations, "annotations"), clusters))


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
    from feel_steps import artifacts
    from feel_steps.studies.tables import gather

    own = _settings(settings, "--settings")
    artifacts.write(out, "study", gather((artifacts.read(file, "metrics") for file in metrics), own))


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
    from feel_steps import artifacts
    from feel_steps.studies import get_program, get_run

    step = get_program(name)
    tables = {get_run(file): artifacts.read(file, "pooled") for file in pooled or ()}
    truth = artifacts.read(annotations, "annotations")
    artifacts.write(out, "study", step(tables, truth, clusters=clusters, **_settings(settings, "--settings")))


@app.command()
def studies_page(
    tables: Annotated[list[Path], typer.Argument(help="study tables, each named as its study")],
    studies: Annotated[str, typer.Option(help="entries of studies.yaml, as JSON")],
    out: Annotated[Path, typer.Option(help="the page, .html")],
    name: Annotated[str, typer.Option(help="what the page calls the run")] = "run",
) -> None:
    """Write the page that shows what the studies found.

    Example: feel-steps studies-page --studies '{"ablation": {"title": "Ablation", "question": "…", "paper": "…"}}'
    --out studies.html ablation.parquet
    """
    from feel_steps import artifacts
    from feel_steps.studies.page import write_studies

    read = {file.stem: artifacts.read(file, "study") for file in tables}
    write_studies(read, _settings(studies, "--studies"), out, name=name)


@app.command()
def report(
    run: Annotated[Path, typer.Option(help="results folder of the run")],
    out: Annotated[Path, typer.Option(help="the page, .html")],
    settings: Annotated[str, typer.Option(help="the run's config as JSON, to show")] = "{}",
    names: Annotated[Path | None, typer.Option(help="names of clusters; default: clusters.yaml of the run")] = None,
) -> None:
    """Write the page that shows what was found.

    Example: feel-steps report --run results/demo --out results/demo/report.html
    """
    from feel_steps.names import find_names, read_names
    from feel_steps.report.page import report as step
    from feel_steps.report.run import find_run

    found = find_run(run)
    place = found.place(found.iterations)
    called = read_names(names, place) if names else find_names(run, place)
    step(run, out, config=_settings(settings, "--settings"), names=called)


@app.command()
def name(run: Annotated[Path, typer.Argument(help="results folder of the run")]) -> None:
    """Give the clusters names: shows when and where each is most typical, and asks.

    The names are kept in RUN/clusters.yaml, and appear in the report, in exports and in predictions.

    Example: feel-steps name results/demo
    """
    from feel_steps.names import FILE, find_names, write_names
    from feel_steps.report.clusters import describe
    from feel_steps.report.run import find_run

    found, path = find_run(run), run / FILE
    place = found.place(found.iterations)
    names = find_names(run, place)
    typer.echo(f"Typical moments have pictures in {run / 'report.html'}. Enter leaves a name as it is; Ctrl-C ends.")
    for cluster in describe(found, {}):
        c, moments = cluster["id"], cluster["moments"]
        labels = f"; annotated as {', '.join(cluster['labels'])}" if cluster["labels"] else ""
        typer.echo(f"\ncluster {c}: {cluster['size']} videos{labels}")
        for moment in moments:
            minutes, seconds = divmod(moment["time"], 60)
            typer.echo(f"  {minutes:.0f}:{seconds:04.1f}  {moment['path'] or moment['video']}")
        answer = typer.prompt(f"name of cluster {c}", default=names.get(c, ""), show_default=c in names).strip()
        if answer:
            names[c] = answer
            write_names(path, names, place)  # at once, so that an interrupted session keeps its answers
    typer.echo(f"\nnames: {path}; the next snakemake or feel-steps report writes them into the page")


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="results folder of a finished run")],
    files: Annotated[list[Path], typer.Argument(help="video files")],
    out: Annotated[Path, typer.Option(help="folder for JSON, CSV, subtitles and a page")] = Path("predicted"),
    variant: Annotated[str | None, typer.Option(help="default: the run's first")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="default: the variant's first")] = None,
    iteration: Annotated[int | None, typer.Option(min=1, help="default: the last")] = None,
    settings: Annotated[str, typer.Option(help="extractor's settings as JSON: where a network's weights are")] = "{}",
    device: Device = "auto",
    threads: Threads = 2,
) -> None:
    """Find in new videos what a run has learnt to find.

    Example: feel-steps predict results/demo clip.mp4 --out found
    """
    from feel_steps import gpus
    from feel_steps.names import find_names
    from feel_steps.predict import choose, table, write
    from feel_steps.predict import predict as step

    place, shown = choose(run, variant, seed, iteration)
    names = find_names(run, place) if shown else {}
    own = _settings(settings, "--settings")
    with gpus.claim(device) as where:
        prediction = step(run, files, place, settings=own, device=where, threads=threads)
    for video_id in prediction.videos["video_id"][prediction.unlike]:
        strange = f"{video_id}: looks unlike everything the run was trained on; what is found may mean nothing"
        warnings.warn(strange, stacklevel=1)
    write(prediction, out, run=run.resolve().name, names=names)
    typer.echo(table(prediction, names))
    typer.echo(f"page: {out / 'predicted.html'}")


@app.command()
def summary(run: Annotated[Path, typer.Argument(help="results folder of the run")]) -> None:
    """Print a finished run's numbers as a table.

    Example: feel-steps summary results/demo
    """
    from feel_steps import artifacts
    from feel_steps.report.summary import summary as table

    typer.echo(table(artifacts.read(run / "metrics.parquet", "metrics")))
    typer.echo(f"report: {run / 'report.html'}")


@app.command()
def verify(
    run: Annotated[Path, typer.Argument(help="results folder of the run")],
    delete: Annotated[
        bool, typer.Option("--delete", help="delete what is damaged or out of date, for snakemake to make again")
    ] = False,
) -> None:
    """Check every file of a run: whole, unaltered, made of what is there now and by today's source.

    One line for each that is not, and status 1. With --delete, and then the same snakemake command as before, a run
    ends as if nothing had happened to it. Not while snakemake is at work on it.

    Example: feel-steps verify results/demo
    """
    from feel_steps.verify import delete as remove
    from feel_steps.verify import summary as count
    from feel_steps.verify import verify as step

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

    Example: feel-steps compare results/ablation feel no-cci
    """
    from feel_steps.compare import compare as step
    from feel_steps.compare import last_iterations, sentences

    thresholds = _numbers(tiou, "--tiou") if tiou else None
    table = step(run, a, b, tiou=thresholds, samples=samples, seed=seed)
    for variant, last in last_iterations(run, (a, b)).items():
        typer.echo(f"{variant}: iteration {max(last.values())} of seeds {', '.join(map(str, last))}")
    typer.echo(sentences(table, a, b))


@app.command()
def export(
    detections: Annotated[Path, typer.Option(help="detections table")],
    videos: Videos,
    out: Annotated[Path, typer.Option(help="a file; a folder for vtt and fiftyone")],
    form: Annotated[str, typer.Option(help="activitynet | csv | vtt | fiftyone")] = "activitynet",
    names: Annotated[Path | None, typer.Option(help="clusters.yaml of the run: names of clusters")] = None,
) -> None:
    """Write detections for other tools.

    Example: feel-steps export --detections detections.parquet --videos videos.parquet --form csv --out found.csv
    """
    from feel_steps import artifacts
    from feel_steps.export import export as step
    from feel_steps.names import read_names

    called = read_names(names, detections.parent) if names else {}
    step(artifacts.read(detections, "detections"), artifacts.read(videos, "videos"), out, form=form, names=called)


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

    from feel_steps.activitynet import map_files

    result = map_files(predictions, annotations, subset=subset, tiou=_numbers(tiou, "--tiou"))
    if json:
        typer.echo(dumps(result))
        return
    for threshold, value in zip(result["tiou"], result["mAP"], strict=True):
        typer.echo(f"mAP@{threshold:.2f}  {value:.4f}")
    typer.echo(f"average   {result['average']:.4f}")
