"""One HTML page for a run: self-contained, opened by a double click, without server or network."""

from __future__ import annotations

import base64
import hashlib
import json
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from scipy.linalg import orthogonal_procrustes
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import PCA

from feel_steps import __version__, artifacts
from feel_steps.progress import clock, track
from feel_steps.report.charts import Series, line_chart, thin
from feel_steps.report.media import relative_url, thumbnail
from feel_steps.report.run import Run, find_run
from feel_steps.report.summary import AGREEMENT, headline, pick, show

MOMENTS = 4  # thumbnails a cluster
CLASSES = 3  # activation curves a video
DETECTIONS = 30  # listed detections a video, the strongest
CURVE = 800  # points a curve, more than a screen has room for
GRID = 1000  # the map's coordinates are whole numbers from 0 to this
LIBRARIES = ("numpy", "scikit-learn", "pyarrow", "torch", "opencv-contrib-python-headless", "av", "snakemake")


def report(
    run: Path, out: Path, *, config: Mapping[str, Any] | None = None, names: Mapping[int, str] | None = None
) -> None:
    """Write the page of a run.

    Parameters
    ----------
    run : path
        results/{run}, with the tables of all finished iterations.
    out : path
        The page. It shows the user's own video files by paths relative to itself.
    config : mapping, optional
        Settings of the run, shown as they are; its ``variants`` say which to show in detail (the first).
    names : mapping of int to str, optional
        Names of clusters that a person gave. Without: the classes that the annotations map them to, if there are any.

    Raises
    ------
    InputError
        A table is missing or damaged, or no iteration is finished.
    """
    config = dict(config or {})
    found = find_run(Path(run), list(config.get("variants") or ()))
    clusters = found.attention["activation"].shape[1]
    mapped = {} if names else found.mapped_names()
    called = {c: str((names or mapped).get(c, "")) for c in range(clusters)}
    assigned, reliability = _assign(found)
    videos = _videos(found, out, assigned, reliability)
    context = {
        "run": found,
        "name": config.get("name") or Path(run).resolve().name,
        "facts": _facts(found, clusters, config),
        "verdict": _verdict(found, clusters),
        "charts": _charts(found),
        "iterations": _iterations(found),
        "everything": _everything(found),
        "comparison": _comparison(found),
        "clusters": _clusters(found, called, assigned),
        "mapped": bool(mapped),
        "settings": yaml.safe_dump(config, sort_keys=False, allow_unicode=True) if config else "",
        "versions": _versions(),
        "digests": _digests(found),
        "splits": sorted(set(found.videos["split"])),
        "data": _embed({"names": [called[c] for c in range(clusters)], "videos": videos, "map": _map(found)}),
    }
    environment = Environment(
        loader=PackageLoader("feel_steps.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["clock"] = stamp
    source = Path(__file__).parent
    script, style = ((source / name).read_text(encoding="utf-8") for name in ("page.js", "page.css"))
    # only this very script may run, whatever the data hold, and nothing may be fetched from anywhere
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    html = environment.get_template("page.html.j2").render(
        context, script=Markup(script), style=Markup(style), script_digest=allowed
    )
    with artifacts.atomic(out) as temporary:
        temporary.write_text(html, encoding="utf-8")


def stamp(seconds: float) -> str:
    """Write a place on a video's time axis: 1:05."""
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}"


def _embed(data: Any) -> Markup:
    """JSON that may stand inside a script element, whatever its strings hold."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


# ------------------------------------------------------------------------------------------------ what was found


def _assign(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Cluster of each video (of those that were not clustered: its strongest class) and its refined distance (or NaN)."""
    scores = run.table(run.iterations, "embeddings")
    assigned = np.full(len(run.videos["video_id"]), -1)
    assigned[run.rows(scores["video_id"])] = scores["score"].argmax(1)
    rows = run.rows(run.refined["video_id"])
    distance = np.full(len(assigned), np.nan)
    assigned[rows], distance[rows] = run.refined["cluster"], run.refined["distance"]
    return assigned, distance


def _facts(run: Run, clusters: int, config: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    videos = run.videos
    parts = [f"{int((videos['split'] == split).sum())} {split}" for split in sorted(set(videos["split"]), reverse=True)]
    first = {key: videos[key][0] for key in ("fps", "snippet_window", "snippet_stride")}
    spacing = f"{first['snippet_window']} frames at {first['fps']:g} a second, every {first['snippet_stride']}"
    spent = sum(float(run.table(i, "training")["seconds"].max(initial=0)) for i in range(1, run.iterations + 1))
    localizer = str((config.get("train") or {}).get("localizer", "")).replace("cola", "CoLA").replace("aicl", "AICL")
    return [
        ("Videos", f"{len(videos['video_id']):,}", " + ".join(parts)),
        ("Length", clock(float(videos["duration"].sum())), "in all"),
        ("Snippets", f"{int(videos['n_snippets'].sum()):,}", spacing),
        ("Clusters", str(clusters), "found without labels"),
        ("Iterations", str(run.iterations), f"variant {run.variant}, seed {run.seed}"),
        ("Training", clock(spent), f"of the {localizer} localizer".replace("  ", " ")),
    ]


def _verdict(run: Run, clusters: int) -> str:
    metrics = run.metrics[(run.metrics["variant"] == run.variant) & (run.metrics["seed"] == run.seed)]

    def value(stages: tuple[str, ...], metric: str, iteration: int) -> float | None:
        rows = pick(metrics, stages, metric)
        rows = rows[rows["iteration"] == iteration]
        return float(rows["value"].iloc[0]) if len(rows) else None

    first, last = value(("cluster",), "nmi", 1), value(("refine",), "nmi", run.iterations)
    precision = value(("localize",), "mAP", run.iterations)
    detections = run.detections
    moments, seen = len(detections["video_id"]), len(set(detections["video_id"]))
    groups = f"{clusters} group{'s' * (clusters != 1)} of videos"
    if last is not None:
        started = f" (k-means at the start: {first:.2f})" if first is not None else ""
        text = f"{groups} that agree with the annotations at NMI {last:.2f}{started}"
        return text + (f", and moments found in them at an average mAP of {precision:.2f}." if precision is not None else ".")
    stability = value(("refine", "cluster"), "stability", run.iterations)
    kept = f", whose last two rounds agree at {stability:.2f}" if stability is not None else ""
    return f"{groups}{kept}, and {moments:,} moments found in {seen:,} videos. There are no annotations to compare with."


def _charts(run: Run) -> list[dict]:
    metrics = run.metrics[run.metrics["variant"] == run.variant]

    def over_iterations(name: str, stages: tuple[str, ...], metric: str) -> Series:
        groups = pick(metrics, stages, metric).groupby("iteration")["value"]
        mean, spread = groups.mean(), groups.std(ddof=1).fillna(0.0)
        return Series(name, mean.index.to_numpy(float), mean.to_numpy(), spread.to_numpy())

    stages = [("k-means", ("cluster",)), ("refined", ("refine",)), ("selected", ("select",))]
    agreement = [over_iterations(name, stage, "nmi") for name, stage in stages]
    precision = [
        over_iterations(name, ("localize",), metric)
        for name, metric in (("average", "mAP"), ("at tIoU 0.5", "mAP@0.5"), ("one-to-one", "mAP_hungarian"))
    ]
    loss = []
    for iteration in range(1, run.iterations + 1):
        training = run.table(iteration, "training")
        loss.append(Series(f"iteration {iteration}", *thin(training["step"].astype(float), training["loss"])))
    charts = [
        line_chart("Clusters against annotations (NMI)", "iteration", agreement, unit=True),
        line_chart("Localization (mAP)", "iteration", precision, unit=True),
    ]
    if not any(charts):
        either = ("refine", "cluster")
        charts = [
            line_chart("Stability of the clusters", "iteration", [over_iterations("", either, "stability")], unit=True),
            line_chart("Silhouette", "iteration", [over_iterations("", either, "silhouette")]),
        ]
    charts += [
        line_chart("Share of videos selected", "iteration", [over_iterations("", ("select",), "share")], unit=True, percent=True),
        line_chart("Training loss", "step", loss, dots=False),
    ]
    return [chart for chart in charts if chart]


def _iterations(run: Run) -> dict:
    """The headline numbers, one row an iteration."""
    metrics = run.metrics[run.metrics["variant"] == run.variant]
    columns = headline(metrics)
    rows = [
        [str(iteration), *(show(pick(group, stages, metric)["value"], metric) for _, stages, metric in columns)]
        for iteration, group in metrics.groupby("iteration")
    ]
    return {"heads": ["iteration", *(heading for heading, _, _ in columns)], "rows": rows}


def _everything(run: Run) -> dict:
    """Every metric there is, one column an iteration."""
    metrics = run.metrics[run.metrics["variant"] == run.variant]
    iterations = sorted(set(metrics["iteration"]))
    rows = []
    for (stage, metric), group in metrics.groupby(["stage", "metric"], sort=False):
        cells = [show(group.loc[group["iteration"] == i, "value"], str(metric)) for i in iterations]
        rows.append([str(stage), str(metric), *cells])
    return {"heads": ["stage", "metric", *(f"iteration {i}" for i in iterations)], "rows": rows}


def _comparison(run: Run) -> dict | None:
    """Variants beside each other at their last iteration, over seeds; None for a single run."""
    if len(run.seeds) == 1 and len(run.seeds[run.variant]) == 1:
        return None
    metrics = run.metrics
    last = metrics[metrics["iteration"] == metrics.groupby(["variant", "seed"])["iteration"].transform("max")]
    columns = [column for column in headline(metrics) if column[2] != "share"]
    means = {
        variant: [pick(rows, stages, metric)["value"] for _, stages, metric in columns]
        for variant, rows in last.groupby("variant")
    }
    best = [max((float(values[i].mean()) for values in means.values() if len(values[i])), default=np.nan) for i in range(len(columns))]
    rows = [
        {
            "variant": variant,
            "seeds": ", ".join(map(str, seeds)),
            "cells": [
                (show(values, metric), len(run.seeds) > 1 and bool(len(values)) and float(values.mean()) == top)
                for values, (_, _, metric), top in zip(means[variant], columns, best, strict=True)
            ],
        }
        for variant, seeds in run.seeds.items()
        if variant in means
    ]
    return {"heads": [heading for heading, _, _ in columns], "rows": rows}


# ---------------------------------------------------------------------------------------------------- clusters


def _clusters(run: Run, called: Mapping[int, str], assigned: np.ndarray) -> list[dict]:
    refined, selected, detections = run.refined, run.selected, run.detections
    truth = pd.DataFrame({"video_id": run.annotations["video_id"], "label": run.annotations["label"]}).drop_duplicates()
    scaled = bool(np.isfinite(refined["jaccard"]).all())  # CCI's d* lies in 0..1, plain Euclidean distances do not
    cards = []
    for c, name in called.items():
        members, chosen = refined["cluster"] == c, selected["cluster"] == c
        distance = refined["distance"][members]
        typical = selected["video_id"][chosen][np.argsort(selected["rank"][chosen], kind="stable")]
        labels = truth.loc[truth["video_id"].isin(refined["video_id"][members]), "label"].value_counts()
        cards.append(
            {
                "id": c,
                "name": name,
                "size": int(members.sum()),
                "selected": int(chosen.sum()),
                "tested": int((assigned == c).sum() - members.sum()),
                "detections": int((detections["cluster"] == c).sum()),
                "reliability": float(1 - distance.mean()) if scaled and len(distance) else None,
                "distance": float(distance.mean()) if len(distance) else None,
                "labels": [(str(label), int(count)) for label, count in labels.head(3).items()],
                "moments": [_moment(run, video_id, c) for video_id in typical[:MOMENTS]],
            }
        )
    moments = [moment for card in cards for moment in card["moments"]]
    for moment in track(moments, "decoding typical moments", len(moments), "picture"):
        moment["picture"] = thumbnail(moment["path"], moment["time"]) if moment["path"] else None
    return cards


def _moment(run: Run, video_id: str, cluster: int) -> dict[str, Any]:
    """The snippet of a video at which a class is most active; among equals, the one of highest actionness."""
    part, row = run.snippets[video_id], int(run.rows([video_id])[0])
    activation, actionness = run.attention["activation"][part, cluster], run.attention["actionness"][part]
    best = np.lexsort((-actionness, -activation))[0]
    middle = float(run.attention["t_start"][part][best] + run.attention["t_end"][part][best]) / 2
    return {"row": row, "video": video_id, "path": run.videos["path"][row], "time": round(middle, 2)}


def _map(run: Run) -> dict[str, Any]:
    """Where the clustered videos lie, two principal components of their vectors at each iteration.

    A principal component may point either way, and clusters are numbered afresh each time: every iteration is turned
    onto the one after it, and its clusters take the number of the final cluster that they share most videos with.
    """
    rows = run.rows(run.refined["video_id"])
    final = run.refined["cluster"]
    iterations: list[dict[str, list]] = []
    following: np.ndarray | None = None
    for iteration in range(run.iterations, 0, -1):
        pooled, refined = run.table(iteration, "pooled"), run.table(iteration, "refined")
        chosen = set(run.table(iteration, "selected")["video_id"])
        order = pd.Index(pooled["video_id"]).get_indexer(run.refined["video_id"])
        following = _project(pooled["feature"][order], following)
        order = pd.Index(refined["video_id"]).get_indexer(run.refined["video_id"])
        place = np.round((following + 1) / 2 * GRID).astype(int)
        iterations.append(
            {
                "x": place[:, 0].tolist(),
                "y": place[:, 1].tolist(),
                "cluster": _match(refined["cluster"][order], final).tolist(),
                "selected": [int(video_id in chosen) for video_id in run.refined["video_id"]],
            }
        )
    return {"grid": GRID, "video": rows.tolist(), "iterations": iterations[::-1]}


def _project(features: np.ndarray, onto: np.ndarray | None) -> np.ndarray:
    """Two principal components [N, 2] of features [N, D], scaled into -1..1, turned to lie on earlier ones."""
    axes = min(2, *features.shape)
    xy = np.zeros((len(features), 2))
    if len(features) > 1:
        xy[:, :axes] = PCA(axes, svd_solver="randomized", random_state=0).fit_transform(features)
    if onto is not None:
        xy = xy @ orthogonal_procrustes(xy, onto)[0]
    return xy / (np.abs(xy).max() or 1.0)


def _match(labels: np.ndarray, final: np.ndarray) -> np.ndarray:
    """Renumber clusters [N] as the final ones that they share most videos with, one to one."""
    size = max(labels.max(), final.max()) + 1
    shared = np.zeros((size, size), int)
    np.add.at(shared, (labels, final), 1)
    return linear_sum_assignment(-shared)[1][labels]


# ------------------------------------------------------------------------------------------------------ videos


def _videos(run: Run, out: Path, assigned: np.ndarray, reliability: np.ndarray) -> list[dict[str, Any]]:
    videos, detections = run.videos, run.detections
    chosen = set(run.selected["video_id"])
    order = np.lexsort((-detections["score"], run.rows(detections["video_id"])))
    bounds = np.searchsorted(run.rows(detections["video_id"])[order], np.arange(len(assigned) + 1))
    truth: dict[str, list[tuple[str, float, float]]] = {}
    for video_id, *segment in zip(*(run.annotations[k] for k in ("video_id", "label", "t_start", "t_end")), strict=True):
        truth.setdefault(video_id, []).append((str(segment[0]), round(float(segment[1]), 2), round(float(segment[2]), 2)))
    records = []
    for row, video_id in enumerate(videos["video_id"]):
        own = order[bounds[row] : bounds[row + 1]]
        own = own[:DETECTIONS]
        classes = list(dict.fromkeys([int(assigned[row]), *detections["cluster"][own].tolist()]))[:CLASSES]
        path = videos["path"][row]
        records.append(
            {
                "id": video_id,
                "split": videos["split"][row],
                "url": relative_url(path, out) if path else None,
                "duration": round(float(videos["duration"][row]), 2),
                "cluster": int(assigned[row]),
                "reliability": round(float(-reliability[row]), 3) if np.isfinite(reliability[row]) else None,
                "selected": video_id in chosen,
                "classes": classes,
                **_curves(run, video_id, classes),
                "found": [
                    [int(detections["cluster"][i]), round(float(detections["t_start"][i]), 2),
                     round(float(detections["t_end"][i]), 2), round(float(detections["score"][i]), 3)]
                    for i in own
                ],
                "more": int(bounds[row + 1] - bounds[row] - len(own)),
                "truth": sorted(truth.get(video_id, []), key=lambda segment: segment[1:]),
            }
        )  # fmt: skip
    return records


def _curves(run: Run, video_id: str, classes: list[int]) -> dict[str, Any]:
    """Actionness and class activations of a video as bytes: value = low + byte / 255 * (high - low)."""
    part, attention = run.snippets[video_id], run.attention
    middle = (attention["t_start"][part] + attention["t_end"][part]) / 2
    width = -(-len(middle) // CURVE)
    starts = np.arange(0, len(middle), width)
    step = float(middle[-1] - middle[0]) / max(1, len(middle) - 1)
    return {
        "start": round(float(middle[0]) + step * (width - 1) / 2, 3),
        "step": round(step * width, 4),
        "actionness": _bytes(np.maximum.reduceat(attention["actionness"][part], starts)[None]),
        "activation": _bytes(np.maximum.reduceat(attention["activation"][part][:, classes], starts).T),
    }


def _bytes(curves: np.ndarray) -> dict[str, Any]:
    low, high = min(0.0, float(curves.min())), float(curves.max())
    scaled = np.round((curves - low) / ((high - low) or 1.0) * 255).astype(np.uint8)
    return {
        "low": float(f"{low:.4g}"),
        "high": float(f"{high:.4g}"),
        "curves": [base64.b64encode(curve.tobytes()).decode() for curve in scaled],
    }


# -------------------------------------------------------------------------------------------------- how it was made


def _versions() -> list[tuple[str, str]]:
    found = [("feel-steps", __version__), ("Python", platform.python_version())]
    for library in LIBRARIES:
        try:
            found.append((library, metadata.version(library)))
        except metadata.PackageNotFoundError:
            continue  # not needed to write the page
    return found


def _digests(run: Run) -> list[tuple[str, str]]:
    """SHA-256 of what the run rests on and what it came to. Training logs hold times, and differ from run to run."""
    last = run.place(run.iterations)
    paths = [run.folder / "videos.parquet", run.folder / "annotations.parquet"]
    paths += sorted(path for path in last.iterdir() if path.suffix in (".parquet", ".safetensors") and path.stem != "training")
    digests = []
    for path in paths:
        with open(path, "rb") as file:
            digests.append((path.relative_to(run.folder).as_posix(), hashlib.file_digest(file, "sha256").hexdigest()))
    return digests
