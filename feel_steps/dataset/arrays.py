"""A folder of feature arrays that others made, one file a video, listed as a manifest."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path, PurePosixPath

import numpy as np

from feel_steps.dataset.array_file import READERS, ArrayError, open_array
from feel_steps.dataset.files import identifier, list_files
from feel_steps.dataset.folder import read_split, video_files
from feel_steps.dataset.video_file import VideoError, VideoInfo, probe
from feel_steps.dataset.videos import balance, expected_snippets, fits, require_videos, strings
from feel_steps.errors import InputError
from feel_steps.runtime.progress import track
from feel_steps.tables.kinds import Columns


def list_arrays(root: str | Path, streams: Sequence[str] = (), links: str = "inside") -> dict[str, dict[str, Path]]:
    """List the arrays of a folder.

    Parameters
    ----------
    root : path
    streams : sequence of str
        Sub-folders whose arrays of one name belong to one video; none: all arrays are of one stream.
    links : {"inside", "anywhere"}
        See :func:`feel_steps.dataset.files.list_files`.

    Returns
    -------
    dict of str to dict of str to path
        Stream ("" where there is only one) to video id to file, in the ids' order. An id is the path below the folder
        of the stream, without the suffix.

    Raises
    ------
    InputError
        There are no arrays, two of one id, or a video that has no array in one of the streams.
    """
    root = Path(root)
    arrays: dict[str, dict[str, Path]] = {stream: {} for stream in streams or ("",)}
    for name in map(PurePosixPath, list_files(root, links)):
        if name.suffix.lower() not in READERS:
            continue
        stream = next((stream for stream in arrays if stream and name.is_relative_to(stream)), None if streams else "")
        if stream is None:
            continue
        path = root / name
        video_id = identifier(name.relative_to(stream).with_suffix("").as_posix(), path)
        if video_id in arrays[stream]:
            raise InputError(f"{path}: the id '{video_id}' is taken by {arrays[stream][video_id]}; rename one of them")
        arrays[stream][video_id] = path
    for stream, files in arrays.items():
        if not files:
            raise InputError(f"{root / stream}: no arrays in it; expected a file a video ({', '.join(READERS)})")
    _require_all_streams(arrays)
    return {stream: dict(sorted(files.items())) for stream, files in arrays.items()}


def _require_all_streams(arrays: Mapping[str, Mapping[str, Path]]) -> None:
    for stream, files in arrays.items():
        for other in arrays:
            if missing := sorted(arrays[other].keys() - files.keys()):
                more = f" (nor have {len(missing) - 1} more)" if len(missing) > 1 else ""
                raise InputError(
                    f"{arrays[other][missing[0]]}: '{missing[0]}' has no array in '{stream}'{more}; every video needs "
                    f"one in each of the streams {', '.join(arrays)}"
                )


def import_arrays(
    root: str | Path,
    *,
    fps: float,
    window: int,
    stride: int,
    streams: Sequence[str] = (),
    key: str | None = None,
    transposed: bool = False,
    videos: str | Path | None = None,
    split: str | Path | None = None,
    parts: int = 1,
    on_bad_video: str = "fail",
    links: str = "inside",
) -> tuple[Columns, Columns]:
    """Make the manifest of a folder of arrays; of most formats only the headers are read.

    Parameters
    ----------
    root : path
        Holds an array [T, D] for each video, see :func:`list_arrays`.
    fps : float
        Frames per second that the features were made at.
    window, stride : int
        Frames that a snippet covers, and frames between the starts of two.
    streams : sequence of str
        Sub-folders whose arrays are joined, side by side.
    key : str, optional
        Name of the array in files that hold several.
    transposed : bool
        Whether the files hold [D, T].
    videos : path, optional
        Folder of the video files, of the same names as the arrays. They give players, pictures and durations; without
        one a video's duration follows from T, fps, window and stride.
    split : path, optional
        CSV with the columns video_id and split (train or test). Without it every video is in the training split.
    parts : int
        Number of feature parts, of about the same duration.
    on_bad_video : {"fail", "skip"}
        Stop at the first array or video that cannot be used, or leave it out.
    links : {"inside", "anywhere"}
        Where links in the folders may lead.

    Returns
    -------
    manifest, skipped : columns
        Sorted by video_id; ``path`` is the video file, where there is one.

    Raises
    ------
    InputError
    """
    arrays = list_arrays(root, streams, links)
    ids = list(next(iter(arrays.values())))
    clips = _match(root, ids, Path(videos), links) if videos else {}
    shapes: dict[str, list[tuple[int, ...]]] = {}
    infos: dict[str, VideoInfo] = {}
    bad: dict[str, str] = {}
    for video_id in track(ids, "reading arrays", "video"):
        path = arrays[next(iter(arrays))][video_id]
        try:
            found = []
            for files in arrays.values():
                path = files[video_id]
                found.append(open_array(path, key, transposed).shape)
            if video_id in clips:
                path = clips[video_id]
                infos[video_id] = probe(path)
            shapes[video_id] = found
        except (ArrayError, VideoError) as error:
            if on_bad_video == "fail":
                raise InputError(f"{path}: {error}") from None
            bad[video_id] = str(error)
    _check_orientation(arrays, shapes, transposed)
    if on_bad_video == "skip":
        bad |= _set_aside(shapes)
    _check_dimensions(arrays, shapes)
    kept = [video_id for video_id in ids if video_id in shapes]
    lengths: dict[str, int] = {}
    for video_id in kept:
        try:
            lengths[video_id] = common_length([T for T, _ in shapes[video_id]], f"video '{video_id}' in {root}")
        except InputError as error:
            if on_bad_video == "fail":
                raise
            bad[video_id] = str(error)
    infos = {video_id: info for video_id, info in infos.items() if video_id in lengths}
    bad |= _check_pace(root, lengths, infos, fps, window, stride, on_bad_video)
    kept = [video_id for video_id in kept if video_id not in bad]
    splits = read_split(split, kept, bad) if split else dict.fromkeys(kept, "train")
    manifest: Columns = {
        "video_id": strings(kept),
        "split": strings(splits[video_id] for video_id in kept),
        "path": np.array([str(clips[v]) if v in clips else None for v in kept], object),
        "fps": np.array([infos[v].fps if v in infos else fps for v in kept]),
        "n_frames": np.array([infos[v].n_frames if v in infos else -1 for v in kept], np.int64),
        "duration": np.array(
            [infos[v].duration if v in infos else ((lengths[v] - 1) * stride + window) / fps for v in kept]
        ),
    }
    manifest["part"] = balance(manifest["duration"], parts)
    require_videos(manifest["split"], str(root), bad)
    first = next(iter(arrays.values()))
    skipped = {
        "video_id": strings(bad),
        "path": strings(str(first[video_id]) for video_id in bad),
        "reason": strings(bad.values()),
    }
    return manifest, skipped


def _match(root: str | Path, ids: Sequence[str], folder: Path, links: str) -> dict[str, Path]:
    """Video files of the arrays, by id; says which have none.

    Raises
    ------
    InputError
        No array has a video of its name.
    """
    clips = video_files(folder, links)
    without = [video_id for video_id in ids if video_id not in clips]
    if len(without) == len(ids):
        example = f"'{next(iter(clips))}'" if clips else "no video"
        raise InputError(
            f"{root} holds '{ids[0]}', and {folder} holds {example}: no array and no video share a name, which is the "
            "path below the folder without the suffix; rename the files of one folder, or leave dataset.videos out"
        )
    if without:
        more = f" and {len(without) - 1} more" if len(without) > 1 else ""
        warnings.warn(f"{folder}: no video for '{without[0]}'{more}; the page shows no player for them", stacklevel=2)
    return {video_id: clips[video_id] for video_id in ids if video_id in clips}


def lies_across(shapes: Sequence[tuple[int, ...]]) -> bool:
    """Whether arrays are clearly [D, T]: all have the same number of rows, and most differ in that of columns."""
    rows, columns = ({shape[axis] for shape in shapes} for axis in (0, 1))
    return len(shapes) > 1 and len(rows) == 1 and len(columns) > len(shapes) / 2


def _check_orientation(
    arrays: Mapping[str, Mapping[str, Path]], shapes: Mapping[str, list[tuple[int, ...]]], transposed: bool
) -> None:
    for i, files in enumerate(arrays.values()):
        if not lies_across([found[i] for found in shapes.values()]):
            continue
        names = sorted(shapes, key=lambda video_id: shapes[video_id][i][1])
        a, b = (f"{list(shapes[v][i][:: -1 if transposed else 1])} in {files[v]}" for v in (names[0], names[-1]))
        order = "[snippets, dimension]" if transposed else "[dimension, snippets]"
        advice = "leave dataset.transposed out" if transposed else "set dataset.transposed: true"
        differs = "first" if transposed else "second"
        raise InputError(f"arrays of {a} and {b}: only the {differs} number differs, so these are {order}; {advice}")


def _set_aside(shapes: dict[str, list[tuple[int, ...]]]) -> dict[str, str]:
    """Take out the videos of other dimensions than most, and give the reasons."""
    dimensions = {video_id: " + ".join(str(D) for _, D in found) for video_id, found in shapes.items()}
    usual, count = max(Counter(dimensions.values()).items(), key=itemgetter(1), default=("", 0))
    if 2 * count <= len(dimensions):  # it is not clear which ones are right
        return {}
    odd = {video_id: own for video_id, own in dimensions.items() if own != usual}
    for video_id in odd:
        del shapes[video_id]
    return {video_id: f"features of dimension {own}, but most have {usual}" for video_id, own in odd.items()}


def _check_dimensions(arrays: Mapping[str, Mapping[str, Path]], shapes: Mapping[str, list[tuple[int, ...]]]) -> None:
    """Refuse arrays of several extractors."""
    for i, files in enumerate(arrays.values()):
        dimensions = {video_id: found[i][1] for video_id, found in shapes.items()}
        first = next(iter(dimensions), "")
        for video_id, dimension in dimensions.items():
            if dimension != dimensions[first]:
                raise InputError(
                    f"{files[video_id]}: features of dimension {dimension}, but {dimensions[first]} in {files[first]}; "
                    "all videos need features of one extractor"
                )


def common_length(lengths: Sequence[int], where: str) -> int:
    """Snippets that all streams have; a stream that needs the next frame, such as flow, may have one fewer."""
    if max(lengths) - min(lengths) > 1:
        raise InputError(
            f"{where}: streams of {' and '.join(map(str, lengths))} snippets; at most one may be missing: extract them "
            "again"
        )
    return min(lengths)


def _check_pace(
    root: str | Path,
    lengths: Mapping[str, int],
    infos: Mapping[str, VideoInfo],
    fps: float,
    window: int,
    stride: int,
    on_bad_video: str,
) -> dict[str, str]:
    """Arrays that have more or fewer snippets than their videos have room for, and how many that is.

    They are refused where ``on_bad_video`` says so, and where most do not fit: then it is the settings that do not.
    """
    off = [v for v, info in infos.items() if not fits(lengths[v], info.duration, fps, window, stride, padded=True)]
    if off and (on_bad_video == "fail" or 2 * len(off) > len(infos)):
        v = off[0]
        expected = expected_snippets(infos[v].duration, fps, window, stride)
        raise InputError(
            f"{root}: '{v}' has {lengths[v]} snippets in a video of {infos[v].duration:.2f} s, but features.fps "
            f"{fps:g}, window {window} and stride {stride} make {expected} ({len(off)} of {len(infos)} videos do not "
            f"fit); 'feel-steps inspect {root} --videos FOLDER' says which would"
        )
    return {v: f"{lengths[v]} snippets in a video of {infos[v].duration:.2f} s" for v in off}
