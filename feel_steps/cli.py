"""The command line: one thin command a step. It reads tables, calls the step's function and writes tables.

Steps are imported inside their commands, so that ``--help`` answers at once and no command loads what it does not need.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feel_steps.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from feel_steps.artifacts import Columns

app = typer.Typer(
    help="Find which actions happen in untrimmed videos, and when, without a label. One command a step of the workflow.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def main() -> None:
    """Run the command line; what a user can mend is said in one line, without a traceback."""
    try:
        app()
    except InputError as error:
        sys.exit(f"error: {error}")
    except OSError as error:  # no space, no permission, no such folder
        sys.exit(f"error: {error.filename or 'file'}: {error.strerror or error}")


# Options that several commands share.
Videos = Annotated[Path, typer.Option(help="videos table")]
Features = Annotated[Path, typer.Option(help="folder of the feature parts")]
Pooled = Annotated[Path, typer.Option(help="pooled table: one vector a video")]
Clusters = Annotated[int, typer.Option(min=1, help="number of clusters, K")]
Seed = Annotated[int, typer.Option(min=0)]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads; the same number gives the same bytes")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")]
Out = Annotated[Path, typer.Option(help="where the result goes")]


def _numbers(text: str, option: str) -> list[float]:
    """Parse ``0.1,0.2,0.3``."""
    try:
        return [float(item) for item in text.split(",")]
    except ValueError:
        raise InputError(f"{option} {text!r}: expected numbers with commas between them, such as 0.1,0.2,0.3") from None


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
    split: Annotated[Path | None, typer.Option(help="CSV video_id,split; without it every video is for training")] = None,
    parts: Annotated[int, typer.Option(min=1, help="feature files to spread the videos over")] = 1,
    on_bad_video: Annotated[str, typer.Option(help="fail | skip")] = "fail",
    fps: Annotated[float, typer.Option(help="layout cola: frame rate the features were made at")] = 25.0,
    window: Annotated[int, typer.Option(help="layout cola: frames of a snippet")] = 16,
    stride: Annotated[int, typer.Option(help="layout cola: frames from one snippet to the next")] = 16,
) -> None:
    """List the videos to process, each checked before any work starts.

    Example: feel-steps import --layout videos --path clips --out manifest.parquet --out-unreadable unreadable.parquet
    """
    from feel_steps import artifacts
    from feel_steps.dataset.layouts import import_cola, import_videos

    skipped: Columns = {"video_id": [], "path": [], "reason": []}  # type: ignore[dict-item]
    if layout == "videos":
        manifest, skipped = import_videos(path, split=split, parts=parts, on_bad_video=on_bad_video)
    elif layout == "cola":
        manifest = import_cola(path, fps=fps, window=window, stride=stride, parts=parts)
    else:
        raise InputError(f"--layout {layout}: expected videos or cola")
    artifacts.write(out, "manifest", manifest)
    artifacts.write(out_unreadable, "skipped", skipped)


@app.command()
def import_annotations(
    manifest: Annotated[Path, typer.Option(help="manifest table")],
    out: Out,
    annotations: Annotated[
        Path | None, typer.Option(help="ActivityNet-style JSON, or CSV video_id,label,t_start,t_end; none: an empty table")
    ] = None,
) -> None:
    """Read ground truth, which evaluation and report alone will see.

    Example: feel-steps import-annotations --manifest manifest.parquet --annotations gt.json --out annotations.parquet
    """
    from feel_steps import artifacts
    from feel_steps.dataset.layouts import read_annotations

    artifacts.write(out, "annotations", read_annotations(annotations, artifacts.read(manifest, "manifest")))


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

    Example: feel-steps cluster --pooled pooled.parquet --clusters 20 --seed 0 --out-clusters c.parquet --out-centres m.parquet
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
def select(
    refined: Annotated[Path, typer.Option(help="refined table")],
    rate: Annotated[float, typer.Option(help="share of each cluster that is kept, above 0, up to 1")],
    out: Out,
) -> None:
    """Keep the most reliable share of each cluster as pseudo-labelled training set (IIS).

    Example: feel-steps select --refined refined.parquet --rate 0.25 --out selected.parquet
    """
    from feel_steps import artifacts
    from feel_steps.selection import select as step

    table = artifacts.read(refined, "refined")
    rows, rank = step(table["cluster"], table["distance"], rate)
    kept: dict[str, Any] = {name: table[name][rows] for name in ("video_id", "cluster", "distance")}
    artifacts.write(out, "selected", {**kept, "rank": rank})
