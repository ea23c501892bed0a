"""Arrays that others made: if these fail, features are misread, or a bad file costs an evening."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from feel_steps.dataset.array_file import ArrayError, open_array, read_array
from feel_steps.dataset.arrays import list_arrays
from feel_steps.errors import InputError

X = np.arange(12, dtype=np.float32).reshape(4, 3) / 8  # exact in float16


def save(path, array, key="features"):
    """Write an array in the format of the path's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez_compressed(path, **{key: array})
    elif path.suffix == ".pt":
        torch.save(torch.from_numpy(array), path)
    elif path.suffix == ".safetensors":
        save_file({key: torch.from_numpy(array)}, path)
    else:
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            file[f"group/{key}"] = array
    return path


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt", ".safetensors", ".h5"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_every_format_and_precision_gives_the_same_numbers(tmp_path, suffix, dtype):
    path = save(tmp_path / f"a{suffix}", X.astype(dtype))
    array = open_array(path)
    assert (array.shape, array.dtype) == ((4, 3), dtype)
    features = read_array(path)
    assert features.dtype == np.float32 and features.flags.c_contiguous and np.array_equal(features, X)
    assert np.array_equal(read_array(path, transposed=True), X.T) and open_array(path, transposed=True).shape == (3, 4)


def test_byte_order_and_memory_order_do_not_matter(tmp_path):
    for name, array in {
        "big": X.astype(">f4"),
        "fortran": np.asfortranarray(X),
        "both": np.asfortranarray(X, ">f8"),
    }.items():
        assert np.array_equal(read_array(save(tmp_path / f"{name}.npy", array)), X)
    torch.save({"b": torch.from_numpy(X).bfloat16(), "n": 3}, tmp_path / "b.pt")
    save_file({"b": torch.from_numpy(X).bfloat16()}, tmp_path / "b.safetensors")
    for name in ("b.pt", "b.safetensors"):
        assert open_array(tmp_path / name).dtype == "bfloat16"
        assert np.array_equal(read_array(tmp_path / name), X)


def test_a_file_of_several_arrays_needs_a_name(tmp_path):
    np.savez(tmp_path / "a.npz", rgb=X, flow=X + 1)
    with pytest.raises(ArrayError, match=r"2 arrays in it \('rgb', 'flow'\); name one in dataset.key"):
        open_array(tmp_path / "a.npz")
    assert np.array_equal(read_array(tmp_path / "a.npz", "flow"), X + 1)
    with pytest.raises(ArrayError, match="no array 'flo' in it; did you mean 'flow'?"):
        open_array(tmp_path / "a.npz", "flo")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(5, np.float32), r"float32\[5\]: expected two dimensions, \[snippets, dimension\]; write"),
        (np.zeros((1, 4, 3)), r"float64\[1, 4, 3\]: .*; take its only element: array\[0\] is \[4, 3\]"),
        (np.zeros((4, 3, 7, 7)), r"float64\[4, 3, 7, 7\]: .*; average over crops, frames or places"),
        (np.zeros((0, 3)), r"float64\[0, 3\]: it is empty"),
        (np.zeros((4, 0)), r"float64\[4, 0\]: it is empty"),
        (np.zeros((4, 3), int), r"int64\[4, 3\]: expected floating-point numbers"),
        (np.array([None, "x"], object), "an array of Python objects, which only pickle could read"),
    ],
)
def test_what_is_no_table_of_snippets_is_named(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(ArrayError, match=message):
        open_array(tmp_path / "a.npy")


def test_numbers_that_are_none_are_named_by_row(tmp_path):
    bad = X.astype(np.float64)
    bad[2, 1] = np.nan
    with pytest.raises(ArrayError, match=r"row 2 of float64\[4, 3\]: NaN or infinite"):
        read_array(save(tmp_path / "a.npy", bad))
    bad[2, 1] = 1e300  # too large for float32
    with pytest.raises(ArrayError, match="row 2"):
        read_array(save(tmp_path / "b.npy", bad))


def test_a_wrong_suffix_is_named(tmp_path):
    """Features that were published as .npz and renamed to fit a layout once ended in a traceback."""
    save(tmp_path / "a.npz", X).rename(tmp_path / "a.npy")
    with pytest.raises(ArrayError, match=r"a zip archive \(.npz or .pt\) under the suffix .npy; give it the suffix"):
        open_array(tmp_path / "a.npy")
    save(tmp_path / "b.npy", X).rename(tmp_path / "b.npz")
    with pytest.raises(ArrayError, match=r"a \.npy array under the suffix \.npz"):
        open_array(tmp_path / "b.npz")
    with pytest.raises(ArrayError, match="no known suffix of an array; expected .npy, .npz"):
        open_array(tmp_path / "c.mat")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt", ".safetensors", ".h5"])
def test_a_damaged_file_is_named(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}", np.zeros((400, 30), np.float32))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ArrayError, match="cut short|not readable|not a readable"):
        read_array(path)
    path.write_bytes(b"")
    with pytest.raises(ArrayError):
        read_array(path)


def test_nothing_is_unpickled(tmp_path):
    """A .pt file could run any code when it is loaded; only tensors are read."""

    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"features": torch.zeros(4, 3), "x": Trap()}, tmp_path / "a.pt")
    with pytest.raises(ArrayError, match=r"not readable without running code .*; save the tensor alone"):
        open_array(tmp_path / "a.pt")
    assert not (tmp_path / "ran").exists()


def test_ids_are_names_below_the_folder_of_the_stream(tmp_path):
    for name in ("day 1/b.npy", "a.npz"):
        save(tmp_path / name, X)
    (tmp_path / "notes.txt").write_text("")
    assert list(list_arrays(tmp_path)[""]) == ["a", "day 1/b"]
    save(tmp_path / "a.pt", X)
    with pytest.raises(InputError, match=r"a\.pt: the id 'a' is taken by .*a\.npz|a\.npz: the id 'a' is taken"):
        list_arrays(tmp_path)
    for stream in ("rgb", "flow"):
        save(tmp_path / f"two/{stream}/v.npy", X)
    arrays = list_arrays(tmp_path / "two", ["rgb", "flow"])
    assert {stream: list(files) for stream, files in arrays.items()} == {"rgb": ["v"], "flow": ["v"]}
    save(tmp_path / "two/rgb/w.npy", X)
    with pytest.raises(InputError, match=r"w\.npy: 'w' has no array in 'flow'; every video needs one in each"):
        list_arrays(tmp_path / "two", ["rgb", "flow"])
    with pytest.raises(InputError, match=r"two/pose: no arrays in it; expected a file a video \(\.npy"):
        list_arrays(tmp_path / "two", ["rgb", "pose"])
