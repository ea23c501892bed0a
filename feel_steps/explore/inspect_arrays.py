"""Guesses which network made a folder of arrays, and writes the part of a config that reads it.

Dimension, range and zeros of the values indicate the last layer of a network. The number of snippets and the durations
of the videos give the snippets per second.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from feel_steps.dataset.array_file import READERS, ArrayError, load_array, open_array
from feel_steps.dataset.arrays import lies_across
from feel_steps.dataset.cola import STREAMS
from feel_steps.dataset.files import AT_MOST, read_json
from feel_steps.dataset.video_file import VideoError, probe
from feel_steps.errors import InputError
from feel_steps.runtime.progress import Progress

RATES = (1.0, 2.0, 5.0, 8.0, 10.0, 12.0, 15.0, 20.0, 24.0, 25.0, 29.97, 30.0)  # common frame rates
STRIDES = (1, 2, 4, 5, 8, 10, 16, 24, 32, 64)
NETWORKS = {  # dimension of one stream -> networks that commonly have it
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
    """Statistics of the values of one stream, collected file by file."""

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

    def add(self, features: np.ndarray) -> int:
        """Add features [T, D] to the statistics; how many of them are broken."""
        self.files += 1
        self.rows += len(features)
        self.dimensions.add(features.shape[1])
        self.types.add(str(features.dtype))
        x = np.asarray(features, np.float64)
        fine = np.isfinite(x)
        broken = int((~fine).sum())
        self.broken += broken
        x = np.where(fine, x, 0)
        self.count += x.size
        self.low, self.high = min(self.low, float(x.min())), max(self.high, float(x.max()))
        self.total, self.squares = self.total + float(x.sum()), self.squares + float((x**2).sum())
        self.zeros += int((x == 0).sum())
        self.negative += int((x < 0).sum())
        self.unit += int((np.abs(np.linalg.norm(x, axis=1) - 1) < 1e-3).sum())
        self.simplex += int(((np.abs(x.sum(1) - 1) < 1e-3) & (x >= 0).all(1)).sum())
        return broken

    @property
    def mean(self) -> float:
        """Mean of all values."""
        return self.total / max(1, self.count)

    @property
    def deviation(self) -> float:
        """Standard deviation of all values."""
        return max(0.0, self.squares / max(1, self.count) - self.mean**2) ** 0.5


# the streams of extractor i3d, and a sample of published features
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


@dataclass(frozen=True)
class Timing:
    """Frames per second, frames per snippet (window), and frames from one snippet to the next (stride)."""

    fps: float
    window: int
    stride: int


def describe_arrays(
    root: Path, *, fps: float, window: int, stride: int, videos: str | Path | None, key: str | None
) -> list[str]:
    """Describe a folder of arrays; parameters as in :func:`feel_steps.explore.inspect.inspect`.

    Raises
    ------
    InputError
        None of the files can be read.
    """
    found = find_arrays(root)
    source = videos or (root / "gt.json" if (root / "gt.json").is_file() else None)
    durations, rates = _durations(source) if source else ({}, [])
    problems: dict[Path, str] = {}
    shapes = _read_each(found, lambda _, file: open_array(file, key).shape, problems)
    across = any(lies_across(list(own.values())) for own in shapes.values())
    values = {stream: Values() for stream in found}

    broken: list[str] = []
    dimensions: dict[str, dict[Path, int]] = {stream: {} for stream in found}

    def read(stream: str, file: Path) -> int:
        progress.advance()
        features = load_array(file, key, across)
        if bad := values[stream].add(features):
            broken.append(f"{file}: {bad} values are NaN or infinite")
        dimensions[stream][file] = features.shape[1]
        return len(features)

    with Progress("reading", sum(map(len, found.values())), "array") as progress:
        lengths = _read_each(found, read, problems)
    if not lengths:
        others = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise InputError(next(iter(problems.values())) + others)
    streams = list(lengths)
    arrays = {stream: {video: found[stream][video] for video in own} for stream, own in lengths.items()}
    n = max(len(files) for files in arrays.values())
    lines = [f"{root}: {n} video{'s' * (n != 1)}"]
    lines += _list("files that cannot be read, left out of what follows", list(problems.values()))
    lines += _list("files with broken values", broken)
    lines += _list("files of another dimension than most", [line for own in dimensions.values() for line in _odd(own)])
    lines += _table([("", *streams, "extractor i3d"), *_rows([values[stream] for stream in streams])])
    if across:
        lines.append(
            "  the arrays are [dimension, snippets]: only the second number differs; they are shown transposed"
        )
    lines += _uneven(lengths, arrays, key)
    asked = Timing(fps, window, stride)
    text, timing = _pace(next(iter(lengths.values())), durations, rates, asked)
    lines += [*text, "most likely: " + _guess([values[stream] for stream in streams])]
    folder = Path(videos) if videos and Path(videos).is_dir() else None
    return lines + _config(root, arrays, timing, asked, folder, key, across)


# ---------------------------------------------------------------------------------------------------- the arrays


def find_arrays(root: Path) -> dict[str, dict[str, Path]]:
    """Arrays below a folder: stream -> video -> file.

    A stream is a folder or file named rgb or flow. If there is none, sub-folders with the same file names are streams.
    """
    files = [file for file in sorted(root.rglob("*")) if file.suffix.lower() in READERS and file.is_file()]
    names = {file: file.relative_to(root).with_suffix("").parts for file in files}
    streams = STREAMS if any(set(STREAMS) & set(parts) for parts in names.values()) else _same_names(names.values())
    arrays: dict[str, dict[str, Path]] = {}
    for file, parts in names.items():
        place = max((i for i, name in enumerate(parts) if name in streams), default=None)
        stream = "features" if place is None else parts[place]
        rest = parts if place is None else parts[place + 1 :] or parts[:place] or (root.name,)
        video = arrays.setdefault(stream, {})
        video["/".join(rest) if "/".join(rest) not in video else "/".join(parts)] = file
    return dict(sorted(arrays.items(), key=lambda item: [*STREAMS, item[0]].index(item[0])))


def _same_names(names: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """Sub-folders that are streams, because all of them hold arrays of the same names."""
    held: dict[str, set[tuple[str, ...]]] = {}
    for first, *rest in names:
        held.setdefault(first if rest else "", set()).add(tuple(rest))
    same = "" not in held and len(held) > 1 and len({frozenset(own) for own in held.values()}) == 1
    return tuple(held) if same else ()


def _list(title: str, entries: Sequence[str]) -> list[str]:
    """The entries under a title that counts them; beyond ten, the first ones."""
    more = len(entries) - AT_MOST
    shown = [f"    {entry}" for entry in entries[:AT_MOST]] + [f"    and {more} more"] * (more > 0)
    return [f"  {title}: {len(entries)}", *shown] if entries else []


def _odd(dimensions: Mapping[Path, int]) -> list[str]:
    """Files whose dimension is not the most frequent one."""
    counts = Counter(dimensions.values())
    usual = max(counts, key=counts.__getitem__, default=0)
    return [f"{file}: dimension {d}, not {usual}" for file, d in dimensions.items() if d != usual]


def _read_each(
    found: Mapping[str, Mapping[str, Path]], read: Callable[[str, Path], Any], problems: dict[Path, str]
) -> dict[str, dict[str, Any]]:
    """What ``read`` gives for each stream and file, by stream and video.

    A file that cannot be read is missing, and gets a line in ``problems``.
    """
    results: dict[str, dict[str, Any]] = {}
    for stream, files in found.items():
        for video, file in files.items():
            try:
                result = read(stream, file)
            except ArrayError as error:
                problems[file] = f"{file}: {error}"
            else:
                results.setdefault(stream, {})[video] = result
    return results


def _durations(source: str | Path) -> tuple[dict[str, float], list[float]]:
    """Duration of each video in seconds, by id, from video files or a JSON; and the frame rates of the files."""
    source = Path(source)
    if source.is_dir():
        durations, rates = {}, []
        for file in sorted(source.rglob("*")):
            if file.is_file() and file.suffix:
                try:
                    info = probe(file)
                except VideoError:
                    continue  # not a video, or of unknown duration
                durations[file.relative_to(source).with_suffix("").as_posix()] = info.duration
                rates.append(round(info.fps, 2))
        return durations, rates
    content = read_json(source)
    try:
        database: Mapping[str, Any] = content["database"]
        return {name: float(entry["duration"]) for name, entry in database.items() if "duration" in entry}, []
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"{source}: no ActivityNet-style JSON with a 'database' of videos ({error!r})") from None


def _rows(values: list[Values]) -> Iterable[tuple[str, ...]]:
    """Rows of the comparison: name of the property, a column per stream, and our extractor."""
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


def _uneven(
    lengths: Mapping[str, Mapping[str, int]], arrays: Mapping[str, Mapping[str, Path]], key: str | None
) -> list[str]:
    """Problems of the two streams, such as videos that have only one."""
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
    if both:
        rgb_array, flow_array = (load_array(arrays[stream][both[0]], key) for stream in STREAMS)
        if np.array_equal(rgb_array, flow_array):
            lines.append(f"  rgb and flow of '{both[0]}' have equal values: one is a copy of the other")
    return lines


def _pace(
    lengths: Mapping[str, int], durations: Mapping[str, float], rates: list[float], asked: Timing
) -> tuple[list[str], Timing | None]:
    """Check whether snippets and durations fit fps, window and stride; otherwise find settings that fit."""
    known = [video for video in lengths if video in durations]
    if not known:
        if durations:
            return [
                f"  no durations known: arrays such as '{next(iter(lengths))}', videos '{next(iter(durations))}'"
            ], None
        return ["  no durations known: give videos, or a JSON with durations, to check the number of snippets"], None
    T = np.array([lengths[video] for video in known])
    seconds = np.array([durations[video] for video in known])

    fps, stride = asked.fps, asked.stride
    off = np.abs(T - ((seconds * fps - asked.window) / stride + 1))  # difference of snippets, positive or negative
    fit = int((off <= 2).sum())
    lines = [
        f"  {T.sum() / seconds.sum():.3f} snippets per second in {len(known)} videos; {fps:g} fps and stride {stride} "
        f"make {fps / stride:.3f}: {fit} of {len(known)} fit"
    ]
    if fit < len(known):
        worst = int(off.argmax())
        lines.append(f"  farthest off: {known[worst]}, {T[worst]} snippets in {seconds[worst]:.1f} s")
    if fit >= 0.9 * len(known):
        return lines, asked
    if len(T) > 2 and len(np.unique(T)) == 1:
        return [*lines, f"  every video has {T[0]} snippets: resampled to one length, so times are lost"], None
    errors = _pace_errors(T, seconds, rates, asked.window)
    best = min(errors.values())
    if best >= 0.05:
        lines.append("  no common frame rate and stride gives these lengths: each video may have its own rate")
        return lines, None
    fitting = {(one.fps, one.stride): one for one, error in errors.items() if error <= best + 0.002}
    lines.append("  the pace of " + " or ".join(f"{rate:g} fps with stride {step}" for rate, step in fitting))
    return lines, min(fitting.values(), key=lambda one: (one.fps not in rates, errors[one]))


def _pace_errors(T: np.ndarray, seconds: np.ndarray, rates: list[float], window: int) -> dict[Timing, float]:
    """Errors of common rates and strides, each with the best window, relative to the duration of a video."""
    errors = {}
    for rate in sorted({*RATES, *rates}):
        for step in STRIDES:
            # from the start of the last snippet to the end of the video: the window, and on average half a stride
            rest = seconds * rate - (T - 1) * step - (step - 1) / 2
            best = min({1, step, 2 * step, 8, 16, 32, 64, window}, key=lambda w: (np.median(np.abs(rest - w)), w))
            errors[Timing(rate, best, step)] = float(np.median(np.abs(rest - best)) / np.median(T * step))
    return errors


# ---------------------------------------------------------------------------------------------------- config


def _config(
    root: Path,
    arrays: Mapping[str, Mapping[str, Path]],
    timing: Timing | None,
    asked: Timing,
    videos: Path | None,
    key: str | None,
    across: bool,
) -> list[str]:
    """The part of a config that reads the folder."""
    dataset: dict[str, Any] = {"layout": "features", "path": str(root)}
    if (root / "split_train.txt").is_file() and (root / "features").is_dir():
        dataset["layout"] = "cola"
    elif set(arrays) != {"features"}:
        found = [_folder(root, stream, files) for stream, files in arrays.items()]
        folders = [folder for folder in found if folder]
        if len(folders) < len(found):
            return ["no layout reads these folders: put each stream into one folder, rgb/NAME.npy and flow/NAME.npy"]
        dataset |= {"path": str(root / folders[0])} if len(folders) == 1 else {"streams": folders}
    if dataset["layout"] == "features":
        dataset |= {"key": key} if key else {}
        dataset |= {"transposed": True} if across else {}
        dataset |= {"videos": str(videos)} if videos else {}
    used = timing or asked
    fps = int(used.fps) if used.fps == int(used.fps) else used.fps
    block = {"dataset": dataset, "features": {"fps": fps, "window": used.window, "stride": used.stride}}
    unsure = "; fps, window and stride are unknown: fill in those of the extraction" if timing is None else ""
    return [f"# a config that reads these arrays{unsure}", *yaml.safe_dump(block, sort_keys=False).splitlines()]


def _folder(root: Path, stream: str, files: Mapping[str, Path]) -> str | None:
    """The sub-folder that holds the arrays of a stream under their ids; None if there is none."""
    names = {
        file.relative_to(root).with_suffix("").as_posix().removesuffix(f"/{video}") for video, file in files.items()
    }
    folder = names.pop()
    return folder if not names and folder.split("/")[-1] == stream else None


# ---------------------------------------------------------------------------------------------------- the network


def summarize(values: Values) -> str:
    """One line on the values of a stream."""
    broken = f", {values.broken} NaN or infinite" if values.broken else ""
    return (
        f"{values.low:.4g} to {values.high:.4g}, mean {values.mean:.3f}, deviation {values.deviation:.3f}, "
        f"{values.zeros / values.count:.1%} zeros, {values.negative / values.count:.1%} negative{broken}"
    )


def _guess(values: list[Values]) -> str:
    """One sentence on the network that may have made the arrays."""
    if any(v.broken for v in values):
        return "damaged: some values are NaN or infinite"
    if any(len(v.dimensions) > 1 for v in values):
        return "several extractors: the files have different dimensions"
    dimensions = [next(iter(v.dimensions)) for v in values]
    if all(v.simplex > 0.99 * v.rows for v in values):
        return f"probabilities of {dimensions[0]} classes, not features"
    negative = any(v.negative for v in values)
    if not negative and all(v.unit > 0.99 * v.rows for v in values):
        return f"{NETWORKS.get(dimensions[0], 'a network after a ReLU')}, each row scaled to length 1"
    if set(dimensions) == {1024} and not negative:
        # an average of 2 x 7 x 7 outputs of a ReLU is rarely zero and rarely large
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
