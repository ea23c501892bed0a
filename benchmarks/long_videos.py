"""How much of a long video has attention to see? Joins videos of one class, trains, and scores each way of sampling.

    python benchmarks/long_videos.py data/msrc12 --join 4

The folder is in CoLA's layout, with one class a video. True labels train the localizer, so that nothing but attention
differs: ``length`` looks at as many snippets as training did, ``windows`` at windows side by side, ``all`` at every
snippet.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from feel_steps.attend import attend
from feel_steps.dataset.cola import STREAMS, cola_path, common_length
from feel_steps.dataset.videos import SPLITS
from feel_steps.evaluation.detection_map import mean_average_precision
from feel_steps.localize import Settings, localize
from feel_steps.tables.kinds import Columns
from feel_steps.tables.snippets import Snippets
from feel_steps.train import train

LENGTH, STEPS = 64, 200  # snippets of a training video, and training steps
HOW = {"device": "cpu", "threads": 2}


def read(source: Path, join: int, fps: float, stride: int) -> tuple[Snippets, Columns, Columns]:
    """Videos of ``join`` videos of a class and split, one after the other; their videos and annotations tables."""
    truth = json.loads((source / "gt.json").read_text())["database"]
    groups = defaultdict[tuple[str, str], list[str]](list)
    for split in SPLITS:
        for name in (source / f"split_{split}.txt").read_text().split():
            if len(labels := {row["label"] for row in truth[name]["annotations"]}) == 1:
                groups[split, labels.pop()].append(name)
    pieces, ids, splits, segments = list[np.ndarray](), list[str](), list[str](), list[tuple[str, str, float, float]]()
    for (split, label), names in sorted(groups.items()):
        for first in range(0, len(names) - join + 1, join):
            now, own = 0.0, []
            ids.append(f"{split}-{label}-{first}")
            splits.append(split)
            for name in names[first : first + join]:
                arrays = [np.load(cola_path(source, split, stream, name)) for stream in STREAMS]
                T = common_length([len(array) for array in arrays], name)
                own.append(np.concatenate([array[:T] for array in arrays], 1))
                for row in truth[name]["annotations"]:
                    start, end = map(float, row["segment"])
                    segments.append((ids[-1], label, start + now, end + now))
                now += T * stride / fps
            pieces.append(np.concatenate(own).astype(np.float32))
    n = np.array([len(piece) for piece in pieces])
    snippets = Snippets(ids, np.concatenate(pieces), np.concatenate([[0], np.cumsum(n)]))
    videos: Columns = {
        "video_id": np.array(ids, object),
        "split": np.array(splits, object),
        "fps": np.full(len(ids), fps),
        "snippet_stride": np.full(len(ids), stride),
    }
    columns = zip(*segments, strict=True)
    types = {"video_id": object, "label": object, "t_start": float, "t_end": float}
    annotations = {name: np.array(column, of) for (name, of), column in zip(types.items(), columns, strict=True)}
    return snippets, videos, annotations


def main(
    source: Annotated[Path, typer.Argument(help="CoLA's folders, with gt.json")],
    join: Annotated[int, typer.Option(min=1, help="videos that make one")] = 4,
    fps: Annotated[float, typer.Option(help="frames a second")] = 30.0,
    stride: Annotated[int, typer.Option(help="frames from one snippet to the next")] = 8,
    window: Annotated[int, typer.Option(help="frames of a snippet")] = 16,
    seeds: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """Print mAP of each way of sampling, a line a seed."""
    snippets, videos, truth = read(source, join, fps, stride)
    videos["snippet_window"] = np.full(len(videos["video_id"]), window)
    classes, label = np.unique([video_id.split("-")[1] for video_id in snippets.video_ids], return_inverse=True)
    training = np.flatnonzero(videos["split"] == "train")
    tested = np.isin(truth["video_id"], videos["video_id"][videos["split"] == "test"])
    truth = {name: column[tested] for name, column in truth.items()}
    n = snippets.lengths
    print(f"{len(training)} training and {len(n) - len(training)} test videos, {np.median(n):g} snippets (median)")
    for seed in range(seeds):
        settings = {"clusters": len(classes), "seed": seed, "steps": STEPS, "batch": 16, "length": LENGTH}
        localizer = {"learning_rate": 2e-4, "settings": {"hidden": 128}, "precision": "auto"}
        model, _ = train(snippets, training, label[training], **settings, **localizer, **HOW)
        ways = {"length": (LENGTH, "length"), "windows": (LENGTH, "windows"), "all": (int(n.max()), "length")}
        for way, (length, sampling) in ways.items():
            maps = attend(model, snippets, videos, length=length, sampling=sampling, precision="float32", **HOW)
            found = localize(*maps, videos, Settings())
            found["label"] = classes[found["cluster"]].astype(object)
            kept = np.isin(found["video_id"], truth["video_id"])
            found = {name: column[kept] for name, column in found.items()}
            print(f"seed {seed}, {way}: mAP {mean_average_precision(found, truth).average:.3f}", flush=True)


if __name__ == "__main__":
    typer.run(main)
