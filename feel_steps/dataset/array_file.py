"""One array of features in a file: what is in it, and its numbers.

The files are ``.npy``, ``.npz``, ``.pt``, ``.safetensors`` or, with h5py, ``.h5``. An array is [T, D], one row for each
snippet, of any floating-point type, byte order and memory order. Nothing is unpickled.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from feel_steps.dataset.files import list_names
from feel_steps.errors import InputError, hint

TYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}  # names in safetensors
# first bytes of a file -> what it is, and the suffixes that it may have
FORMATS: dict[bytes, tuple[str, tuple[str, ...]]] = {
    b"\x93NUMPY": ("a .npy array", (".npy",)),
    b"PK\x03\x04": ("a zip archive (.npz or .pt)", (".npz", ".pt", ".pth")),
    b"\x89HDF": ("an .h5 file", (".h5", ".hdf5")),
}


class ArrayError(Exception):
    """An array that cannot be used; the message is the reason, without the file's name."""


@dataclass(frozen=True)
class Array:
    """An array that is in a file and not read yet; ``dtype`` is its name, such as float16."""

    shape: tuple[int, ...]
    dtype: str
    load: Callable[[], np.ndarray]

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


def open_array(path: str | Path, key: str | None = None, transposed: bool = False) -> Array:
    """Look at the array [T, D] of a file; its numbers stay on disk where the format allows it.

    Parameters
    ----------
    path : path
        The suffix says the format, see :data:`READERS`.
    key : str, optional
        Name of the array, where the file holds several.
    transposed : bool
        Whether the file holds [D, T].

    Returns
    -------
    Array
        Of two dimensions, T and D above zero.

    Raises
    ------
    ArrayError
        The file cannot be read, or does not hold one such array.
    """
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ArrayError(f"no known suffix of an array; expected {', '.join(READERS)}")
    _check_format(path)
    try:
        array = reader(path, key)
    except (ArrayError, InputError):  # InputError: a library that reads this format is not installed
        raise
    except Exception as error:  # each library has its own ways to say that a file is damaged
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ArrayError(f"not a readable {path.suffix} file ({reason}); write it again") from None
    _check_shape(array)
    if transposed:
        return replace(array, shape=array.shape[::-1], load=lambda: array.load().T)
    return array


def load_array(path: str | Path, key: str | None = None, transposed: bool = False) -> np.ndarray:
    """Load the array of a file as it is, [T, D] of any floating-point type; parameters as in :func:`open_array`.

    Raises
    ------
    ArrayError
        As there, or the numbers of the array cannot be read.
    """
    array = open_array(path, key, transposed)
    try:
        return array.load()
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ArrayError(f"not a readable {Path(path).suffix} file ({error}); write it again") from None


def read_array(path: str | Path, key: str | None = None, transposed: bool = False) -> np.ndarray:
    """Read the array of a file as float32 [T, D], in C order; parameters as in :func:`open_array`.

    Raises
    ------
    ArrayError
        As in :func:`load_array`, or a number is NaN or infinite, in the file or as float32.
    """
    array = load_array(path, key, transposed)
    with np.errstate(over="ignore"):
        features = np.ascontiguousarray(array, np.float32)
    finite = np.isfinite(features).all(1)
    if not finite.all():
        which = f"row {int(finite.argmin())} of {array.dtype}[{array.shape[0]}, {array.shape[1]}]"
        raise ArrayError(f"{which}: NaN or infinite as float32; extract its features again")
    return features


def _check_format(path: Path) -> None:
    """Name a file whose first bytes belong to another suffix."""
    try:
        with open(path, "rb") as file:
            start = file.read(8)
    except OSError as error:
        raise ArrayError(f"cannot be read ({error.strerror}); check the path") from None
    for magic, (content, suffixes) in FORMATS.items():
        if start.startswith(magic) and path.suffix.lower() not in suffixes:
            raise ArrayError(f"{content} under the suffix {path.suffix}; give it the suffix of its format")


