"""Weakly supervised localizers that can stand in the loop, by name, and their files; see ``docs/localizers.md``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from feel_steps import artifacts
from feel_steps.errors import InputError
from feel_steps.localizers.base import Localizer

LOCALIZERS = {
    "cola": "feel_steps.localizers.cola:CoLA",
}


def build(name: str, features: int, clusters: int, **settings: Any) -> Localizer:
    """Make a localizer with fresh weights.

    Parameters
    ----------
    name : str
        A key of :data:`LOCALIZERS`.
    features, clusters : int
        Dimension F of a snippet's features, and number of classes K.
    **settings
        Keyword arguments of the localizer's class.

    Raises
    ------
    InputError
        No localizer has that name, or it has no such setting.
    """
    if name not in LOCALIZERS:
        raise InputError(f"localizer '{name}': no such localizer; choose one of {', '.join(sorted(LOCALIZERS))}")
    module, _, attribute = LOCALIZERS[name].partition(":")
    localizer = getattr(import_module(module), attribute)
    try:
        return localizer(features, clusters, **settings)
    except TypeError as error:  # Python's message names the keyword
        raise InputError(
            f"localizer '{name}': {str(error).split('() ')[-1]}; see {attribute} for its settings"
        ) from None


def name_of(model: Localizer) -> str:
    """Give the name by which a localizer is registered."""
    return next(name for name, place in LOCALIZERS.items() if place.endswith(f":{type(model).__name__}"))


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write tensors and JSON metadata as safetensors, atomically; the same values give the same bytes."""
    own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with artifacts.atomic(path) as temporary:
        # one key: safetensors writes several in no fixed order
        save_file(own, temporary, metadata={"feel": json.dumps(metadata, sort_keys=True)})


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`write_tensors` wrote.

    Raises
    ------
    InputError
        The file is missing, damaged or without our metadata.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; run the step that writes it")
    try:
        with safe_open(path, "pt") as file:
            metadata = json.loads((file.metadata() or {})["feel"])
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        raise InputError(
            f"{path}: not a safetensors file of feel-steps ({error}); delete it and run its step again"
        ) from None


def save(model: Localizer, path: str | Path, metadata: Mapping[str, Any] | None = None) -> None:
    """Write a localizer's weights, with what is needed to build it again.

    Parameters
    ----------
    model : Localizer
    path : path
        A ``.safetensors`` file; it appears whole or not at all.
    metadata : mapping, optional
        JSON values to keep beside: how it was trained.
    """
    about = {"localizer": name_of(model), "settings": model.settings, "training": dict(metadata or {})}
    write_tensors(path, model.state_dict(), about)


def load(path: str | Path, device: torch.device | str = "cpu") -> Localizer:
    """Read a localizer that :func:`save` wrote, ready to attend.

    Raises
    ------
    InputError
        The file is missing, damaged, or its weights do not fit its settings.
    """
    state, about = read_tensors(path)
    try:
        model = build(about["localizer"], **about["settings"])
        model.load_state_dict(state)
    except (KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: weights that do not fit their settings ({reason}); run train again") from None
    return model.to(device).eval()
