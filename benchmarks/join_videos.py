"""Make videos of two actions from videos of one, in CoLA's folders: what do several classes in a video cost?

    python benchmarks/join_videos.py data/msrc12 data/msrc12_pairs --fps 30 --stride 8
    python benchmarks/join_videos.py data/msrc12 data/msrc12_alike --fps 30 --stride 8 --alike

Of the videos that come out, in either split, a share (default 0.5) is two of different classes, one after the other;
the rest stay as they are. With --alike both are of one class: as many videos, about as long, and none of two actions,
which is what to compare with. The same seed gives the same files.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from feel_steps.dataset.cola import STREAMS, cola_path, common_length
from feel_steps.dataset.videos import SPLITS

Group = tuple[str, ...]  # names of the videos that are joined, or one that stays alone


def draw_groups(
    names: list[str], labels: dict[str, set[str]], share: float, alike: bool, seed: list[int]
) -> list[Group]:
    """Put each video into a group of two or one, such that a share of the groups is of two."""
    wanted = round(len(names) * share / (1 + share))
    waiting = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    pairs: list[Group] = []
    single: list[Group] = []
    while waiting:
        first = waiting.pop(0)
        second = next((name for name in waiting if (labels[name] == labels[first]) == alike), None)
        if second is None or len(pairs) == wanted:
            single.append((first,))
        else:
            waiting.remove(second)
            pairs.append((first, second))
    if len(pairs) < wanted:
        raise typer.BadParameter(f"{share}: only {len(pairs)} pairs can be made, {wanted} are needed; lower it")
    return sorted(pairs + single)


def main(
    source: Annotated[Path, typer.Argument(help="CoLA's folders, with gt.json")],
    out: Annotated[Path, typer.Argument(help="a new folder")],
    share: Annotated[float, typer.Option(min=0, max=1, help="of the new videos, how many are of two")] = 0.5,
    fps: Annotated[float, typer.Option(help="frames a second")] = 25.0,
    stride: Annotated[int, typer.Option(help="frames from one snippet to the next")] = 16,
    alike: Annotated[bool, typer.Option("--alike", help="join videos of one class")] = False,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    if out.exists():
        raise typer.BadParameter(f"{out}: it is there already; name a new folder")
    database = json.loads((source / "gt.json").read_text())["database"]
    labels = {name: {segment["label"] for segment in video["annotations"]} for name, video in database.items()}
    joined = {}
    out.mkdir(parents=True)
    for number, split in enumerate(SPLITS):
        names = (source / f"split_{split}.txt").read_text().split()
        groups = draw_groups(names, labels, share, alike, [seed, number])
        for stream in STREAMS:
            cola_path(out, split, stream, "").parent.mkdir(parents=True)
        for group in groups:
            name, segments, start = "+".join(group), [], 0.0
            videos = [[np.load(cola_path(source, split, stream, own)) for stream in STREAMS] for own in group]
            lengths = [
                common_length([len(rgb), len(flow)], own) for own, (rgb, flow) in zip(group, videos, strict=True)
            ]
            for i, stream in enumerate(STREAMS):
                features = [video[i][:length] for video, length in zip(videos, lengths, strict=True)]
                np.save(cola_path(out, split, stream, name), np.concatenate(features))
            for own, length in zip(group, lengths, strict=True):
                for segment in database[own]["annotations"]:
                    times = [round(start + float(time), 3) for time in segment["segment"]]
                    segments.append({"segment": times, "label": segment["label"]})
                start += length * stride / fps
            joined[name] = {"subset": split, "annotations": segments}
        (out / f"split_{split}.txt").write_text("".join(f"{'+'.join(group)}\n" for group in groups))
        print(f"{split}: {len(groups)} videos, {sum(len(group) == 2 for group in groups)} of them joined")
    (out / "gt.json").write_text(json.dumps({"database": joined}))


if __name__ == "__main__":
    typer.run(main)