def _check_shape(array: Array) -> None:
    if array.dtype == "object":
        raise ArrayError(
            "an array of Python objects, which only pickle could read; write plain numbers: "
            "np.save(path, np.stack(list(array)).astype(np.float32))"
        )
    if not array.dtype.startswith(("float", "bfloat")):
        raise ArrayError(
            f"{array}: expected floating-point numbers [snippets, dimension]; convert them: .astype(np.float32)"
        )
    if len(array.shape) != 2:
        advice = "write [snippets, dimension]"
        if len(array.shape) == 3 and array.shape[0] == 1:
            advice = f"take its only element: array[0] is [{array.shape[1]}, {array.shape[2]}]"
        elif len(array.shape) > 2:
            advice = "average over crops, frames or places, so that each snippet is one row"
        raise ArrayError(f"{array}: expected two dimensions, [snippets, dimension]; {advice}")
    if 0 in array.shape:
        raise ArrayError(f"{array}: it is empty; extract its features again, or take it out")


def _pick(names: Sequence[str], key: str | None) -> str:
    """Name of the array to read: the only one in the file, or the one that the config names."""
    if key is not None:
        if key not in names:
            raise ArrayError(f"no array '{key}' in it; {hint(key, names)}")
        return key
    if len(names) != 1:
        found = f"{len(names)} arrays in it ({list_names(list(names))})" if names else "no array in it"
        raise ArrayError(f"{found}; " + ("name one in dataset.key" if names else "take the file out"))
    return names[0]


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an array in NumPy's format."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def _open_npy(path: Path, key: str | None) -> Array:
    with open(path, "rb") as file:
        shape, dtype = _read_header(file)
        promised = file.tell() + int(np.prod(shape)) * dtype.itemsize
    if not dtype.hasobject and path.stat().st_size < promised:
        raise ArrayError(f"cut short: {path.stat().st_size} of {promised} bytes; copy it again")
    return Array(shape, dtype.name, lambda: np.load(path, mmap_mode="r", allow_pickle=False))


def _open_npz(path: Path, key: str | None) -> Array:
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        name = _pick(names, key)
        with archive.open(f"{name}.npy") as file:
            shape, dtype = _read_header(file)

    def load() -> np.ndarray:
        with np.load(path, allow_pickle=False) as arrays:
            return arrays[name]

    return Array(shape, dtype.name, load)


def _open_safetensors(path: Path, key: str | None) -> Array:
    from safetensors import safe_open

    def load() -> np.ndarray:
        with safe_open(path, framework="pt") as file:  # NumPy knows no bfloat16
            return file.get_tensor(name).float().numpy()

    with safe_open(path, framework="numpy") as file:
        name = _pick(list(file.keys()), key)
        part = file.get_slice(name)
        dtype = TYPES.get(part.get_dtype(), part.get_dtype().lower())
        return Array(tuple(part.get_shape()), dtype, load)


def _open_torch(path: Path, key: str | None) -> Array:
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = "it holds more than tensors" if "weights_only" in str(error) else str(error).splitlines()[0]
        raise ArrayError(
            f"not readable without running code of the file ({reason}); save the tensor alone: torch.save(tensor, path)"
        ) from None
    if isinstance(content, torch.Tensor):
        tensor = content
    elif isinstance(content, dict):
        tensors = {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
        tensor = tensors[_pick(list(tensors), key)]
    else:
        raise ArrayError(f"a {type(content).__name__} in it; expected one tensor, or a dictionary of tensors")
    tensor = tensor.detach()
    return Array(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), lambda: tensor.float().numpy())


def _open_h5(path: Path, key: str | None) -> Array:
    try:
        import h5py
    except ImportError:
        raise InputError(f"{path}: reading .h5 files needs h5py: pip install 'feel-steps[h5]'") from None
    with h5py.File(path, "r") as file:
        found: dict[str, Any] = {}
        file.visititems(lambda name, item: found.update({name: item} if isinstance(item, h5py.Dataset) else {}))
        name = _pick(list(found), key)
        shape, dtype = found[name].shape, found[name].dtype.name

    def load() -> np.ndarray:
        with h5py.File(path, "r") as file:
            return file[name][()]

    return Array(shape, dtype, load)


READERS: dict[str, Callable[[Path, str | None], Array]] = {
    ".npy": _open_npy,
    ".npz": _open_npz,
    ".pt": _open_torch,
    ".pth": _open_torch,
    ".safetensors": _open_safetensors,
    ".h5": _open_h5,
    ".hdf5": _open_h5,
}
