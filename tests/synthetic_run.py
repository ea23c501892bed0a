"""A made-up run folder with every table a report reads: what a finished run looks like, in any size, within seconds."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from feel_steps.explore.moments import Rule, find_moments
from feel_steps.tables import tables
from feel_steps.tables.parts import name_parts

ACTIONS = ["jumping jack", "punch", "squat", "throw", "wave", "kick", "bow", "clap"]
# ids a page must survive: markup, quotes, an entity, characters with a meaning in URLs, other scripts
AWKWARD = ["<script>alert(1)</script>", 'it\'s "quoted" & #1? 100%', "été/日本 walk", "</script><!-- x"]
STRIDE, WINDOW, FPS = 8, 16, 15.0
PIECE = 10_000  # rows of attention that are written at once


@dataclass(frozen=True)
class Shape:
    """What to make: sizes and which optional parts are there."""

    train: int = 16
    test: int = 6
    clusters: int = 4
    iterations: int = 3
    snippets: int = 40
    media: int = 3
    variants: tuple[str, ...] = ("feel",)
    seeds: tuple[int, ...] = (0,)
    annotations: bool = True
    skipped: bool = True
    parts: bool = False
    segments: bool = False


def render_video(path: Path, duration: float, hue: int, fps: int = 10) -> None:
    """Write a small MP4: a square that crosses the picture once over the duration."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    frames = max(2, round(duration * fps))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"g": "10", "crf": "30"})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.codec_context.thread_count = 1  # an encoder keeps its threads until it is garbage collected
        for index in range(frames):
            image = np.full((96, 160, 3), (40 + hue, 60, 200 - hue), np.uint8)
            left = round(128 * index / frames)
            image[32:64, left : left + 32] = 240
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def build(folder: Path, shape: Shape = Shape(), seed: int = 0) -> Path:
    """Make ``folder/results/demo`` (returned), with the videos it names under ``folder/videos``."""
    rng = np.random.default_rng(seed)
    run = folder / "results" / "demo"
    N, K, T = shape.train + shape.test, shape.clusters, shape.snippets
    ids = [*AWKWARD, *(f"clip {index:04d}" for index in range(N))][:N]
    split = ["train"] * shape.train + ["test"] * shape.test
    lengths = rng.integers(max(1, T // 2), T + 1, N)
    durations = (lengths - 1) * STRIDE / FPS + WINDOW / FPS
    paths: list[str | None] = [None] * N
    for index in range(min(shape.media, N)):
        path = folder / "videos" / f"{ids[index].replace('/', '_')}.mp4"
        render_video(path, durations[index], 40 * index)
        paths[index] = str(path)
    base = {"video_id": ids, "split": split, "path": paths, "fps": np.full(N, FPS), "duration": durations}
    base["n_frames"] = np.round(durations * FPS)
    tables.write(run / "manifest.parquet", "manifest", base | {"part": np.zeros(N)})
    spacing = {"snippet_stride": np.full(N, STRIDE), "snippet_window": np.full(N, WINDOW)}
    tables.write(
        run / "videos.parquet", "videos", base | spacing | {"n_snippets": lengths, "part": ["part-0000.parquet"] * N}
    )
    gone = ["broken.mp4"] if shape.skipped else []
    reasons = ["no video stream (<b>truncated</b> file?)"] * len(gone)
    tables.write(run / "skipped.parquet", "skipped", {"video_id": gone, "path": gone, "reason": reasons})

    truth = rng.integers(0, K, N)
    segments = [_segments(rng, duration) for duration in durations]
    rows = [(i, a, b) for i, pieces in enumerate(segments) for a, b in pieces] if shape.annotations else []
    annotations = {
        "video_id": [ids[i] for i, _, _ in rows],
        "label": [ACTIONS[truth[i] % len(ACTIONS)] for i, _, _ in rows],
        "t_start": [a for _, a, _ in rows],
        "t_end": [b for _, _, b in rows],
    }
    tables.write(run / "annotations.parquet", "annotations", annotations)

    values: list[tuple[str, int, int, str, str, float]] = []
    for v, variant in enumerate(shape.variants):
        for one in shape.seeds:
            for iteration in range(1, shape.iterations + 1):
                place = run / variant / f"seed-{one}" / f"iter-{iteration}"
                skill = 0.3 + 0.55 * iteration / shape.iterations - 0.08 * v + 0.02 * rng.standard_normal()
                values += _metrics(variant, one, iteration, skill, shape)
                number = re.search(r"-k(\d+)$", variant)
                here = replace(shape, clusters=int(number[1])) if number else shape
                share = min(1.0, max(0.1, skill))
                _iteration(place, rng, here, ids, lengths, truth % here.clusters, segments, iteration, share)
    columns = zip(*values, strict=True)
    names = ("variant", "seed", "iteration", "stage", "metric", "value")
    tables.write(run / "metrics.parquet", "metrics", {n: list(c) for n, c in zip(names, columns, strict=True)})
    if shape.segments:
        tile = _tile(ids, durations, 9)
        tables.write(run / shape.variants[0] / f"seed-{shape.seeds[0]}" / "segments.parquet", "segments", tile)
    if shape.parts:
        for variant in shape.variants:
            _cut(run / variant, ids, lengths, shape)
    return run


def _tile(ids: list[str], durations: np.ndarray, clusters: int) -> dict[str, np.ndarray]:
    """Three segments of equal length in each video, of clusters that go round; the last one is the clearest."""
    video, third = np.repeat(np.arange(len(ids)), 3), np.tile(np.arange(3), len(ids))
    length = durations[video] / 3
    return {
        "video_id": np.array(ids, object)[video], "cluster": (video + third) % clusters, "score": 0.3 + 0.2 * third,
        "t_start": third * length, "t_end": (third + 1) * length,
    }  # fmt: skip


def _cut(variant: Path, ids: list[str], lengths: np.ndarray, shape: Shape) -> None:
    """Two parts a video, the halves; the second half of every third video is of the next cluster."""
    N, K, train = len(ids), shape.clusters, shape.train
    half, part = lengths // 2, np.tile([0, 1], N)
    n = np.stack([half, lengths - half], 1).ravel()
    first = np.stack([np.zeros(N, int), half], 1).ravel()
    parts = {"video_id": np.repeat(np.array(ids, object), 2), "part": part, "first": first, "n_snippets": n}
    parts |= {"t_start": first * STRIDE / FPS, "t_end": ((first + n) * STRIDE + part * STRIDE) / FPS}
    tables.write(variant / "parts.parquet", "parts", parts)
    names = name_parts(parts)
    for place in variant.glob("seed-*/iter-*"):
        refined = tables.read(place / "refined.parquet", "refined")
        other = np.arange(2 * train) % 6 == 1  # the second part of the first, fourth, … video
        cluster = (np.repeat(refined["cluster"], 2) + other) % K
        rows = {name: np.repeat(column, 2, 0) for name, column in refined.items()}
        rows |= {"video_id": names[: 2 * train], "cluster": cluster}
        tables.write(place / "parts/refined.parquet", "refined", rows)
        pooled = tables.read(place / "pooled.parquet", "pooled")["feature"]
        tables.write(
            place / "parts/pooled.parquet", "pooled",
            {"video_id": names[: 2 * train], "feature": np.repeat(pooled, 2, 0) + 0.5 * part[: 2 * train, None]},
        )  # fmt: skip
        chosen = np.flatnonzero(part[: 2 * train] == 0)
        sure = {name: rows[name][chosen] for name in ("video_id", "cluster", "distance")}
        tables.write(place / "parts/selected.parquet", "selected", sure | {"rank": np.arange(len(chosen))})
        embeddings = tables.read(place / "embeddings.parquet", "embeddings")
        doubled = {name: np.repeat(embeddings[name], 2, 0) for name in ("feature", "score")}
        tables.write(place / "parts/embeddings.parquet", "embeddings", {"video_id": names, **doubled})


def _segments(rng: np.random.Generator, duration: float) -> list[tuple[float, float]]:
    """Two stretches of the action that lie inside the video."""
    edges = np.sort(rng.uniform(0.05, 0.95, 4)) * duration
    return [(float(edges[0]), float(edges[1])), (float(edges[2]), float(edges[3]))]


def _metrics(
    variant: str, seed: int, iteration: int, skill: float, shape: Shape
) -> list[tuple[str, int, int, str, str, float]]:
    found = {("select", "share"): iteration / shape.iterations, ("cluster", "silhouette"): 0.1 + 0.3 * skill}
    if iteration > 1:
        found["refine", "stability"] = 0.5 + 0.5 * skill
    if shape.annotations:
        for stage, gain in (("cluster", 0.0), ("refine", 0.05), ("select", 0.1)):
            for metric, scale in (("nmi", 1.0), ("ari", 0.8), ("purity", 1.05), ("accuracy", 1.02)):
                found[stage, metric] = min(1.0, scale * (skill + gain))
        found["localize", "mAP"] = 0.55 * skill
        found["localize", "mAP_hungarian"] = 0.5 * skill
        for tiou in (0.1, 0.3, 0.5, 0.7):
            found["localize", f"mAP@{tiou}"] = skill * (1 - tiou)
    return [(variant, seed, iteration, stage, metric, float(value)) for (stage, metric), value in found.items()]


def _iteration(
    place: Path,
    rng: np.random.Generator,
    shape: Shape,
    ids: list[str],
    lengths: np.ndarray,
    truth: np.ndarray,
    segments: list[list[tuple[float, float]]],
    iteration: int,
    skill: float,
) -> None:
    K, train, D = shape.clusters, shape.train, 16
    means = np.random.default_rng(1).standard_normal((K, D)) * 4
    spread = 5 * (1 - skill) + 0.8
    pooled = means[truth[:train]] + spread * rng.standard_normal((train, D))
    tables.write(place / "centres.parquet", "centres", {"cluster": np.arange(K), "feature": means})
    wrong = rng.random(train) > skill
    cluster = np.where(wrong, rng.integers(0, K, train), truth[:train]).astype(np.int32)
    distance = np.clip(0.25 + 0.4 * wrong + 0.1 * rng.standard_normal(train), 0.02, 0.98)
    tables.write(place / "pooled.parquet", "pooled", {"video_id": ids[:train], "feature": pooled})
    tables.write(
        place / "clusters.parquet", "clusters", {"video_id": ids[:train], "cluster": cluster, "distance": distance * 9}
    )
    refined = {"video_id": ids[:train], "cluster": cluster, "distance": distance, "jaccard": distance}
    refined |= {"euclidean": distance, "margin": 1 - distance}
    tables.write(place / "refined.parquet", "refined", refined)
    size = np.bincount(cluster, minlength=K)[cluster]
    sure = {"video_id": ids[:train], "cluster": cluster, "agreement": 1 - distance, "clarity": 1 - distance}
    sure |= {"stability": size / (size + 2), "confidence": size / (size + 2) * (1 - distance / 2)}
    tables.write(place / "confidence.parquet", "confidence", sure)
    chosen, ranks = [], []
    for c in range(K):
        members = np.flatnonzero(cluster == c)
        order = members[np.argsort(distance[members], kind="stable")]
        quota = int(np.ceil(len(order) * iteration / shape.iterations))
        chosen += order[:quota].tolist()
        ranks += list(range(quota))
    selected = {"video_id": [ids[i] for i in chosen], "cluster": cluster[chosen], "distance": distance[chosen]}
    tables.write(place / "selected.parquet", "selected", selected | {"rank": ranks})

    steps = np.arange(1, 301)
    loss = 0.2 + 0.9 * np.exp(-steps / 60) * (1.1 - 0.1 * iteration) + 0.02 * rng.standard_normal(300)
    training = {"step": steps, "loss": loss, "learning_rate": np.full(300, 1e-4)}
    tables.write(place / "training.parquet", "training", training)

    predicted = np.concatenate([cluster, truth[train:]])
    _attention(place, rng, ids, lengths, predicted, segments, K)
    mapped = np.arange(K if shape.annotations else 0)
    mapping = {"protocol": ["published"] * len(mapped), "cluster": mapped, "weight": np.ones(len(mapped))}
    tables.write(place / "mapping.parquet", "mapping", mapping | {"label": [ACTIONS[c % len(ACTIONS)] for c in mapped]})


def _attention(
    place: Path,
    rng: np.random.Generator,
    ids: list[str],
    lengths: np.ndarray,
    predicted: np.ndarray,
    segments: list[list[tuple[float, float]]],
    K: int,
) -> None:
    N = len(ids)
    row = np.concatenate([np.arange(length) for length in lengths])
    video = np.repeat(np.arange(N), lengths)
    start = row * STRIDE / FPS
    last = np.append(video[1:] != video[:-1], True)
    end = start + np.where(last, max(WINDOW, STRIDE), STRIDE) / FPS  # as attention tables have it
    middle = start + WINDOW / FPS / 2
    bounds = np.array(segments)[video]  # [rows, 2, 2]
    inside = ((middle[:, None] >= bounds[..., 0]) & (middle[:, None] <= bounds[..., 1])).any(1)
    level = 0.08 + 0.75 * inside + 0.06 * rng.standard_normal(len(row))
    level = np.clip(np.convolve(level, [0.25, 0.5, 0.25])[1:-1], 0, None)
    activation = 0.06 * rng.random((len(row), K))
    activation[np.arange(len(row)), predicted[video]] += level
    attention = {"video_id": [ids[i] for i in video], "snippet": row, "t_start": start, "t_end": end}
    attention |= {"actionness": activation.sum(1), "activation": activation}
    with tables.write_in_pieces(place / "attention.parquet", "attention") as writer:
        for first in range(0, len(row), PIECE):
            writer.add({name: values[first : first + PIECE] for name, values in attention.items()})
    score = np.full((N, K), 0.1 / K) + 0.9 * np.eye(K)[predicted]
    tables.write(
        place / "embeddings.parquet",
        "embeddings",
        {"video_id": ids, "feature": rng.standard_normal((N, 8)), "score": score},
    )
    found = []
    for i, pieces in enumerate(segments):
        for a, b in pieces:
            shift = rng.normal(0, 0.3, 2)
            found.append((ids[i], predicted[i], rng.uniform(0.5, 1.0), max(0.0, a + shift[0]), b + abs(shift[1])))
            found.append((ids[i], predicted[i], rng.uniform(0.1, 0.4), max(0.0, a - 1), b + 1))
        found.append((ids[i], (predicted[i] + 1) % K, rng.uniform(0.05, 0.2), *segments[i][0]))
    names = ("video_id", "cluster", "score", "t_start", "t_end")
    columns = zip(*found, strict=True)
    tables.write(place / "detections.parquet", "detections", {n: list(c) for n, c in zip(names, columns, strict=True)})
    detections, sure = (tables.read(place / f"{kind}.parquet", kind) for kind in ("detections", "confidence"))
    tables.write(place / "moments.parquet", "moments", find_moments(detections, Rule(), sure))
