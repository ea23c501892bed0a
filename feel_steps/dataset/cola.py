"""CoLA's folders of features, listed as a manifest; only the headers of the arrays are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from feel_steps.dataset.array_file import ArrayError, open_array
from feel_steps.dataset.arrays import common_length
from feel_steps.dataset.files import identifier, list_files, list_names, read_text
from feel_steps.dataset.videos import SPLITS, balance, require_videos, strings
from feel_steps.errors import InputError
from feel_steps.tables.kinds import Columns

STREAMS = ("rgb", "flow")


def import_cola(
    root: str | Path, *, fps: float, window: int, stride: int, parts: int = 1, links: str = "inside"
) -> Columns:
    """Make the manifest of features in CoLA's folders; only the headers of the arrays are read.

    Parameters
    ----------
    root : path
        Holds features/{train,test}/{rgb,flow}/NAME.npy, each [T, D], and split_train.txt and split_test.txt with a name
        a line. Without split_test.txt there is no test split.
    fps : float
        Frames per second that the features were extracted at.
    window, stride : int
        Frames that a snippet covers, and frames between the starts of two.
    parts : int
        Number of parts to extract.
    links : {"inside", "anywhere"}
        Where links in the folder may lead, see :func:`feel_steps.dataset.files.list_files`.

    Returns
    -------
    columns of a manifest, sorted by video_id

    Raises
    ------
    InputError
    """
    root = Path(root)
    list_files(root, links)  # refuses links that lead out
    splits = _read_cola_splits(root)
    missing = [
        f"{split}/{stream}/{video_id}.npy"
        for video_id, split in splits.items()
        for stream in STREAMS
        if not cola_path(root, split, stream, video_id).is_file()
    ]
    if missing:
        raise InputError(
            f"{root / 'features'}: {len(missing)} files of videos in the split files are missing: "
            f"{list_names(missing)}; "
            "add them, or take the videos out of the split files"
        )
    lengths: list[int] = []
    dimensions: dict[str, tuple[int, Path]] = {}  # stream -> dimension, and the first file that has it
    for video_id, split in splits.items():
        shapes = {}
        for stream in STREAMS:
            path = cola_path(root, split, stream, video_id)
            shapes[stream] = open_npy(path).shape
            dimension = shapes[stream][1]
            expected, first = dimensions.setdefault(stream, (dimension, path))
            if dimension != expected:
                raise InputError(
                    f"{path}: {stream} features of dimension {dimension}, but {expected} in {first}; "
                    "all videos need features of one extractor"
                )
        lengths.append(common_length([shapes["rgb"][0], shapes["flow"][0]], f"video '{video_id}' in {root}"))
    n_videos = len(splits)
    duration = ((np.array(lengths, np.float64) - 1) * stride + window) / fps
    manifest: Columns = {
        "video_id": strings(splits),
        "split": strings(splits.values()),
        "path": np.full(n_videos, None, object),
        "fps": np.full(n_videos, fps, np.float64),
        "n_frames": np.full(n_videos, -1, np.int64),
        "duration": duration,
        "part": balance(duration, parts),
    }
    require_videos(manifest["split"], str(root / "split_train.txt"))
    return manifest


def _read_cola_splits(root: Path) -> dict[str, str]:
    """Read the split files as id -> split, in the ids' order."""
    splits: dict[str, str] = {}
    for split in SPLITS:
        path = root / f"split_{split}.txt"
        if split == "test" and not path.exists():
            continue
        for line, name in enumerate(read_text(path).splitlines(), start=1):
            if not name.strip():
                continue
            video_id = identifier(name.strip(), f"{path}, line {line}")
            if video_id in splits:
                where = f"split_{splits[video_id]}.txt" if splits[video_id] != split else "the same file"
                raise InputError(f"{path}, line {line}: '{video_id}' stands already in {where}; keep one")
            splits[video_id] = split
    return dict(sorted(splits.items()))


def cola_path(root: str | Path, split: str, stream: str, video_id: str) -> Path:
    """Where CoLA's layout keeps one stream of a video's features."""
    return Path(root) / "features" / split / stream / f"{video_id}.npy"


def open_npy(path: Path) -> np.ndarray:
    """Map a feature array [T, D], T > 0, without reading it."""
    try:
        return open_array(path).load()
    except ArrayError as error:
        raise InputError(f"{path}: {error}") from None
