"""What users bring: a folder of videos, CoLA's folders of features, annotations; each becomes a table.

Everything that can be wrong with a data set is found here, before any work is done on it.
"""

from __future__ import annotations

import csv
import math
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from feel_steps.artifacts import Columns
from feel_steps.dataset.files import identifier, list_files, read_json, read_text
from feel_steps.errors import InputError
from feel_steps.features.video import VideoError, VideoInfo, probe
from feel_steps.progress import track

SPLITS = ("train", "test")
STREAMS = ("rgb", "flow")

# what lies beside videos and is passed over; any other file must open as a video
NOT_VIDEO = frozenset(
    f".{suffix}"
    for suffix in (
        *(
            "txt",
            "md",
            "rst",
            "pdf",
            "doc",
            "docx",
            "odt",
            "xls",
            "xlsx",
            "html",
            "htm",
            "log",
            "nfo",
            "sh",
            "py",
            "ipynb",
        ),
        *("json", "jsonl", "csv", "tsv", "xml", "yaml", "yml", "toml", "ini", "db", "lnk", "url", "tmp", "bak", "part"),
        *("srt", "vtt", "ass", "ssa", "sub", "idx", "jpg", "jpeg", "png", "bmp", "webp", "tif", "tiff", "svg", "heic"),
        *(
            "mp3",
            "wav",
            "flac",
            "m4a",
            "aac",
            "opus",
            "zip",
            "gz",
            "tar",
            "7z",
            "rar",
            "npy",
            "npz",
            "parquet",
            "h5",
            "pt",
        ),
    )
)
AT_MOST = 10  # names listed in a message


# ---------------------------------------------------------------------------------------------------- folder of videos


def import_videos(
    folder: str | Path,
    *,
    split: str | Path | None = None,
    parts: int = 1,
    min_duration: float = 0.0,
    on_bad_video: str = "fail",
    links: str = "inside",
) -> tuple[Columns, Columns]:
    """Make the manifest of a folder of video files.

    A video's id is its path below the folder, without the suffix. Hidden files are not seen. Files are opened and their
    packets counted, but only the first frame is decoded.

    Parameters
    ----------
    folder : path
        Searched with its sub-folders.
    split : path, optional
        CSV with the columns video_id and split (train or test), a row for every video. Without it every video is
        in the training split.
    parts : int
        Number of parts to extract, of about the same duration.
    min_duration : float
        Seconds; a shorter video is a bad one.
    on_bad_video : {"fail", "skip"}
        Stop at the first file that cannot be used, or leave such files out.
    links : {"inside", "anywhere"}
        Where links in the folder may lead, see :func:`feel_steps.dataset.files.list_files`.

    Returns
    -------
    manifest, skipped : columns
        Sorted by video_id.

    Raises
    ------
    InputError
    """
    folder = Path(folder)
    files = _video_files(folder, links)
    good: list[tuple[str, Path, VideoInfo]] = []
    bad: list[tuple[str, str, str]] = []
    for video_id, path in track(files.items(), "reading videos", "video"):
        try:
            info = probe(path)
            if info.duration < min_duration:
                raise VideoError(f"{info.duration:.2f} s long, but one window of frames takes {min_duration:.2f} s")
            good.append((video_id, path, info))
        except VideoError as error:
            if on_bad_video == "fail":
                raise InputError(
                    f"{path}: {error}; repair it, move it out of the folder, or set on_bad_video: skip"
                ) from None
            bad.append((video_id, str(path), str(error)))
    ids = [video_id for video_id, _, _ in good]
    splits = _read_split(split, ids, {video_id for video_id, _, _ in bad}) if split else dict.fromkeys(ids, "train")
    infos = [info for _, _, info in good]
    manifest: Columns = {
        "video_id": _strings(ids),
        "split": _strings(splits[video_id] for video_id in ids),
        "path": _strings(str(path) for _, path, _ in good),
        "fps": np.array([info.fps for info in infos], np.float64),
        "n_frames": np.array([info.n_frames for info in infos], np.int64),
        "duration": np.array([info.duration for info in infos], np.float64),
    }
    manifest["part"] = balance(manifest["duration"], parts)
    require_two_videos(manifest["split"], str(folder), f", {len(bad)} skipped" if bad else "")
    skipped = {name: _strings(row[i] for row in bad) for i, name in enumerate(("video_id", "path", "reason"))}
    return manifest, skipped


