"""A folder of video files, listed as a manifest; everything that can be wrong with it is found before any work."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path, PurePosixPath

import numpy as np

from feel_steps.dataset.files import identifier, list_files, list_names, read_csv
from feel_steps.dataset.video_file import VideoError, VideoInfo, probe
from feel_steps.dataset.videos import SPLITS, balance, require_two_videos, strings
from feel_steps.errors import InputError
from feel_steps.runtime.progress import track
from feel_steps.tables.kinds import Columns

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
            "hdf5",
            "pt",
            "pth",
            "safetensors",
        ),
    )
)


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
    files = video_files(folder, links)
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
    splits = read_split(split, ids, {video_id for video_id, _, _ in bad}) if split else dict.fromkeys(ids, "train")
    infos = [info for _, _, info in good]
    manifest: Columns = {
        "video_id": strings(ids),
        "split": strings(splits[video_id] for video_id in ids),
        "path": strings(str(path) for _, path, _ in good),
        "fps": np.array([info.fps for info in infos], np.float64),
        "n_frames": np.array([info.n_frames for info in infos], np.int64),
        "duration": np.array([info.duration for info in infos], np.float64),
    }
    manifest["part"] = balance(manifest["duration"], parts)
    require_two_videos(manifest["split"], str(folder), f", {len(bad)} skipped" if bad else "")
    skipped = {name: strings(row[i] for row in bad) for i, name in enumerate(("video_id", "path", "reason"))}
    return manifest, skipped


def video_files(folder: Path, links: str) -> dict[str, Path]:
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


def read_split(path: str | Path, ids: list[str], skipped: Collection[str]) -> dict[str, str]:
    """Read the split of every video, from a CSV with the columns video_id and split."""
    known, splits = set(ids), dict[str, str]()
    for line, row in read_csv(path, ("video_id", "split")):
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
        raise InputError(f"{path}: no row for {list_names(missing)}; give every video a split, train or test")
    return splits
