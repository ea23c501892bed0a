"""From snippet features to a pseudo-labelled training set: pool, cluster, refine, select."""

from __future__ import annotations

from json import dumps, loads
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feel_steps.cli.app import app
from feel_steps.cli.options import Clusters, Device, Features, GivenTables, Out, Parts, Pooled, Seed, Videos
from feel_steps.errors import InputError

if TYPE_CHECKING:
    import numpy as np


@app.command()
def pool(
    videos: Videos,
    features: Features,
    out: Out,
    views: Annotated[
        str, typer.Option(help="auto, or some of: mean, actionness, embedding, adapted, second, lag, whitened")
    ] = "mean",
    normalize: Annotated[str, typer.Option(help="none | length: rows to length 1 | standard: columns before")] = "none",
    attention: Annotated[Path | None, typer.Option(help="attention table of the iteration before")] = None,
    embeddings: Annotated[Path | None, typer.Option(help="embeddings table of the iteration before")] = None,
    parts: Parts = None,
) -> None:
    """Describe each training video by one vector a view, side by side, from its snippets.

    Example: feel-steps pool --videos videos.parquet --features features --views second,lag --out pooled.parquet
    """
    import numpy as np

    from feel_steps.parts import split
    from feel_steps.pool import EMBEDDED, FAMILIES, PARTS_OF_NETWORK, WEIGHTED, tell_family
    from feel_steps.pool import pool as step
    from feel_steps.tables import tables
    from feel_steps.tables.parts import relabel
    from feel_steps.tables.snippets import load_snippets, recorded_family

    table = tables.read(videos, "videos")
    snippets = load_snippets(table, features, "train")
    if views == "auto":
        chosen = FAMILIES[recorded_family(table, features) or tell_family(snippets)]
        if parts and chosen == FAMILIES["network"]:
            chosen, normalize = PARTS_OF_NETWORK
    else:
        chosen = tuple(views.split(","))
    maps = before = None
    if attention and WEIGHTED.intersection(chosen):
        maps = tables.read(attention, "attention", ["video_id", "snippet", "actionness"])
    if parts:
        cuts = tables.read(parts, "parts")
        snippets, cuts = split(snippets, cuts)
        maps = None if maps is None else relabel(maps, cuts)
    if embeddings and set(EMBEDDED).intersection(chosen):
        before = tables.read(embeddings, "embeddings")
    vectors = step(snippets, views=chosen, attention=maps, embeddings=before, normalize=normalize)
    widths = {view: own.shape[1] for view, own in vectors.items()}
    rows = {"video_id": snippets.video_ids, "feature": np.concatenate(list(vectors.values()), 1)}
    tables.write(out, "pooled", rows, {"settings": dumps({"views": widths, "normalize": normalize})})


@app.command()
def cluster(
    pooled: Pooled,
    clusters: Clusters,
    seed: Seed,
    out_clusters: Annotated[Path, typer.Option(help="clusters table: video, cluster, distance")],
    out_centres: Annotated[Path, typer.Option(help="centres table")],
    method: Annotated[str, typer.Option(help="kmeans | consensus: of many k-means, in each view")] = "kmeans",
    n_init: Annotated[int, typer.Option(min=1, help="kmeans: starts, of which the best is kept")] = 10,
    starts: Annotated[int, typer.Option(min=1, help="consensus: k-means runs in each view")] = 60,
    given: GivenTables = None,
    previous: Annotated[
        Path | None, typer.Option(help="with --given: refined table whose clusters keep their numbers")
    ] = None,
    parts: Parts = None,
) -> None:
    """Cluster the videos, by k-means or by consensus.

    Example: feel-steps cluster --pooled pooled.parquet --clusters 20 --seed 0
    --out-clusters clusters.parquet --out-centres centres.parquet
    """
    import numpy as np

    from feel_steps.cluster import cluster as kmeans
    from feel_steps.cluster import consensus
    from feel_steps.tables import tables
    from feel_steps.tables.given import read_given
    from feel_steps.tables.parts import chain_of

    table = tables.read(pooled, "pooled")
    said: dict[str, Any] = {"given": read_given(given, table["video_id"], clusters), "before": None}
    if previous:
        before = tables.align(tables.read(previous, "refined"), table["video_id"], f"{previous}", f"{pooled}")
        said["before"] = before["cluster"]
    if method == "kmeans":
        labels, distances, centres = kmeans(table["feature"], clusters, seed, n_init=n_init, **said)
        columns = {"cluster": labels, "distance": distances}
    elif method == "consensus":
        said["chain"] = chain_of(table["video_id"], tables.read(parts, "parts")) if parts else None
        columns, centres = consensus(_split(table["feature"], pooled), clusters, seed, starts=starts, **said)
    else:
        raise InputError(f"--method {method}: expected kmeans or consensus")
    tables.write(out_clusters, "clusters", {"video_id": table["video_id"], **columns})
    tables.write(out_centres, "centres", {"cluster": np.arange(len(centres)), "feature": centres})


def _split(vectors: np.ndarray, pooled: Path) -> list[np.ndarray]:
    """Views of a pooled table; all in one where it does not say how many, as other programs write it."""
    import numpy as np

    from feel_steps.tables import tables

    settings = loads(tables.read_metadata(pooled).get("settings", "{}"))
    widths = list(settings.get("views", {"all": vectors.shape[1]}).values())
    if sum(widths) != vectors.shape[1]:
        raise InputError(f"{pooled}: vectors of {vectors.shape[1]} numbers, but its views have {widths}; pool again")
    return np.split(vectors, np.cumsum(widths)[:-1], axis=1)


