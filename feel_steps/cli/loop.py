"""From snippet features to a pseudo-labelled training set: pool, cluster, refine, select."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feel_steps.cli.app import app
from feel_steps.cli.options import Clusters, Device, Features, Out, Pooled, Seed, Videos
from feel_steps.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from feel_steps.tables.kinds import Columns


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

    from feel_steps.pool import COLUMNS
    from feel_steps.pool import pool as step
    from feel_steps.snippets import load_snippets
    from feel_steps.tables import tables

    snippets = load_snippets(tables.read(videos, "videos"), features, "train")
    maps = pooled_before = None
    if attention and method == "actionness":
        maps = tables.read(attention, "attention", ["video_id", "snippet", "actionness"])
    if embeddings and method in COLUMNS:
        pooled_before = tables.read(embeddings, "embeddings")
    vectors = step(snippets, method=method, attention=maps, embeddings=pooled_before, normalize=normalize)
    settings = {"method": method, "normalize": normalize}
    tables.write(out, "pooled", {"video_id": snippets.video_ids, "feature": vectors}, {"settings": dumps(settings)})


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

    from feel_steps.cluster import cluster as step
    from feel_steps.tables import tables

    table = tables.read(pooled, "pooled")
    labels, distances, centres = step(table["feature"], clusters, seed, n_init=n_init)
    rows = {"video_id": table["video_id"], "cluster": labels, "distance": distances}
    tables.write(out_clusters, "clusters", rows)
    tables.write(out_centres, "centres", {"cluster": np.arange(len(centres)), "feature": centres})


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

    from feel_steps.runtime.claim import claim
    from feel_steps.tables import tables

    table, points = tables.read(pooled, "pooled"), tables.read(centres, "centres")["feature"]
    if table["feature"].shape[1] != points.shape[1]:
        raise InputError(
            f"{centres}: centres of dimension {points.shape[1]}, but {pooled} has {table['feature'].shape[1]}; "
            "cluster again"
        )
    own = _aligned(tables.read(clusters, "clusters"), table["video_id"], clusters, pooled)
    if not np.isin(own["cluster"], np.arange(len(points))).all():
        raise InputError(f"{clusters}: column 'cluster' names clusters that {centres} does not have; cluster again")
    if method == "cci":
        from feel_steps.jaccard import refine as step

        with claim(device) as where:
            columns = step(table["feature"], points, k1=k1, k2=k2, lambda_value=lambda_, device=where)
    elif method == "none":
        from feel_steps.cluster import keep_clusters

        columns = keep_clusters(table["feature"], points, own["cluster"])
    else:
        raise InputError(f"--method {method}: expected cci or none")
    tables.write(out, "refined", {"video_id": table["video_id"], **columns})


@app.command()
def select(
    refined: Annotated[Path, typer.Option(help="refined table")],
    rate: Annotated[float, typer.Option(help="share of each cluster that is kept, above 0, up to 1")],
    out: Out,
) -> None:
    """Keep the most reliable share of each cluster as pseudo-labelled training set (IIS).

    Example: feel-steps select --refined refined.parquet --rate 0.25 --out selected.parquet
    """
    from feel_steps.selection import select as step
    from feel_steps.tables import tables

    table = tables.read(refined, "refined")
    rows, rank = step(table["cluster"], table["distance"], rate)
    kept: dict[str, Any] = {name: table[name][rows] for name in ("video_id", "cluster", "distance")}
    kept["rank"] = rank
    tables.write(out, "selected", kept)


def _aligned(table: Columns, video_ids: np.ndarray, path: Path, other: Path) -> Columns:
    """Rows of a one-row-a-video table in the order of ``video_ids``."""
    place = {video_id: row for row, video_id in enumerate(table["video_id"])}
    if missing := [video_id for video_id in video_ids if video_id not in place]:
        raise InputError(f"{path}: video '{missing[0]}' of {other} is not in it; run the step that wrote it again")
    rows = [place[video_id] for video_id in video_ids]
    return {name: values[rows] for name, values in table.items()}
