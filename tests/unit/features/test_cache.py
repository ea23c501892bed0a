"""The cache: if these fail, a video is extracted twice for nothing, or a run gets features of something else."""

import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from feel_steps.cli import app
from feel_steps.dataset.folder import import_videos
from feel_steps.errors import InputError
from feel_steps.features import extract
from feel_steps.features.cache import FeatureCache, program
from feel_steps.features.descriptors import Descriptors
from feel_steps.features.extract import extract_part
from feel_steps.tables import source, tables
from tests.clips import scene, write_video

RATE = {"fps": 15, "window": 8, "stride": 4}


@pytest.fixture
def videos(tmp_path):
    for i in range(10):
        write_video(tmp_path / f"videos/{i}.mp4", scene(12 + 3 * i, seed=i), fps=15)
    return tmp_path / "videos"


@pytest.fixture
def extracted(monkeypatch):
    """Which videos were really looked at."""
    seen = []
    really = Descriptors.extract

    def extract(self, video, advance):
        seen.append(video.video_id)
        return really(self, video, advance)

    monkeypatch.setattr(Descriptors, "extract", extract)
    return seen


def run(videos, out, parts=3, **settings):
    """Extract a folder as the workflow does, whose videos are spread over parts by their durations."""
    manifest, _ = import_videos(videos, parts=parts)
    for part in range(parts):
        extract_part(manifest, part, out / f"{part}.parquet", cache=out.parent / "cache", **RATE, **settings)
    read = [tables.read(out / f"{part}.parquet", "features") for part in range(parts)]
    ids = np.concatenate([table["video_id"] for table in read])
    features = np.concatenate([table["feature"] for table in read])
    return {video_id: features[ids == video_id] for video_id in ids}


def test_add_rename_remove(tmp_path, videos, extracted):
    """Of a folder of ten, only what is new is extracted, though the parts are dealt anew."""
    first = run(videos, tmp_path / "first")
    assert sorted(extracted) == [str(i) for i in range(10)]
    extracted.clear()
    write_video(videos / "new.mp4", scene(70, seed=99), fps=15)
    run(videos, tmp_path / "added")
    assert extracted == ["new"]
    extracted.clear()
    (videos / "sub").mkdir()
    (videos / "3.mp4").rename(videos / "sub/other name.mp4")
    renamed = run(videos, tmp_path / "renamed")
    assert extracted == []
    assert np.array_equal(renamed["sub/other name"], first["3"])
    (videos / "5.mp4").unlink()
    removed = run(videos, tmp_path / "removed", parts=2)
    assert extracted == []
    assert len(removed) == 10


def test_other_settings_are_other_features(tmp_path, videos, extracted, monkeypatch):
    whole = run(videos, tmp_path / "a", parts=1, grid=2, bins=2)
    projected = run(videos, tmp_path / "b", parts=1, grid=2, bins=2, dimension=9)
    assert len(extracted) == 20
    assert (whole["1"].shape[1], projected["1"].shape[1]) == (28, 9)
    monkeypatch.setattr(extract, "program", lambda file: "an edited program")
    run(videos, tmp_path / "c", parts=1, grid=2, bins=2)
    assert len(extracted) == 30