def _video_files(folder: Path, links: str) -> dict[str, Path]:
    """Map the ids of all files that may be videos to their paths, in the ids' order."""
    files: dict[str, Path] = {}
    for name in map(PurePosixPath, list_files(folder, links)):
        if name.suffix.lower() in NOT_VIDEO:
            continue
        path = folder / name
        video_id = identifier(name.with_suffix("").as_posix(), path)
        if video_id in files:
            raise InputError(f"{path}: the id '{video_id}' is taken by {files[video_id]}; rename one of them")
        files[video_id] = path
    return dict(sorted(files.items()))


def _read_split(path: str | Path, ids: list[str], skipped: Collection[str]) -> dict[str, str]:
    """Read the split of every video, from a CSV with the columns video_id and split."""
    known, splits = set(ids), dict[str, str]()
    for line, row in _read_csv(path, ("video_id", "split")):
        video_id = identifier(row["video_id"], f"{path}, row {line}")
        if video_id not in known and video_id not in skipped:
            raise InputError(
                f"{path}, row {line}: no video '{video_id}' in the folder; an id is a path below it, without suffix"
            )
        if video_id in splits:
            raise InputError(f"{path}, row {line}: '{video_id}' stands in the file twice; keep one row")
        if row["split"] not in SPLITS:
            raise InputError(f"{path}, row {line}: split is '{row['split']}'; expected train or test")
        splits[video_id] = row["split"]
    if missing := [video_id for video_id in ids if video_id not in splits]:
        raise InputError(f"{path}: no row for {_names(missing)}; give every video a split, train or test")
    return splits


def balance(duration: np.ndarray, parts: int) -> np.ndarray:
    """Spread videos over parts of about the same duration: the longest first, each to the shortest part.

    Parameters
    ----------
    duration : float64 [N]
    parts : int

    Returns
    -------
    int32 [N]
    """
    part = np.zeros(len(duration), np.int32)
    load = np.zeros(parts)
    for video in np.argsort(-duration, kind="stable"):
        part[video] = load.argmin()
        load[part[video]] += duration[video]
    return part


def require_two_videos(split: np.ndarray, where: str, note: str = "") -> None:
    """Refuse a data set that has nothing to cluster."""
    n = int((split == "train").sum())
    if n < 2:
        raise InputError(f"{where}: {n} usable training video{'s' * (n != 1)}{note}; at least two are needed")


# ---------------------------------------------------------------------------------------------------- CoLA's folders


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
            f"{root / 'features'}: {len(missing)} files of videos in the split files are missing: {_names(missing)}; "
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
        lengths.append(common_length(shapes["rgb"][0], shapes["flow"][0], f"video '{video_id}' in {root}"))
    n_videos = len(splits)
    duration = ((np.array(lengths, np.float64) - 1) * stride + window) / fps
    manifest: Columns = {
        "video_id": _strings(splits),
        "split": _strings(splits.values()),
        "path": np.full(n_videos, None, object),
        "fps": np.full(n_videos, fps, np.float64),
        "n_frames": np.full(n_videos, -1, np.int64),
        "duration": duration,
        "part": balance(duration, parts),
    }
    require_two_videos(manifest["split"], str(root / "split_train.txt"))
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
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: not a readable .npy file ({error}); extract its features again") from None
    if array.ndim != 2 or array.dtype.kind != "f":
        raise InputError(f"{path}: {array.dtype}{list(array.shape)}; expected floats [snippets, dimension]")
    if 0 in array.shape:
        raise InputError(f"{path}: zero snippets; take the video out of the split file or extract its features again")
    return array


def common_length(rgb: int, flow: int, where: str) -> int:
    """Snippets that both streams have; flow may be one frame, and so one snippet, shorter, or the other way round."""
    if abs(rgb - flow) > 1:
        raise InputError(f"{where}: {rgb} rgb but {flow} flow snippets; at most one may be missing: extract them again")
    return min(rgb, flow)


# ---------------------------------------------------------------------------------------------------- annotations


