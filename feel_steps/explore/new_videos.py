"""Gets the features of new videos like those of a finished run: extracted with its settings, or read from arrays."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping, Sequence, Sized
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml

from feel_steps import __version__
from feel_steps.dataset.array_file import READERS, ArrayError, read_array
from feel_steps.dataset.arrays import common_length, list_arrays
from feel_steps.dataset.cola import STREAMS
from feel_steps.dataset.folder import video_files
from feel_steps.dataset.video_file import VideoError, VideoInfo, probe
from feel_steps.dataset.videos import Video, expected_snippets, fits, strings
from feel_steps.errors import InputError
from feel_steps.features.contract import Contract, read_contract
from feel_steps.features.extract import Extractor, build, digest_source, takes
from feel_steps.runtime.progress import Progress
from feel_steps.tables import tables
from feel_steps.tables.kinds import Columns
from feel_steps.tables.snippets import part_path

DIGEST = re.compile(r"[0-9a-f]{64}")


def run_contract(run: Path) -> Contract:
    """Contract of the run's features, from the part with its first video.

    Raises
    ------
    InputError
        The features have no metadata on how they were made.
    """
    part = tables.read(run / "videos.parquet", "videos")["part"][0]
    contract = read_contract(part_path(run / "features", part))
    if not contract.extractor:
        raise InputError(
            f"{run}: its features have no metadata on how they were made, so no new video can be compared with them"
        )
    if contract.version != __version__ and not contract.exists:
        other = f"{run}: made by feel-steps {contract.version}, this is {__version__}; features may differ"
        warnings.warn(other, stacklevel=2)
    return contract


# ---------------------------------------------------------------------------------------------------- from videos


def find_files(paths: Sequence[Path]) -> dict[str, Path]:
    """Map ids to video files: the name of a file without its suffix, and of those in a folder as a run has them.

    Raises
    ------
    InputError
        A folder has no file that is called a video, or two files have the same id.
    """
    files: dict[str, Path] = {}
    known: set[Path] = set()
    for path in paths:
        found = video_files(path, links="anywhere") if path.is_dir() else {path.stem: path}
        if not found:
            raise InputError(f"{path}: no video in this folder; expected files such as clip.mp4")
        found = {video_id: file for video_id, file in found.items() if file.resolve() not in known}
        if twice := sorted(files.keys() & found.keys()):
            raise InputError(
                f"{found[twice[0]]}: called '{twice[0]}' as {files[twice[0]]} is; rename one, or name the folder that "
                "holds both"
            )
        files |= found
        known |= {file.resolve() for file in found.values()}
    return files


def extract_features(
    run: Path,
    contract: Contract,
    features: Sequence[Path],
    files: Mapping[str, Path],
    settings: Mapping[str, Any],
    device: str,
    threads: int,
) -> tuple[Columns, list[np.ndarray], list[str]]:
    """Extract features of video files like those of the run; see :func:`feel_steps.explore.predict.predict`.

    Returns
    -------
    videos : columns of a videos table that are known from the files
    features : list of float32 [T, D]
    failed : list of str
        One line for each file that cannot be used.

    Raises
    ------
    InputError
        No file is given, none can be used, or the extractor is not that of the run.
    """
    if features:
        raise InputError(
            f"--features {features[0]}: the run extracted its features itself, by '{contract.extractor}'; name videos"
        )
    if not files:
        raise InputError("no video is given; give the paths of video files")
    engine = run_extractor(contract, settings, device, threads)
    fps, window, _ = contract.timing
    infos, failed = _probe_all(files)
    vectors: dict[str, np.ndarray] = {}
    with Progress("extracting", round(sum(info.duration for info in infos.values()) * fps), "frame") as progress:
        for video_id, info in infos.items():
            file = files[video_id]
            video = Video(video_id, "", str(file), info.n_frames, info.duration)
            try:
                array = engine.extract(video, partial(progress.advance, note=video_id))
            except VideoError as error:
                failed.append(f"{file}: {error}; fix it or leave it out")
                continue
            if not len(array):
                failed.append(
                    f"{file}: {info.duration:.2f} s long; the run looks at {window / fps:.2f} s at a time; leave it out"
                )
                continue
            if array.shape[1] != contract.dimension:
                raise InputError(
                    f"{run / 'features'}: dimension {contract.dimension}, but new videos get {array.shape[1]}; "
                    f"give the run's own settings of '{contract.extractor}' by --settings"
                )
            vectors[video_id] = array
    _require_one(vectors, failed)
    used = [infos[video_id] for video_id in vectors]
    paths = [files[video_id] for video_id in vectors]
    table = _videos(list(vectors), paths, used, [info.duration for info in used])
    return table, list(vectors.values()), failed


def run_extractor(contract: Contract, settings: Mapping[str, Any], device: str, threads: int) -> Extractor:
    """The extractor of the run's features, with the settings of the run.

    Raises
    ------
    InputError
        A file that it needs is not given, or a setting differs from that of the run.
    """
    recorded = contract.settings
    if takes(contract.extractor, "dimension"):
        recorded["dimension"] = contract.made["dimension"]
    # a digest under a name other than sha256 stands for a file, whose path only the user knows
    files = [key for key, value in recorded.items() if DIGEST.fullmatch(value) and not key.startswith("sha256")]
    if any(key not in settings for key in files):
        example = json.dumps(dict.fromkeys(files, "PATH"))
        raise InputError(f"extractor '{contract.extractor}' needs the files of the run: --settings '{example}'")
    if digest_source(contract.extractor) != contract.made.get("source", ""):
        changed = f"extractor '{contract.extractor}': its module differs from that of the run; features may differ"
        warnings.warn(changed, stacklevel=2)
    recorded_settings = {key: yaml.safe_load(value) for key, value in recorded.items() if key not in files}
    fps, window, stride = contract.timing
    given = {"fps": fps, "window": window, "stride": stride, "root": None, "device": device, "threads": threads}
    engine = build(contract.extractor, given, {**recorded_settings, **settings})
    for key, value in recorded.items():
        elsewhere = key == "model" and "sha256" in recorded  # the same files in another folder
        if str(engine.settings[key]) != value and not elsewhere:
            raise InputError(
                f"extractor '{contract.extractor}': {key} is {engine.settings[key]}, but the run's features were made "
                f"with {value}; give what the run had"
            )
    return engine


# ---------------------------------------------------------------------------------------------------- from arrays


def read_features(
    run: Path, contract: Contract, features: Sequence[Path], files: Mapping[str, Path]
) -> tuple[Columns, list[np.ndarray], list[str]]:
    """Read arrays that were made like the run's features; parameters as in :func:`feel_steps.explore.predict.predict`.

    Returns
    -------
    videos : columns of a videos table. A video without a file ends with its last snippet.
    features : list of float32 [T, D]
    failed : list of str
        One line for each array that cannot be used.

    Raises
    ------
    InputError
        No array is given, none can be used, two have the same name, or a video file has no array.
    """
    if not features:
        raise InputError(f"{run}: others made its features; give those of the new videos, --features NEW.npy")
    recorded = contract.settings
    streams = list(STREAMS) if contract.extractor == "cola" else list(json.loads(contract.made.get("streams", "{}")))
    key, transposed = recorded.get("key") or None, recorded.get("transposed") == "True"
    arrays = _find_arrays(features, streams)
    clips = _clips(files, list(arrays))
    fps, window, stride = contract.timing
    vectors, infos, failed = dict[str, np.ndarray](), list[VideoInfo | None](), list[str]()
    for video_id, paths in arrays.items():
        try:
            array = _read(paths, key, transposed)
            info = _probe(clips[video_id]) if video_id in clips else None
            _require_fit(paths[0], array, contract, clips.get(video_id), info)
        except InputError as error:
            failed.append(str(error))
            continue
        vectors[video_id] = array
        infos.append(info)
    _require_one(vectors, failed)
    durations = [
        info.duration if info else ((len(array) - 1) * stride + window) / fps
        for array, info in zip(vectors.values(), infos, strict=True)
    ]
    table = _videos(list(vectors), [clips.get(video_id) for video_id in vectors], infos, durations)
    return table, list(vectors.values()), failed


def _require_fit(path: Path, array: np.ndarray, contract: Contract, clip: Path | None, info: VideoInfo | None) -> None:
    """Refuse an array of another dimension than the run's, or of another length than its video."""
    fps, window, stride = contract.timing
    if array.shape[1] != contract.dimension:
        turned = "; is it [dimension, snippets]?" if array.shape[0] == contract.dimension else ""
        raise InputError(
            f"{path}: features of dimension {array.shape[1]}, but the run's have {contract.dimension}{turned}; "
            "give features of the same network"
        )
    if info and not fits(len(array), info.duration, fps, window, stride, padded=True):
        raise InputError(
            f"{path}: {len(array)} snippets, but {expected_snippets(info.duration, fps, window, stride)} fit "
            f"in the {info.duration:.2f} s of {clip}; the run has fps {fps:g}, window {window} and stride {stride}"
        )