@app.command()
def refine(
    pooled: Pooled,
    clusters: Annotated[Path, typer.Option(help="clusters table")],
    centres: Annotated[Path, typer.Option(help="centres table")],
    out: Annotated[Path, typer.Option(help="refined table")],
    method: Annotated[str, typer.Option(help="cci | none: keep the clusters")] = "cci",
    k1: Annotated[int, typer.Option(min=1, help="neighbours that may be reciprocal")] = 20,
    k2: Annotated[int, typer.Option(min=1, help="neighbours averaged in query expansion; 1: off")] = 6,
    lambda_: Annotated[float, typer.Option("--lambda", help="weight of the Euclidean part, 0 to 1")] = 0.3,
    ranking: Annotated[
        str, typer.Option(help="exact | approximate: some neighbours are missed, for 10⁵ videos and more (needs faiss)")
    ] = "exact",
    device: Device = "cpu",
    given: GivenTables = None,
) -> None:
    """Assign every video to the centre that is nearest in the feature-robust Jaccard distance (CCI).

    Example: feel-steps refine --pooled pooled.parquet --clusters c.parquet --centres m.parquet --out refined.parquet
    """
    import numpy as np

    from feel_steps.ranking import require_faiss
    from feel_steps.runtime.claim import claim
    from feel_steps.tables import tables
    from feel_steps.tables.given import read_given

    if ranking not in ("exact", "approximate"):
        raise InputError(f"--ranking {ranking}: expected exact or approximate")
    if ranking == "approximate":
        require_faiss()
    table, points = tables.read(pooled, "pooled"), tables.read(centres, "centres")["feature"]
    if table["feature"].shape[1] != points.shape[1]:
        raise InputError(
            f"{centres}: centres of dimension {points.shape[1]}, but {pooled} has {table['feature'].shape[1]}; "
            "cluster again"
        )
    own = tables.align(tables.read(clusters, "clusters"), table["video_id"], f"{clusters}", f"{pooled}")
    if not np.isin(own["cluster"], np.arange(len(points))).all():
        raise InputError(f"{clusters}: column 'cluster' names clusters that {centres} does not have; cluster again")
    if method == "cci":
        from feel_steps.jaccard import refine as step
        from feel_steps.ranking import rank_approximately

        ranker = rank_approximately if ranking == "approximate" else None
        with claim(device) as where:
            columns = step(table["feature"], points, k1=k1, k2=k2, lambda_value=lambda_, device=where, ranker=ranker)
    elif method == "none":
        from feel_steps.cluster import keep_clusters

        columns = keep_clusters(table["feature"], points, own)
    else:
        raise InputError(f"--method {method}: expected cci or none")
    if said := read_given(given, table["video_id"], len(points)):
        columns = said.hold(columns)
    tables.write(out, "refined", {"video_id": table["video_id"], **columns})


@app.command()
def rate(
    pooled: Pooled,
    refined: Annotated[Path, typer.Option(help="refined table")],
    clusters: Clusters,
    out: Annotated[Path, typer.Option(help="confidence table")],
    seed: Seed = 0,
    runs: Annotated[int, typer.Option(min=1, help="k-means runs in each view, each on 80 % of the videos")] = 20,
    parts: Parts = None,
) -> None:
    """Say how stable each cluster is and how clear each video is in it, without labels.

    Example: feel-steps rate --pooled pooled.parquet --refined refined.parquet --clusters 20 --out confidence.parquet
    """
    from feel_steps.explore.confidence import rate as step
    from feel_steps.tables import tables
    from feel_steps.tables.parts import to_videos

    rated = tables.read(refined, "refined")  # may lack videos: studies with true labels have the annotated ones
    table = tables.align(tables.read(pooled, "pooled"), rated["video_id"], f"{pooled}", f"{refined}")
    if (last := rated["cluster"].max(initial=0)) >= clusters:
        raise InputError(f"{refined}: it has cluster {last}, but --clusters is {clusters}; refine again")
    sure = step(_split(table["feature"], pooled), rated, clusters, seed, runs=runs)
    tables.write(out, "confidence", to_videos(sure, tables.read(parts, "parts")) if parts else sure)


@app.command()
def select(
    refined: Annotated[Path, typer.Option(help="refined table")],
    rate: Annotated[float, typer.Option(help="share of each cluster that is kept, above 0, up to 1")],
    out: Out,
    given: GivenTables = None,
) -> None:
    """Keep the most reliable share of each cluster as pseudo-labelled training set (IIS).

    Example: feel-steps select --refined refined.parquet --rate 0.25 --out selected.parquet
    """
    from feel_steps.selection import select as step
    from feel_steps.tables import tables
    from feel_steps.tables.given import read_given

    table, fixed = tables.read(refined, "refined"), None
    if said := read_given(given, table["video_id"]):
        kept = ~said.left_out(table["cluster"])
        table, fixed = {name: values[kept] for name, values in table.items()}, (said.fixed >= 0)[kept]
    rows, rank = step(table["cluster"], table["distance"], rate, fixed)
    chosen: dict[str, Any] = {name: table[name][rows] for name in ("video_id", "cluster", "distance")}
    tables.write(out, "selected", chosen | {"rank": rank})
