"""What must be there before a run starts: the data set that the config names, with enough videos."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from feel_steps.config import resolve
from feel_steps.dataset.corrections import (
    Corrections,
    check_clusters,
    match_corrections,
    match_videos,
    read_corrections,
)
from feel_steps.dataset.files import guess_layout, list_files, read_csv, read_text
from feel_steps.dataset.suffixes import ARRAY, may_be_video
from feel_steps.errors import InputError, hint
from feel_steps.tables import provenance

NUMBER = re.compile(r"-k\d+$")  # of clusters, in the names of variants that differ in it
_list = cache(list_files)  # checking the data set and digesting its inputs take one walk


def list_inputs(folder: str, links: str, layout: str) -> dict[str, tuple[int, int]]:
    """List the files of a folder that a layout reads; notes, annotations and results beside them do not count.

    Parameters
    ----------
    folder, links
        See :func:`feel_steps.dataset.files.list_files`.
    layout : {"videos", "features", "cola"}
    """
    reads = may_be_video if layout == "videos" else _is_array
    return {name: state for name, state in _list(folder, links).items() if reads(name)}


def _is_array(name: str) -> bool:
    return Path(name).suffix.lower() in ARRAY or name in ("split_train.txt", "split_test.txt")


def digest_inputs(folder: str, links: str, layout: str) -> str:
    """Digest of names, sizes and times of the files that a layout reads: a folder's own time says little about them."""
    digest = hashlib.sha256()
    for name, (size, time) in list_inputs(folder, links, layout).items():
        digest.update(os.fsencode(f"{name}\0{size}\0{time}\n"))
    return digest.hexdigest()[:16]


