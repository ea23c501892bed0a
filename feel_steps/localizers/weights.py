"""Localizers built by name, and their weights in files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import torch
from torch import Tensor

from feel_steps.errors import InputError
from feel_steps.localizers import LOCALIZERS, check_settings, place_of
from feel_steps.localizers.adapter import Adapted
from feel_steps.localizers.base import Localizer
from feel_steps.localizers.members import Members
from feel_steps.tables.tensors import read_arrays, write_arrays


def build(name: str, features: int, clusters: int, *, adapter: int = 0, members: int = 1, **settings: Any) -> Localizer:
    """Make a localizer with fresh weights.

    Parameters
    ----------
    name : str
        A key of :data:`feel_steps.localizers.LOCALIZERS`.
    features, clusters : int
        Dimension F of a snippet's features, and number of classes K.
    adapter : int
        Width of the adapter in front; 0: none.
    members : int
        How many localizers are trained side by side, and averaged.
    **settings
        Keyword arguments of the localizer's class.

    Raises
    ------
    InputError
        No localizer has that name; it has no such setting, or the value is of no use.
    """
    check_settings(name, {**settings, "adapter": adapter, "members": members})
    localizer = resolve_name(":".join(place_of(name)))

    def make() -> Localizer:
        model = localizer(features, clusters, **settings)
        return Adapted(model, adapter) if adapter else model

    return Members([make() for _ in range(members)]) if members > 1 else make()


def name_of(model: Localizer) -> str:
    """Give the name by which a localizer is registered."""
    one = model.members[0] if isinstance(model, Members) else model
    own = one.localizer if isinstance(one, Adapted) else one
    place = f"{type(own).__module__}:{type(own).__name__}"
    return next(name for name, known in LOCALIZERS.items() if known == place)


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write tensors and JSON metadata, see :func:`feel_steps.tables.tensors.write_arrays`."""
    write_arrays(path, {name: tensor.numpy(force=True) for name, tensor in tensors.items()}, metadata)


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`write_tensors` wrote, see :func:`feel_steps.tables.tensors.read_arrays`."""
    arrays, metadata = read_arrays(path)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}, metadata


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
    except (KeyError, TypeError, RuntimeError, InputError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: weights that do not fit their settings ({reason}); run train again") from None
    return model.to(device).eval()
