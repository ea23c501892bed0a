"""Files of pretrained weights: only tensors are read from them, and a digest says which file it was."""

from __future__ import annotations

import hashlib
import io
import pickle
from importlib.util import find_spec
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from feel_steps.errors import InputError

BROKEN = (pickle.UnpicklingError, SafetensorError, RuntimeError, ValueError, EOFError, KeyError, AttributeError)


def read_state(
    path: str | Path, where_from: str, sha256: str | None = None, key: str = ""
) -> tuple[dict[str, Tensor], str]:
    """Read a state dict that PyTorch or safetensors wrote.

    Parameters
    ----------
    path : path
        A file that exists.
    where_from : str
        Where the user gets the file, for the message.
    sha256 : str, optional
        What the file's SHA-256 has to be.
    key : str
        Config key that says so.

    Returns
    -------
    state : dict of str to Tensor
    digest : str
        SHA-256 of the file.

    Raises
    ------
    InputError
        The file is another than ``sha256`` says, or holds something else than named tensors.
    """
    data = Path(path).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if sha256 is not None and sha256.lower() != digest:
        raise InputError(
            f"{path}: its SHA-256 is {digest}, but {key} says {sha256}; fetch the file again, or correct the config"
        )
    try:
        if Path(path).suffix == ".safetensors":
            state = safetensors.torch.load(data)
        else:
            state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        named = all(isinstance(tensor, Tensor) for tensor in state.values())
    except BROKEN:
        named = False
    if not named:
        raise InputError(
            f"{path}: not a state dict of tensors alone, and nothing else is read; fetch the file again. {where_from}"
        )
    return state, digest


def check_shapes(path: str | Path, state: dict[str, Tensor], model: torch.nn.Module, where_from: str) -> None:
    """Refuse weights that are not those of a network, naming the first tensor that does not fit.

    Counters of training steps may be missing: old files lack them, and features do not need them.
    """
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    wrong = [name for name in wanted if found.get(name) != wanted[name] and not name.endswith("num_batches_tracked")]
    if wrong := wrong + [name for name in found if name not in wanted]:
        have = f"{list(found[wrong[0]])}" if wrong[0] in found else "missing"
        need = f"{list(wanted[wrong[0]])}" if wrong[0] in wanted else "no such tensor"
        raise InputError(
            f"{path}: not the weights of this {type(model).__name__}: '{wrong[0]}' is {have}, expected {need}. "
            f"{where_from}"
        )


def package_file(package: str, *names: str) -> Path | None:
    """Path of a file that an installed package brings, without importing the package; None if it is not installed."""
    spec = find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    return Path(list(folders)[0], *names) if folders else None