def settle_layout(config: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Give a config with a folder but no layout the layout of what lies in the folder.

    Returns
    -------
    dict, str
        The config, and a line that says what was taken; empty where nothing was.

    Raises
    ------
    InputError
        There is no such folder, or nothing in it that can be used.
    """
    dataset = config.get("dataset")
    if not isinstance(dataset, Mapping) or dataset.get("layout") != "demo" or not isinstance(dataset.get("path"), str):
        return dict(config), ""
    try:
        layout = guess_layout(dataset["path"])
    except InputError as error:
        raise InputError(f"config: key 'dataset.path': {error}") from None
    said = f"dataset.layout is not set: {dataset['path']} is taken for layout '{layout}' by the names of its files"
    return {**config, "dataset": {**dataset, "layout": layout}}, said


def find_replaced(run: Path, clusters: Mapping[str, int]) -> list[str]:
    """Say which results a run will replace because the number of clusters changed, one line for each variant.

    Parameters
    ----------
    run : path
        Folder of the run.
    clusters : mapping of str to int
        K of each variant now.
    """
    lines = []
    for variant, count in clusters.items():
        tables = sorted((run / variant).glob("seed-*/iter-1/centres.parquet"))
        before = sorted({rows for rows in map(_count_rows, tables) if rows not in (None, count)})
        if before:
            old = " and ".join(map(str, before))
            lines.append(
                f"clusters changed from {old} to {count}: the results of {old} clusters in {run / variant} will be "
                f"replaced; to keep both, give this run another name, or look for both, clusters: {[*before, count]}"
            )
    return lines


def find_left_over(run: Path, variants: Collection[str]) -> list[str]:
    """Say which results stay behind after ``clusters`` became a list, or lost a number, one line for each folder.

    Parameters
    ----------
    run : path
        Folder of the run.
    variants : collection of str
        Names that :func:`feel_steps.config.spread` gave.
    """
    stems = {NUMBER.sub("", variant) for variant in variants}
    folders = sorted({seed.parent for seed in run.glob("*/seed-*")})
    old = [folder for folder in folders if folder.name not in variants and NUMBER.sub("", folder.name) in stems]
    return [
        f"{folder}: results of variant '{folder.name}', which clusters no longer asks for; they stay, and no page "
        "shows them; delete the folder if you do not need it"
        for folder in old
    ]


def find_taken_back(run: Path) -> list[str]:
    """Say, in one line, which file has corrected the results of a run that would be made without corrections."""
    if find_spec("pyarrow") is None:
        return []
    from pyarrow import ArrowException

    try:
        about = provenance.read_provenance(run / "names.parquet")
    except (OSError, ArrowException):
        return []  # not there, or damaged: it will be made
    inside, outside = json.loads(about.get("feel.inputs", "{}")), json.loads(about.get("feel.outside", "[]"))
    return [
        f"corrections is not set: what {file} corrected in {run} will be taken back; to keep it, set corrections to "
        "the path of this file"
        for file in [*inside, *(name for name, _ in outside)]
        if not file.endswith(".parquet")  # as all else is that the table is made of
    ]


def _count_rows(table: Path) -> int | None:
    """Rows of a table from its metadata; None if it cannot be read, which the step that reads it reports."""
    if find_spec("pyarrow") is None:
        return None  # with --use-conda, the environment of Snakemake may lack it
    from pyarrow import ArrowException
    from pyarrow.parquet import read_metadata

    try:
        return read_metadata(table).num_rows
    except (OSError, ArrowException):
        return None


def check_dataset(config: Mapping[str, Any], clusters: Mapping[str, int]) -> None:
    """Refuse paths that are missing, and more clusters than there are training videos, if these are clustered whole.

    Parameters
    ----------
    config : mapping
        Checked against the schema.
    clusters : mapping of str to int
        K of each variant.

    Raises
    ------
    InputError
        Names the key, what was found and what was expected.
    """
    _check_paths(config["dataset"])
    if config["groups"] and not Path(config["groups"]).is_file():
        raise InputError(f"config: key 'groups': there is no '{config['groups']}' (relative to where snakemake runs)")
    most = _training_videos(config)
    for variant, count in clusters.items():
        if count > most and not resolve(config, variant)["parts"]["cut"]:
            where = f"config: variant '{variant}'" if count != config["clusters"] else "config"
            raise InputError(f"{where}: key 'clusters' is {count}, but there are only {most} training videos to group")


def check_annotations(config: Mapping[str, Any]) -> None:
    """Refuse annotations of another form before the first job; import compares them with the videos' durations.

    Raises
    ------
    InputError
    """
    dataset = config["dataset"]
    if dataset["layout"] == "demo" or not dataset["annotations"] or find_spec("numpy") is None:
        return  # with --use-conda, the environment of Snakemake may lack numpy; the import job checks them, too
    import numpy as np

    from feel_steps.dataset.annotations import read_annotations
    from feel_steps.dataset.videos import strings

    names = _list_videos(dataset)
    manifest = {"video_id": strings(names), "duration": np.full(len(names), np.inf)}
    with contextlib.redirect_stderr(io.StringIO()):  # the step will warn
        read_annotations(dataset["annotations"], manifest, strict=config["annotations"]["strict"])


def check_labels(config: Mapping[str, Any], clusters: Mapping[str, int]) -> None:
    """Refuse labels of another form, of unknown videos, or of more classes than clusters, before the first job.

    Raises
    ------
    InputError
    """
    dataset = config["dataset"]
    if dataset["layout"] == "demo" or not dataset["labels"] or find_spec("numpy") is None:
        return
    from feel_steps.dataset.labels import read_labels

    with contextlib.redirect_stderr(io.StringIO()):  # the step will warn
        read_labels(dataset["labels"], _list_videos(dataset), min(clusters.values()))


def check_groups(config: Mapping[str, Any]) -> None:
    """Refuse groups of another form, or of unknown videos, before the first job.

    Raises
    ------
    InputError
    """
    path, dataset = config["groups"], config["dataset"]
    if not path or dataset["layout"] == "demo" or find_spec("numpy") is None:
        return
    from feel_steps.dataset.annotations import match_ids

    names = _list_videos(dataset)
    find = match_ids(names)
    for line, row in read_csv(path, ("video_id", "group")):
        if find(row["video_id"]) is None:
            name = row["video_id"]
            raise InputError(f"{path}, row {line}: there is no video '{name}' in the data set; {hint(name, names)}")


def settle_corrections(config: Mapping[str, Any], settings: Mapping[str, Mapping[str, Any]]) -> Corrections | None:
    """Read the corrections that the config names, and check them against it; None without corrections.

    Parameters
    ----------
    config : mapping
    settings : mapping of str to mapping
        The config as each variant has it.

    Raises
    ------
    InputError
        The file has another form, contradicts itself, or is for what the run does not have.
    """
    if not (path := config["corrections"]):
        return None
    found = read_corrections(path)
    if found.variant not in settings:
        raise InputError(
            f"{path}: made for variant '{found.variant}', which is not in the config; {hint(found.variant, settings)}"
        )
    if found.seed not in config["seeds"]:
        raise InputError(f"{path}: made for seed {found.seed}, but config key 'seeds' is {config['seeds']}")
    variant, seed = next(iter(settings)), config["seeds"][0]
    if (found.variant, found.seed) != (variant, seed):
        raise InputError(
            f"{path}: made for variant '{found.variant}', seed {found.seed}, but the page shows '{variant}', seed "
            f"{seed}, whose clusters have other numbers; put that variant (or number of clusters) and seed first in "
            "the config"
        )
    own = settings[found.variant]
    if found.iteration > own["iterations"]:
        raise InputError(
            f"{path}: made for iteration {found.iteration}, but config key 'iterations' is {own['iterations']}; "
            "raise it"
        )
    check_clusters(found, own["clusters"], path)
    if config["dataset"]["layout"] != "demo" and find_spec("numpy") is not None:
        from feel_steps.dataset.annotations import match_ids

        names = _list_videos(config["dataset"])
        match_corrections(found, match_ids(names), names, path)
    if find_spec("pyarrow") is not None:
        _check_against_run(found, Path("results", config["name"]), path)
    return found


def _check_against_run(corrections: Corrections, run: Path, path: str) -> None:
    """Refuse corrections for other clusters or videos than a run has now; if it has none yet, its jobs check them."""
    from feel_steps.tables import tables
    from feel_steps.tables.folders import iteration_folder
    from feel_steps.tables.run import identify

    place = iteration_folder(run, corrections.variant, corrections.seed, corrections.iteration)
    try:
        now = identify(tables.read(place / "centres.parquet", "centres")["feature"])
        videos = tables.read(run / "videos.parquet", "videos", ["video_id", "duration"])
    except InputError:
        return  # not there, or damaged: it will be made
    if now != corrections.centres:
        raise InputError(
            f"{path}: made for other clusters than those in {place}, which were computed anew since; "
            "correct the present page"
        )
    match_videos(corrections, videos, path)


def _list_videos(dataset: Mapping[str, Any]) -> list[str]:
    """Ids that the videos of a data set can have, by the names of its files; composed, as import has them."""
    if dataset["layout"] == "cola":
        splits = (Path(dataset["path"], f"split_{split}.txt") for split in ("train", "test"))
        names = [name for split in splits if split.is_file() for name in read_text(split).split()]
    else:
        files = list(list_inputs(dataset["path"], dataset["links"], dataset["layout"]))
        stems = Counter(os.path.splitext(name)[0] for name in files)
        names = [*stems, *(name for name in files if stems[os.path.splitext(name)[0]] > 1)]  # then ids have a suffix
        for stream in dataset["streams"] or ():
            names += [name.removeprefix(f"{stream}/") for name in names if name.startswith(f"{stream}/")]
    return [unicodedata.normalize("NFC", name) for name in names]


def _check_paths(dataset: Mapping[str, Any]) -> None:
    """Refuse paths that are missing."""
    if dataset["layout"] == "demo":
        if dataset["labels"]:
            raise InputError("config: key 'dataset.labels' is for your own videos; layout 'demo' renders its own")
        if dataset["path"]:
            raise InputError(
                f"config: key 'dataset.path' is '{dataset['path']}', but layout 'demo' renders its own videos; set "
                "dataset.layout to videos, features or cola"
            )
        return
    if not dataset["path"]:
        raise InputError(
            f"config: key 'dataset.path' is not set; layout '{dataset['layout']}' needs the folder to read"
        )
    own = next((key for key in ("streams", "key", "transposed", "videos") if dataset[key]), None)
    if own and dataset["layout"] != "features":
        raise InputError(f"config: key 'dataset.{own}' is for layout 'features'; leave it out")
    for key in ("path", "split", "annotations", "labels", "videos"):
        if dataset[key] and not Path(dataset[key]).exists():
            raise InputError(
                f"config: key 'dataset.{key}': there is no '{dataset[key]}' (relative to where snakemake runs)"
            )
    if dataset["layout"] == "cola" and dataset["split"]:
        raise InputError(
            "config: key 'dataset.split' is for other layouts; layout 'cola' has split_train.txt and split_test.txt "
            "in its folder, leave the key out"
        )
    for folder in filter(None, (dataset["path"], dataset["videos"])):
        _list(folder, dataset["links"])  # refuses links that lead out


def _training_videos(config: Mapping[str, Any]) -> int:
    """How many training videos there can be at most, as far as names and the split tell.

    Raises
    ------
    InputError
        The split is of another form, or names a video that is not there.
    """
    dataset = config["dataset"]
    if dataset["layout"] == "demo":
        return config["demo"]["train"]
    if dataset["layout"] == "cola":
        names = Path(dataset["path"], "split_train.txt")
        return len(names.read_text().split()) if names.is_file() else sys.maxsize  # import will say what is missing
    most = len(list_inputs(dataset["path"], dataset["links"], dataset["layout"]))
    if not dataset["split"] or find_spec("numpy") is None:  # with --use-conda, the environment may lack it
        return most
    from feel_steps.dataset.videos import split_rows

    known, train = dict.fromkeys(_list_videos(dataset)), 0
    for line, video_id, split in split_rows(dataset["split"]):
        if video_id not in known:
            where, instead = f"{dataset['split']}, row {line}", hint(video_id, known)
            raise InputError(f"{where}: there is no video '{video_id}' in the data set; {instead}")
        train += split == "train"
    return min(most, train)
