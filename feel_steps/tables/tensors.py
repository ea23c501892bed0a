"""Arrays in safetensors files, for what is learnt and is not a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from feel_steps import __version__
from feel_steps.errors import InputError
from feel_steps.tables import provenance, tables


def write_arrays(path: str | Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> None:
    """Write arrays and JSON metadata as safetensors, atomically; the same values give the same bytes."""
    own = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    about = {**metadata, "provenance": {"feel.version": __version__, **provenance.stamp(path)}}
    with tables.atomic(path) as temporary:
        try:
            # one key: safetensors writes several in no fixed order
            save_file(own, temporary, metadata={"feel": json.dumps(about, sort_keys=True)})
        except SafetensorError as error:  # no space
            raise OSError(None, str(error), str(path)) from None
        provenance.seal(temporary)


def read_arrays(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what :func:`write_arrays` wrote.

    Raises
    ------
    InputError
        The file is missing, damaged, altered or without our metadata.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; run the step that writes it")
    try:
        with safe_open(path, "numpy") as file:
            metadata = json.loads((file.metadata() or {})["feel"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        raise InputError(
            f"{path}: not a safetensors file of feel-steps ({error}); delete it and run its step again"
        ) from None
    about = metadata.get("provenance", {})
    if not provenance.is_intact(path, about):  # safetensors has no checksums
        raise InputError(f"{path}: altered since it was written; delete it and run its step again")
    provenance.note(path, about)
    return arrays, metadata