def read_annotations(path: str | Path | None, manifest: Columns, skipped: Collection[str] = ()) -> Columns:
    """Read ground-truth segments. Nothing but evaluation, report and studies may look at them.

    A segment may end later than its video by one second or one per cent, whichever is more: features drop the last
    frames, and two programs seldom agree on how long a video is.

    Parameters
    ----------
    path : path or None
        ActivityNet-style JSON, ``{"database": {id: {"annotations": [{"segment": [s, e], "label": l}]}}}``, or
        CSV with the columns video_id, label, t_start, t_end; seconds. None: no annotations.
    manifest : columns of a manifest
    skipped : collection of str
        Videos whose annotations are dropped.

    Returns
    -------
    columns of annotations, sorted by video; those of a video in the file's order, whose first one counts (nmi_first)

    Raises
    ------
    InputError
    """
    rows: list[tuple[str, float, float, str]] = []
    durations = dict(zip(manifest["video_id"], manifest["duration"].tolist(), strict=True))
    unknown: dict[str, str] = {}  # video -> where its first annotation stands
    if path is not None:
        read = _read_json_segments if str(path).lower().endswith(".json") else _read_csv_segments
        for where, name, label, start, end in read(path):
            video_id = unicodedata.normalize("NFC", name)
            if video_id in skipped:
                continue
            if video_id not in durations:
                unknown.setdefault(video_id, where)
                continue
            t_start, t_end = _seconds(start, where), _seconds(end, where)
            _check_segment(t_start, t_end, durations[video_id], where)
            if not isinstance(label, str) or not label.strip():
                raise InputError(f"{where}: label is {label!r}; expected the name of a class")
            rows.append((video_id, t_start, t_end, label.strip()))
    if unknown:
        video_id, where = next(iter(unknown.items()))
        more = f" (and {len(unknown) - 1} more unknown videos)" if len(unknown) > 1 else ""
        raise InputError(
            f"{where}: no video '{video_id}' in the data set{more}; take its annotations out, or add the video"
        )
    rows.sort(key=lambda row: row[0])
    return {
        "video_id": _strings(row[0] for row in rows),
        "label": _strings(row[3] for row in rows),
        "t_start": np.array([row[1] for row in rows], np.float64),
        "t_end": np.array([row[2] for row in rows], np.float64),
    }


Segments = Iterator[tuple[str, str, Any, Any, Any]]  # where it stands, video, label, start, end


def _read_json_segments(path: str | Path) -> Segments:
    try:
        database = read_json(path)["database"]
    except (KeyError, TypeError):
        raise InputError(f"{path}: the key 'database' is missing; expected ActivityNet's form") from None
    if not isinstance(database, dict):
        raise InputError(f"{path}: 'database' is a {type(database).__name__}; expected an object with a key a video")
    for video_id, video in database.items():
        where = f"{path}, database['{video_id}']"
        annotations = video.get("annotations") if isinstance(video, dict) else None
        if not isinstance(annotations, list):
            raise InputError(f"{where}: the list 'annotations' is missing; give [] where there is none")
        for i, annotation in enumerate(annotations):
            here = f"{where}.annotations[{i}]"
            if not isinstance(annotation, dict) or not {"segment", "label"} <= annotation.keys():
                raise InputError(f"{here}: expected an object with the keys 'segment' and 'label'")
            segment = annotation["segment"]
            if not isinstance(segment, list) or len(segment) != 2:
                raise InputError(f"{here}: segment is {segment!r}; expected [start, end] in seconds")
            yield here, video_id, annotation["label"], *segment


def _read_csv_segments(path: str | Path) -> Segments:
    for line, row in _read_csv(path, ("video_id", "label", "t_start", "t_end")):
        yield f"{path}, row {line}", row["video_id"], row["label"], row["t_start"], row["t_end"]


def _seconds(value: Any, where: str) -> float:
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not math.isfinite(seconds):
        raise InputError(f"{where}: time is {value!r}; expected seconds as a number")
    return seconds


def _check_segment(start: float, end: float, duration: float, where: str) -> None:
    if start < 0 or end <= start:
        raise InputError(f"{where}: segment from {start:g} s to {end:g} s; expected 0 <= start < end")
    if end > duration + max(1.0, 0.01 * duration):
        raise InputError(
            f"{where}: segment ends at {end:g} s, but the video at {duration:.2f} s; correct it, or check that fps, "
            "window and stride are those of the features"
        )


# ---------------------------------------------------------------------------------------------------- helpers


def _read_csv(path: str | Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Read the rows of a CSV that has these columns, each with the number of its line."""
    reader = csv.DictReader(read_text(path).splitlines(), skipinitialspace=True)
    found = reader.fieldnames or []
    if missing := [name for name in columns if name not in found]:
        raise InputError(
            f"{path}: column '{missing[0]}' is missing (there are: {', '.join(found)}); expected {','.join(columns)}"
        )
    for row in reader:
        if None in row or None in row.values():
            raise InputError(f"{path}, row {reader.line_num}: expected {len(found)} values; quote values with a comma")
        yield reader.line_num, {name: row[name].strip() for name in columns}


def _strings(values: Iterable[str]) -> np.ndarray:
    return np.array(list(values), dtype=object)


def _names(names: list[str]) -> str:
    tail = f" and {len(names) - AT_MOST} more" if len(names) > AT_MOST else ""
    return ", ".join(f"'{name}'" for name in names[:AT_MOST]) + tail