@pytest.fixture
def edited(tmp_path, monkeypatch):
    """Whether an edit to a module changes the key of an extractor's features."""
    package = shutil.copytree(source.PACKAGE, tmp_path / "feel_steps", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(source, "PACKAGE", package)

    def changes(extractor, file):
        before = program(package / "features" / extractor)
        with open(package / "features" / file, "a") as module:
            module.write("\n# edited\n")
        source._imported_by.cache_clear()
        return program(package / "features" / extractor) != before

    yield changes
    source._imported_by.cache_clear()


def test_an_edit_extracts_again_only_what_it_can_change(edited):
    """A comment in another extractor would cost days of extraction."""
    assert edited("descriptors.py", "descriptors.py") and edited("descriptors.py", "flow.py")
    assert edited("frames.py", "ahead.py") and edited("streams.py", "frames.py")
    assert not any(edited("descriptors.py", file) for file in ("i3d.py", "checks.py", "contract.py", "cache.py"))


class OfDevice:
    """An extractor whose numbers differ a little from one device to another, as a network's do."""

    view_family = "network"

    def __init__(self, *, fps, window, stride, device="auto"):
        self.number, self.rate, self.settings = {"cpu": 1.0, "cuda:0": 1.001}[device], (fps, window, stride), {}

    def extract(self, video, advance):
        fps, window, stride = self.rate
        return np.full(((round(video.duration * fps) - window) // stride + 1, 2), self.number, np.float32)


def test_features_of_another_device_are_other_features(tmp_path, videos):
    """Otherwise a run's bytes depend on what was extracted on the machine before."""
    name = f"{__name__}:OfDevice"
    for device, number in (("cpu", 1.0), ("cuda:0", np.float32(1.001)), ("cpu", 1.0)):
        found = run(videos, tmp_path / "out", parts=1, extractor=name, device=device)
        assert (found["1"] == number).all()


def test_the_cache_leaves_no_trace(tmp_path, videos):
    """With it, without it, filled or empty: the same bytes."""
    manifest, _ = import_videos(videos)
    for name, cache in (("without", None), ("empty", tmp_path / "cache"), ("filled", tmp_path / "cache")):
        extract_part(manifest, 0, tmp_path / name, cache=cache, **RATE)
    assert (tmp_path / "without").read_bytes() == (tmp_path / "empty").read_bytes()
    assert (tmp_path / "without").read_bytes() == (tmp_path / "filled").read_bytes()
    assert list((tmp_path / "cache").rglob("*.tmp")) == []
    assert len(list((tmp_path / "cache").rglob("*.parquet"))) == 10


def cut(data):
    data[:] = data[: len(data) // 2]


def flip(data):
    data[len(data) // 3] ^= 1


def empty(data):
    data.clear()


@pytest.mark.parametrize("damage", [cut, flip, empty])
def test_damaged_entries_are_written_again(tmp_path, damage):
    """A full disk or a bad one must not end up in a run's results."""
    kept = FeatureCache(tmp_path / "cache", {"fps": "15"})
    (tmp_path / "a.mp4").write_bytes(b"video")
    place = kept.place(tmp_path / "a.mp4")
    features = np.random.default_rng(0).random((5, 40)).astype(np.float32)
    assert kept.get(place) is None
    kept.put(place, features)
    assert np.array_equal(kept.get(place), features)
    data = bytearray(place.read_bytes())
    damage(data)
    place.write_bytes(data)
    assert kept.get(place) is None
    kept.put(place, features)
    assert np.array_equal(kept.get(place), features)


def test_bad_videos_are_not_kept(tmp_path, videos):
    (videos / "4.mp4").write_bytes((videos / "4.mp4").read_bytes().replace(b"mdat", b"free"))
    manifest, _ = import_videos(videos)
    (videos / "2.mp4").unlink()  # between import and extraction
    extract_part(manifest, 0, tmp_path / "out", cache=tmp_path / "cache", on_bad_video="skip", **RATE)
    skipped = json.loads(tables.read_metadata(tmp_path / "out")["skipped"])
    assert skipped["2"] == "cannot be read (No such file or directory)"
    assert len(list((tmp_path / "cache").rglob("*.parquet"))) == 10 - len(skipped)


def test_fewer_snippets_than_the_duration_promises(tmp_path, videos, monkeypatch):
    """The contract holds for every file that is written: a video that gives too little is a bad one."""
    manifest, _ = import_videos(videos)
    really = Descriptors.extract
    monkeypatch.setattr(Descriptors, "extract", lambda *of: really(*of)[: 3 if of[1].video_id == "9" else None])
    kept = {"cache": tmp_path / "cache"}
    with pytest.raises(InputError, match=r"9\.mp4: damaged: 3 of the 8 snippets that fit in 2\.60 s"):
        extract_part(manifest, 0, tmp_path / "out", **RATE, **kept)
    extract_part(manifest, 0, tmp_path / "out", on_bad_video="skip", **RATE, **kept)
    metadata = tables.read_metadata(tmp_path / "out")
    assert int(metadata["snippets"]) == len(tables.read(tmp_path / "out", "features")["snippet"])
    assert float(metadata["seconds"]) == pytest.approx(sum(manifest["duration"][:-1]), abs=1e-3)
    monkeypatch.undo()  # a disk that failed but once
    extract_part(manifest, 0, tmp_path / "out", **RATE, **kept)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gird": 3}, "extractor 'descriptors': it has no setting 'gird'; did you mean 'grid'?"),
        ({"weights": 3}, "it has no setting 'weights'; there are short_side, flow, grid, bins, dimension"),
        ({"flow": "farneback"}, "features.descriptors.flow: 'farneback'; expected one of dis, tvl1"),
        ({"grid": "4"}, "extractor 'descriptors': a setting of {'grid': '4'} is of the wrong type"),
    ],
)
def test_settings_that_an_extractor_does_not_have(tmp_path, videos, settings, message):
    manifest, _ = import_videos(videos)
    with pytest.raises(InputError) as error:
        extract_part(manifest, 0, tmp_path / "out", **RATE, **settings)
    assert message in str(error.value)


def test_an_extractor_gets_what_it_takes():
    """CoLA's folders have no device, descriptors no root."""
    given = {**RATE, "root": "x", "device": "cpu", "threads": 1}
    assert extract.build("cola", given, {}).root == "x"
    assert extract.build("descriptors", given, {"grid": 2}).grid == 2


def test_the_commands(tmp_path, videos):
    """As the workflow calls them; a video shorter than a window is named at import, before any work."""

    def call(*words):
        return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=True)

    imported = ["import", "--layout", "videos", "--path", videos, "--out", tmp_path / "m", "--out-unreadable"]
    short = call(*imported, tmp_path / "u", "--fps", 15, "--window", 13)
    assert "0.mp4: 0.80 s long, but one window of frames takes 0.83 s" in str(short.exception)
    assert call(*imported, tmp_path / "u", "--fps", 15, "--window", 12).exit_code == 0
    settings = json.dumps({"grid": 2, "bins": 4, "dimension": None})
    rate = [word for key, value in RATE.items() for word in (f"--{key}", value)]
    done = call(
        *("extract", "--manifest", tmp_path / "m", "--part", 0, "--out", tmp_path / "out.parquet", *rate),
        *("--settings", settings, "--cache", tmp_path / "cache", "--device", "cpu", "--threads", 1),
    )
    assert done.exit_code == 0, done.exception
    assert tables.read_metadata(tmp_path / "out.parquet")["grid"] == "2"
    assert "grid              2" in call("inspect", tmp_path / "out.parquet").stdout
