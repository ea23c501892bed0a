"""Where the artifacts of an iteration lie: ``VARIANT/seed-S/iter-I/`` in the run's folder, as in rules/common.smk."""

from __future__ import annotations

import re
from pathlib import Path

NAMES = "clusters.yaml"  # in a run's folder: what a person calls the clusters
EVERY = "*/seed-*/iter-*"  # glob pattern of all iterations' folders
_PLACE = re.compile(r"(?:.*/)?([^/]+)/seed-(\d+)/iter-(\d+)")


def iteration_folder(run: str | Path, variant: str, seed: int, iteration: int) -> Path:
    """Folder of one iteration."""
    return Path(run) / variant / f"seed-{seed}" / f"iter-{iteration}"


def read_place(folder: str | Path) -> tuple[str, int, int] | None:
    """Variant, seed and iteration that the name of a folder tells; None if it is no iteration's."""
    found = _PLACE.fullmatch(Path(folder).absolute().as_posix())
    return (found[1], int(found[2]), int(found[3])) if found else None
