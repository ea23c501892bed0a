"""What must be there before a run starts: the data set that the config names, with enough videos."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from feel_steps.dataset.files import list_files
from feel_steps.errors import InputError

list_inputs = cache(list_files)  # checking the data set and digesting its inputs take one walk


def digest_inputs(folder: str | Path, links: str) -> str:
    """Digest of the names, sizes and times of all files in a folder: a folder's own time says little about them."""
    digest = hashlib.sha256()
    for name, (size, time) in list_inputs(folder, links).items():
        digest.update(os.fsencode(f"{name}\0{size}\0{time}\n"))
    return digest.hexdigest()[:16]


def check_dataset(config: Mapping[str, Any], clusters: Mapping[str, int]) -> None:
    """Refuse paths that are missing, and more clusters than there are training videos.

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
    most = _training_videos(config)
    for variant, count in clusters.items():
        if count > most:
            where = f"config: variant '{variant}'" if count != config["clusters"] else "config"
            raise InputError(f"{where}: key 'clusters' is {count}, but there are only {most} training videos to group")


def _check_paths(dataset: Mapping[str, Any]) -> None:
    """Refuse paths that are missing."""
    if dataset["layout"] == "demo":
        return
    if not dataset["path"]:
        raise InputError(
            f"config: key 'dataset.path' is not set; layout '{dataset['layout']}' needs the folder to read"
        )
    own = next((key for key in ("streams", "key", "transposed", "videos") if dataset[key]), None)
    if own and dataset["layout"] != "features":
        raise InputError(f"config: key 'dataset.{own}' is for layout 'features'; leave it out")
    for key in ("path", "split", "annotations", "videos"):
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
        list_inputs(folder, dataset["links"])  # refuses links that lead out


def _training_videos(config: Mapping[str, Any]) -> int:
    """How many training videos there can be at most, as far as names tell."""
    dataset = config["dataset"]
    if dataset["layout"] == "demo":
        return config["demo"]["train"]
    if dataset["layout"] == "cola":
        names = Path(dataset["path"], "split_train.txt")
        return len(names.read_text().split()) if names.is_file() else sys.maxsize  # import will say what is missing
    return len(list_inputs(dataset["path"], dataset["links"]))