def _find_arrays(features: Sequence[Path], streams: Sequence[str]) -> dict[str, list[Path]]:
    """Map the ids of new videos to their files, one per stream."""
    files_by_id: dict[str, list[Path]] = {}
    for path in features:
        if path.is_dir():
            listed = list_arrays(path, streams, links="anywhere")
            new = {video_id: [files[video_id] for files in listed.values()] for video_id in next(iter(listed.values()))}
        elif streams:
            raise InputError(
                f"{path}: the run joins the streams {', '.join(streams)}; name a folder that holds "
                f"{' and '.join(f'{stream}/' for stream in streams)}"
            )
        else:
            if not path.is_file():
                raise InputError(f"{path}: no such file; give an array ({', '.join(READERS)}) or a folder of them")
            new = {path.stem: [path]}
        if twice := sorted(files_by_id.keys() & new.keys()):
            raise InputError(
                f"{new[twice[0]][0]}: the id '{twice[0]}' is taken by {files_by_id[twice[0]][0]}; rename one"
            )
        files_by_id |= new
    return files_by_id


def _read(paths: Sequence[Path], key: str | None, transposed: bool) -> np.ndarray:
    """Read the arrays of all streams of a video, joined side by side."""
    arrays = []
    for path in paths:
        try:
            arrays.append(read_array(path, key, transposed))
        except ArrayError as error:
            raise InputError(f"{path}: {error}") from None
    T = common_length([len(array) for array in arrays], str(paths[0]))
    return np.concatenate([array[:T] for array in arrays], axis=1)


