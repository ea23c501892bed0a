"""Folders of a run: ``VARIANT/seed-S/iter-I/`` holds the artifacts of one iteration, as in rules/common.smk."""

from __future__ import annotations

import re
from pathlib import Path

from feel_steps.errors import InputError

NAMES = "clusters.yaml"  # in a run's folder: the names that a person gave to clusters
SHEET = "contact-sheet.png"  # beside it: pictures of each cluster's typical moments
EVERY = "*/seed-*/iter-*"  # glob pattern of all iterations' folders
_ITERATION = re.compile(r"(?:.*/)?([^/]+)/seed-(\d+)/iter-(\d+)")


def check_folder(run: Path) -> None:
    """Refuse a results folder that does not exist.

    Raises
    ------
    InputError
    """
    if not run.is_dir():
        raise InputError(f"{run}: no such folder; name the results folder of a run, such as results/demo")


def check_out(folder: Path) -> None:
    """Refuse a file where results are to go into a folder, before there are any.

    Raises
    ------
    InputError
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: a file; --out has to be a folder, which is made if it is not there")


def iteration_folder(run: str | Path, variant: str, seed: int, iteration: int) -> Path:
    """Folder of one iteration."""
    return Path(run) / variant / f"seed-{seed}" / f"iter-{iteration}"


def read_place(folder: str | Path) -> tuple[str, int, int] | None:
    """Variant, seed and iteration from the name of a folder; None if it is not an iteration's folder."""
    match = _ITERATION.fullmatch(Path(folder).absolute().as_posix())
    return (match[1], int(match[2]), int(match[3])) if match else None
