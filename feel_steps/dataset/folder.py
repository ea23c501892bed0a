"""A folder of video files, listed as a manifest; everything that can be wrong with it is found before any work."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Collection
from pathlib import Path, PurePosixPath

import numpy as np

from feel_steps.dataset.files import identifier, list_files, list_names
from feel_steps.dataset.suffixes import is_called_video, may_be_video
from feel_steps.dataset.video_file import VideoError, VideoInfo, probe
from feel_steps.dataset.videos import balance, require_videos, split_rows, strings
from feel_steps.errors import InputError
from feel_steps.runtime.progress import track
from feel_steps.tables.kinds import Columns


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

    A video's id is its path below the folder, without the suffix; videos that differ by it alone keep it. Hidden files
    are not seen. Files are opened and their packets counted, but only the first frame is decoded. What is no video, and
    is not called one, is ignored and counted.

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
    names = list_files(folder, links)
    infos: dict[str, VideoInfo] = {}
    reasons: dict[str, str] = {}
    ignored = [name for name in names if not may_be_video(name)]
    for name in track([name for name in names if may_be_video(name)], "reading videos", "video"):
        try:
            infos[name] = probe(folder / name)
            if infos[name].duration < min_duration:
                length = infos.pop(name).duration
                reasons[name] = f"{length:.2f} s long, but one window of frames takes {min_duration:.2f} s"
        except VideoError as error:
            if is_called_video(name):
                reasons[name] = str(error)
            else:
                ignored.append(name)
                continue
        if name in reasons and on_bad_video == "fail":
            raise InputError(
                f"{folder / name}: {reasons[name]}; repair it, move it out of the folder, or set on_bad_video: skip"
            )
    _say_ignored(folder, ignored)
    files = name_videos(folder, [*infos, *reasons])
    good = [(video_id, folder / name, infos[name]) for video_id, name in files.items() if name in infos]
    bad = [(video_id, str(folder / name), reasons[name]) for video_id, name in files.items() if name in reasons]
    ids = [video_id for video_id, _, _ in good]
    splits = read_split(split, ids, {video_id for video_id, _, _ in bad}) if split else dict.fromkeys(ids, "train")
    manifest: Columns = {
        "video_id": strings(ids),
        "split": strings(splits[video_id] for video_id in ids),
        "path": strings(str(path) for _, path, _ in good),
        "fps": np.array([info.fps for _, _, info in good], np.float64),
        "n_frames": np.array([info.n_frames for _, _, info in good], np.int64),
        "duration": np.array([info.duration for _, _, info in good], np.float64),
    }
    manifest["part"] = balance(manifest["duration"], parts)
    require_videos(manifest["split"], str(folder), {video_id: reason for video_id, _, reason in bad})
    skipped = {name: strings(row[i] for row in bad) for i, name in enumerate(("video_id", "path", "reason"))}
    return manifest, skipped


def video_files(folder: Path, links: str) -> dict[str, Path]:
    """Map the ids of all files that are called videos to their paths, in the ids' order; nothing is opened."""
    names = [name for name in list_files(folder, links) if is_called_video(name)]
    return {video_id: folder / name for video_id, name in name_videos(folder, names).items()}


def name_videos(folder: Path, names: Collection[str]) -> dict[str, str]:
    """Map ids to files, in the ids' order: paths without suffix, or with it where they would be the same."""
    stems = Counter(_stem(name) for name in names)
    files: dict[str, str] = {}
    for name in names:
        video_id = identifier(_stem(name) if stems[_stem(name)] == 1 else name, folder / name)
        if video_id in files:
            raise InputError(f"{folder / name}: the id '{video_id}' is taken by {folder / files[video_id]}; rename one")
        files[video_id] = name
    return dict(sorted(files.items()))


def _stem(name: str) -> str:
    return PurePosixPath(name).with_suffix("").as_posix()


def _say_ignored(folder: Path, names: Collection[str]) -> None:
    """Count what lies beside the videos, by suffix."""
    if names:
        kinds = Counter(PurePosixPath(name).suffix.lower() or "without a suffix" for name in names)
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        print(f"note: {folder}: {len(names)} files are no videos and were ignored ({counts})", file=sys.stderr)


def read_split(path: str | Path, ids: list[str], skipped: Collection[str]) -> dict[str, str]:
    """Read the split of every video, from a CSV with the columns video_id and split."""
    known, splits = set(ids), dict[str, str]()
    for line, video_id, split in split_rows(path):
        if video_id not in known and video_id not in skipped:
            raise InputError(
                f"{path}, row {line}: no video '{video_id}' in the folder; an id is a path below it, without suffix"
            )
        if video_id in splits:
            raise InputError(f"{path}, row {line}: '{video_id}' stands in the file twice; keep one row")
        splits[video_id] = split
    if missing := [video_id for video_id in ids if video_id not in splits]:
        raise InputError(f"{path}: no row for {list_names(missing)}; give every video a split, train or test")
    return splits
