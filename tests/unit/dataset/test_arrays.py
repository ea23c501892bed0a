"""Arrays that others made: if these fail, features are misread, or a bad file costs an evening."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from feel_steps.dataset import suffixes
from feel_steps.dataset.array_file import READERS, ArrayError, open_array, read_array
from feel_steps.dataset.arrays import import_arrays, list_arrays
from feel_steps.errors import InputError
from feel_steps.features.contract import read_contract
from feel_steps.features.extract import extract_part
from feel_steps.features.index import index
from feel_steps.tables import tables
from tests.clips import scene, write_video

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


def test_a_folder_counts_as_arrays_by_the_suffixes_that_can_be_read():
    """Else a folder would be taken for arrays, and then none of its files read."""
    assert READERS.keys() == suffixes.ARRAY


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


# ---------------------------------------------------------------------------------------------------- the manifest

RATE = {"fps": 10, "window": 8, "stride": 4}


def make_folder(root, lengths=(20, 25, 31), D=6):
    for i, T in enumerate(lengths):
        save(root / f"v{i}.npy", np.full((T, D), i, np.float32))
    return root


def make_videos(root, names=("v0", "v1", "v2"), lengths=(20, 25, 31)):
    for name, T in zip(names, lengths, strict=True):
        write_video(root / f"{name}.mp4", scene((T - 1) * 4 + 8 + 2), fps=10)  # two frames are left over
    return root


def test_without_videos_durations_follow_from_the_snippets(tmp_path):
    manifest, skipped = import_arrays(make_folder(tmp_path / "npy"), **RATE, parts=2)
    assert manifest["video_id"].tolist() == ["v0", "v1", "v2"] and manifest["path"].tolist() == [None] * 3
    np.testing.assert_allclose(manifest["duration"], [8.4, 10.4, 12.8])
    assert set(manifest["split"]) == {"train"} and set(manifest["part"]) == {0, 1} and not len(skipped["video_id"])


def test_videos_give_players_and_durations(tmp_path):
    arrays, videos = make_folder(tmp_path / "npy"), make_videos(tmp_path / "videos")
    (tmp_path / "split.csv").write_text("video_id,split\nv0,train\nv1,train\nv2,test\n")
    manifest, _ = import_arrays(arrays, **RATE, videos=videos, split=tmp_path / "split.csv")
    assert manifest["path"].tolist() == [str(videos / f"v{i}.mp4") for i in range(3)]
    np.testing.assert_allclose(manifest["duration"], [8.6, 10.6, 13.0])
    assert manifest["split"].tolist() == ["train", "train", "test"]
    (videos / "v1.mp4").unlink()
    with pytest.warns(UserWarning, match="no video for 'v1'; the page shows no player"):
        manifest, _ = import_arrays(arrays, **RATE, videos=videos)
    assert manifest["path"][1] is None and manifest["duration"][1] == pytest.approx(10.4)


def test_folders_without_a_common_name_show_both(tmp_path):
    arrays = make_folder(tmp_path / "npy")
    videos = make_videos(tmp_path / "videos", [f"clip_v{i}" for i in range(3)])
    with pytest.raises(InputError, match=r"npy holds 'v0', and .*videos holds 'clip_v0': no array and no video share"):
        import_arrays(arrays, **RATE, videos=videos)
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="none holds no video: no array and no video share a name"):
        import_arrays(arrays, **RATE, videos=tmp_path / "none")


@pytest.mark.parametrize("change", [{"fps": 25}, {"stride": 8}])
def test_a_pace_that_does_not_fit_the_videos_is_named(tmp_path, change):
    """Every detection would be at a wrong time."""
    arrays, videos = make_folder(tmp_path / "npy"), make_videos(tmp_path / "videos")
    with pytest.raises(
        InputError, match=r"'v0' has 20 snippets in a video of 8\.60 s, but .* \(3 of 3 videos do not fit"
    ):
        import_arrays(arrays, **RATE | change, videos=videos)


def test_a_padded_last_window_fits(tmp_path):
    arrays, videos = make_folder(tmp_path / "npy", (22, 27, 33)), make_videos(tmp_path / "videos")
    manifest, _ = import_arrays(arrays, **RATE, videos=videos)
    assert len(manifest["video_id"]) == 3


def test_a_bad_array_is_named_or_left_out(tmp_path):
    arrays = make_folder(tmp_path / "npy")
    np.save(arrays / "v1.npy", np.zeros(7, np.float32))
    with pytest.raises(InputError, match=r"v1\.npy: float32\[7\]: expected two dimensions"):
        import_arrays(arrays, **RATE)
    manifest, skipped = import_arrays(arrays, **RATE, on_bad_video="skip")
    assert manifest["video_id"].tolist() == ["v0", "v2"]
    assert skipped["video_id"].tolist() == ["v1"] and "expected two dimensions" in skipped["reason"][0]
    assert skipped["path"].tolist() == [str(arrays / "v1.npy")]


def test_arrays_that_lie_across_are_named_not_turned(tmp_path):
    root = tmp_path / "npy"
    for i, T in enumerate((20, 25, 31)):
        save(root / f"v{i}.npy", np.zeros((6, T), np.float32))
    message = r"\[6, 20\] in .*v0.npy and \[6, 31\] in .*v2.npy: only the second number differs.*transposed: true"
    with pytest.raises(InputError, match=message):
        import_arrays(root, **RATE)
    manifest, _ = import_arrays(root, **RATE, transposed=True)
    np.testing.assert_allclose(manifest["duration"], [8.4, 10.4, 12.8])
    with pytest.raises(InputError, match=r"only the first number differs.*leave dataset\.transposed out"):
        import_arrays(make_folder(tmp_path / "right"), **RATE, transposed=True)


def test_arrays_of_different_widths_are_named(tmp_path):
    root = make_folder(tmp_path / "npy")
    np.save(root / "v2.npy", np.zeros((31, 7), np.float32))
    with pytest.raises(InputError, match=r"v2\.npy: features of dimension 7, but 6 in .*v0\.npy"):
        import_arrays(root, **RATE)
    manifest, skipped = import_arrays(root, **RATE, on_bad_video="skip")
    assert manifest["video_id"].tolist() == ["v0", "v1"]
    assert skipped["reason"].tolist() == ["features of dimension 7, but most have 6"]
    np.save(root / "v1.npy", np.zeros((31, 8), np.float32))  # none has most
    with pytest.raises(InputError, match="all videos need features of one extractor"):
        import_arrays(root, **RATE, on_bad_video="skip")


def test_a_truncated_array_is_left_out_where_that_is_asked_for(tmp_path):
    """One copy that broke off among ten thousand must not stop all; if most do not fit, the settings are wrong."""
    arrays, videos = make_folder(tmp_path / "npy"), make_videos(tmp_path / "videos")
    np.save(arrays / "v1.npy", np.load(arrays / "v1.npy")[:9])
    with pytest.raises(InputError, match=r"'v1' has 9 snippets"):
        import_arrays(arrays, **RATE, videos=videos)
    manifest, skipped = import_arrays(arrays, **RATE, videos=videos, on_bad_video="skip")
    assert manifest["video_id"].tolist() == ["v0", "v2"]
    assert skipped["video_id"].tolist() == ["v1"] and skipped["reason"][0].startswith("9 snippets in a video of")
    with pytest.raises(InputError, match="of 3 videos do not fit"):
        import_arrays(arrays, **(RATE | {"stride": 2 * RATE["stride"]}), videos=videos, on_bad_video="skip")
    for stream in ("rgb", "flow"):
        make_folder(tmp_path / "two" / stream)
    np.save(tmp_path / "two/flow/v0.npy", np.load(tmp_path / "two/flow/v0.npy")[:5])
    two = {"streams": ["rgb", "flow"], **RATE}
    with pytest.raises(InputError, match=r"'v0' .*at most one may be missing"):
        import_arrays(tmp_path / "two", **two)
    assert import_arrays(tmp_path / "two", **two, on_bad_video="skip")[0]["video_id"].tolist() == ["v1", "v2"]


def test_streams_may_differ_by_one_snippet(tmp_path):
    """Flow needs a next frame; what is longer is cut when the features are copied."""
    make_folder(tmp_path / "f/rgb")
    make_folder(tmp_path / "f/flow", (19, 25, 31), D=3)
    manifest, unreadable = import_arrays(tmp_path / "f", **RATE, streams=["rgb", "flow"])
    assert manifest["duration"][0] == pytest.approx(18 * 0.4 + 0.8)
    part = tmp_path / "part-0000.parquet"
    extract_part(manifest, 0, part, extractor="arrays", root=tmp_path / "f", **RATE, streams=["rgb", "flow"])
    features = tables.read(part, "features")
    assert features["feature"].shape == (19 + 25 + 31, 9)
    assert json.loads(read_contract(part).made["streams"]) == {"rgb": [6, 1.0], "flow": [3, 1.0]}
    assert np.unique(features["feature"][features["video_id"] == "v1"]).tolist() == [1]
    videos, _ = index(manifest, unreadable, [part])
    assert videos["n_snippets"].tolist() == [19, 25, 31]
    make_folder(tmp_path / "f/flow", (17, 25, 31), D=3)
    with pytest.raises(InputError, match="'v0' in .*: streams of 20 and 17 snippets; at most one may be missing"):
        import_arrays(tmp_path / "f", **RATE, streams=["rgb", "flow"])


def test_copying_names_a_bad_row_or_leaves_the_video_out(tmp_path):
    """NaN is found when the numbers are read, not before; features of videos never come from the cache."""
    root, videos = make_folder(tmp_path / "npy"), make_videos(tmp_path / "videos")
    bad = np.load(root / "v1.npy")
    bad[3, 2] = np.inf
    np.save(root / "v1.npy", bad)
    manifest, unreadable = import_arrays(root, **RATE, videos=videos)
    part, options = tmp_path / "part-0000.parquet", {"extractor": "arrays", "root": root, **RATE}
    with pytest.raises(InputError, match=r"v1: .*v1\.npy: row 3 of float32\[25, 6\]: NaN or infinite"):
        extract_part(manifest, 0, part, **options)
    assert not part.exists()
    extract_part(manifest, 0, part, **options, on_bad_video="skip", cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
    table, skipped = index(manifest, unreadable, [part])
    assert table["video_id"].tolist() == ["v0", "v2"] and skipped["video_id"].tolist() == ["v1"]
    assert read_contract(part).made["extractor"] == "arrays" and read_contract(part).dimension == 6