def _clips(files: Mapping[str, Path], ids: Sequence[str]) -> dict[str, Path]:
    """Map the ids of arrays to the video files with the same ids, or with the same names in another folder."""
    names, known = {PurePosixPath(video_id).name: video_id for video_id in ids}, set(ids)
    clips: dict[str, Path] = {}
    for video_id, file in files.items():
        own = video_id if video_id in known else names.get(PurePosixPath(video_id).name)
        if own is None:
            raise InputError(f"{file}: no array is called '{video_id}'; there is '{ids[0]}'")
        if own in clips:
            raise InputError(f"{file}: the array '{own}' has the video {clips[own]} already; name one of them")
        clips[own] = file
    return clips


# ---------------------------------------------------------------------------------------------------- both


def _require_one(usable: Sized, failed: Sequence[str]) -> None:
    """Refuse to go on without any video, saying why each was left out."""
    if not usable:
        none = f"none of the {len(failed)} can be used: " if len(failed) > 1 else ""
        raise InputError(none + "; ".join(failed))


def _probe_all(files: Mapping[str, Path]) -> tuple[dict[str, VideoInfo], list[str]]:
    """Look at video files; those that can be used, and a line for each other one."""
    infos, failed = dict[str, VideoInfo](), list[str]()
    for video_id, file in files.items():
        try:
            infos[video_id] = _probe(file)
        except InputError as error:
            failed.append(str(error))
    return infos, failed


def _probe(file: Path) -> VideoInfo:
    if not file.exists():
        raise InputError(f"{file}: no such file; check the path")
    try:
        return probe(file)
    except VideoError as error:
        raise InputError(f"{file}: {error}; fix it or leave it out") from None


def _videos(
    ids: Sequence[str],
    paths: Sequence[Path | None],
    infos: Sequence[VideoInfo | None],
    durations: Sequence[float],
) -> Columns:
    """Columns of a videos table, without the columns on snippets."""
    return {
        "video_id": strings(ids),
        "split": np.full(len(ids), "", object),
        "path": np.array([str(path) if path else None for path in paths], object),
        "n_frames": np.array([info.n_frames if info else -1 for info in infos]),
        "duration": np.array(durations),
        "part": np.full(len(ids), "", object),
    }
