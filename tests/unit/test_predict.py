"""New videos through a finished run: a tiny one, made of tiny videos by the commands themselves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from feel_steps.cli import app
from feel_steps.dataset.folder import import_videos
from feel_steps.errors import InputError
from feel_steps.explore.names import write_names
from feel_steps.explore.new_videos import run_extractor
from feel_steps.explore.predict import predict, unlike, write
from feel_steps.features.contract import read_contract
from feel_steps.features.extract import extract_part
from feel_steps.tables import tables
from feel_steps.tables.run import find_run
from tests.clips import scene, write_video

ONE = {"device": "cpu", "threads": 1}
VIDEOS = {"a": 0, "b": 1, "c": 2, "d": 3, "e": 4}  # name, seed


def call(command: str, **options: object) -> str:
    words = [command]
    for key, value in options.items():
        words += [f"--{key.replace('_', '-')}", str(value)] if key else []
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one iteration on five videos; they lie beside it."""
    folder = tmp_path_factory.mktemp("tiny")
    for name, seed in VIDEOS.items():
        write_video(folder / f"videos/{name}.mp4", scene(40 + 4 * seed, seed=seed))
    run = folder / "run"
    manifest, part = run / "manifest.parquet", run / "features/part-0000.parquet"
    snippets = {"fps": 25, "window": 8, "stride": 4}
    (folder / "split.csv").write_text("video_id,split\na,train\nb,train\nc,train\nd,train\ne,test\n")
    call("import", layout="videos", path=folder / "videos", split=folder / "split.csv", **snippets,
         out=manifest, out_unreadable=run / "unreadable.parquet")  # fmt: skip
    call("extract", manifest=manifest, part=0, out=part, settings='{"short_side": 48, "grid": 2}', **snippets)
    finish(run)
    return run


@pytest.fixture(scope="module")
def scaled_run(run: Path) -> Path:
    """Another run on the same videos, whose features went through the scale step."""
    scaled = run.with_name("scaled")
    for name in ("manifest", "unreadable"):
        (scaled / "raw").mkdir(parents=True, exist_ok=True)
        shutil.copy(run / f"{name}.parquet", scaled)
    shutil.copy(run / "features/part-0000.parquet", scaled / "raw")
    finish(scaled)
    return scaled


def finish(run: Path) -> None:
    """Make one iteration and all tables of a run whose features are there."""
    place = run / "feel/seed-0/iter-1"
    table = {name: run / f"{name}.parquet" for name in ("manifest", "unreadable", "videos", "skipped", "annotations")}
    step = {
        name: place / f"{name}.parquet"
        for name in ("pooled", "clusters", "centres", "refined", "confidence", "selected", "training", "attention")
        + ("embeddings", "detections", "moments", "metrics", "mapping")
    }
    part, model = run / "features/part-0000.parquet", place / "model.safetensors"
    where = {"videos": table["videos"], "features": part.parent}
    raw = run / "raw" / part.name
    extracted = raw if raw.exists() else part
    call("import-annotations", manifest=table["manifest"], out=table["annotations"])
    CliRunner().invoke(app, [
        "index", str(extracted), "--manifest", str(table["manifest"]), "--unreadable", str(table["unreadable"]),
        "--out", str(table["videos"]), "--out-skipped", str(table["skipped"]),
    ], catch_exceptions=False)  # fmt: skip
    if extracted == raw:
        CliRunner().invoke(app, [
            "scale", str(raw), "--videos", str(table["videos"]), "--out", str(part.parent),
            "--out-scaling", str(run / "scaling.parquet"),
        ], catch_exceptions=False)  # fmt: skip
    call("pool", **where, out=step["pooled"])
    call(
        "cluster", pooled=step["pooled"], clusters=2, seed=0, out_clusters=step["clusters"], out_centres=step["centres"]
    )
    known = {"pooled": step["pooled"], "clusters": step["clusters"]}
    call("refine", **known, centres=step["centres"], k1=2, k2=1, out=step["refined"])
    call("rate", pooled=step["pooled"], refined=step["refined"], clusters=2, runs=5, out=step["confidence"])
    call("select", refined=step["refined"], rate=1.0, out=step["selected"])
    call("train", **where, selected=step["selected"], clusters=2, steps=20, batch=2, length=6, device="cpu", threads=1,
         settings='{"hidden": 8}', out=model, out_training=step["training"])  # fmt: skip
    call("attend", **where, model=model, length=6, device="cpu", threads=1,
         out=step["attention"], out_embeddings=step["embeddings"])  # fmt: skip
    seen = {name: step[name] for name in ("attention", "embeddings", "confidence")}
    call("localize", videos=table["videos"], **seen, class_threshold=0.0, nms=0.9, moments='{"shortest": 0.1}',
         out=step["detections"], out_moments=step["moments"])  # fmt: skip
    results = {name: step[name] for name in ("refined", "selected", "detections")}
    call("evaluate", videos=table["videos"], annotations=table["annotations"], **known, **results,
         out=step["metrics"], out_mapping=step["mapping"])  # fmt: skip
    shutil.copy(step["metrics"], run / "metrics.parquet")


@pytest.mark.parametrize("kind", ["run", "scaled_run"])
def test_videos_of_the_run_get_its_own_detections(kind: str, request: pytest.FixtureRequest) -> None:
    """Otherwise predictions would not mean what the report says of the run; videos longer than T, of both splits.

    Features of new videos are scaled as the run's were.
    """
    run = request.getfixturevalue(kind)
    assert (run / "scaling.parquet").exists() == (kind == "scaled_run")
    place, shown = find_run(run).choose()
    assert shown
    files = [run.parent / f"videos/{name}.mp4" for name in ("e", "b")]
    found = predict(run, files, place, device="cpu", threads=1)
    for kind in ("attention", "embeddings", "detections"):
        table, new = tables.read(place / f"{kind}.parquet", kind), getattr(found, kind)
        for video_id in ("e", "b"):
            own, other = table["video_id"] == video_id, new["video_id"] == video_id
            assert own.sum() == other.sum() > 0
            for name in table.keys() - {"video_id"}:
                np.testing.assert_allclose(new[name][other], table[name][own], rtol=1e-5, atol=1e-6)
    assert not found.unlike[1]  # b was trained on


def test_a_folder_stands_for_its_videos(run: Path, tmp_path: Path) -> None:
    """A person has a hundred new videos in folders, one a day, that cameras call the same; ids are those of a run."""
    for name, seed in (("day 1/tea.mp4", 1), ("day 2/tea.mp4", 2), ("day 2/tea.avi", 3)):
        write_video(tmp_path / "new" / name, scene(40, seed=seed))
    found = predict(
        run, [tmp_path / "new", run.parent / "videos/a.mp4"], find_run(run).choose()[0], device="cpu", threads=1
    )
    assert found.videos["video_id"].tolist() == ["day 1/tea", "day 2/tea.avi", "day 2/tea.mp4", "a"]
    assert not found.failed
    write(found, tmp_path / "out", run="run", names={})
    assert (tmp_path / "out/predicted.html").is_file()


def test_a_run_on_parts_predicts_part_by_part(run: Path, tmp_path: Path) -> None:
    """Otherwise a new video is seen whole by a localizer that never saw more than a part."""
    copy = shutil.copytree(run, tmp_path / "run")
    place, parts = copy / "feel/seed-0/iter-1", copy / "feel/parts.parquet"
    where = {"videos": copy / "videos.parquet", "features": copy / "features"}
    learnt = copy / "feel/description.safetensors"
    call("cut", **where, shortest=0.6, longest=2, penalty=0.3, out=parts, out_description=learnt)
    assert len(tables.read(parts, "parts")["part"]) > len(tables.read(where["videos"], "videos")["video_id"])
    seen = {"out": place / "attention.parquet", "out_embeddings": place / "embeddings.parquet"}
    call("attend", **where, parts=parts, model=place / "model.safetensors", length=6, device="cpu", threads=1, **seen)
    found = predict(copy, [run.parent / "videos/e.mp4"], place, device="cpu", threads=1)
    for kind in ("attention", "embeddings"):
        table, new = tables.read(place / f"{kind}.parquet", kind), getattr(found, kind)
        own = table["video_id"] == "e"
        for name in table.keys() - {"video_id"}:
            np.testing.assert_allclose(new[name], table[name][own], rtol=1e-5, atol=1e-6)
    assert found.parts is not None
    borders = tables.read(parts, "parts")
    assert found.parts["t_end"].tolist() == borders["t_end"][borders["video_id"] == "e"].tolist()
    learnt.unlink()
    with pytest.raises(InputError, match=r"description\.safetensors: no such file; .* run snakemake again"):
        predict(copy, [run.parent / "videos/e.mp4"], place)


@pytest.mark.parametrize("family", ["motion", "network"])
def test_arrays_of_the_run_are_cut_as_it_cut_them(
    family: str, arrays_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the run's features: what was learnt from them is enough, so a new video does not wait for all of them."""
    monkeypatch.setattr("feel_steps.pool.tell_family", lambda _: family)
    copy = shutil.copytree(arrays_run, tmp_path / "run")
    place, parts = copy / "feel/seed-0/iter-1", copy / "feel/parts.parquet"
    where = {"videos": copy / "videos.parquet", "features": copy / "features"}
    call(
        "cut",
        **where,
        shortest=0.3,
        longest=2,
        penalty=0.3,
        out=parts,
        out_description=parts.with_name("description.safetensors"),
    )
    seen = {"out": place / "attention.parquet", "out_embeddings": place / "embeddings.parquet"}
    call("attend", **where, parts=parts, model=place / "model.safetensors", length=6, device="cpu", threads=1, **seen)
    table = tables.read(parts, "parts")
    for video_id in ("v0", "v5"):
        new = tmp_path / video_id
        for stream in "ab":
            (new / stream).mkdir(parents=True)
            shutil.copy(arrays_run.parent / f"npy/{stream}/{video_id}.npy", new / stream)
        found = predict(copy, [], place, features=[new], device="cpu", threads=1)
        own = table["video_id"] == video_id
        assert found.parts is not None and own.sum() > 1
        assert found.parts["first"].tolist() == table["first"][own].tolist()


def test_the_command_writes_every_form(run: Path, tmp_path: Path) -> None:
    """Names reach every form; a clip of noise is said to be unlike; subtitles do not lie over each other."""
    noise = np.random.default_rng(0).integers(0, 255, (40, 64, 96, 3), np.uint8)
    write_video(tmp_path / "noise.mp4", list(noise))
    own = Path(shutil.copytree(run, tmp_path / "named"))
    place, _ = find_run(own).choose()
    write_names(own / "clusters.yaml", {0: "up & down", 1: "swing"}, place)
    with pytest.warns(UserWarning, match="noise: looks unlike"):
        done = CliRunner().invoke(
            app,
            ["predict", str(own), str(tmp_path / "noise.mp4"), str(run.parent / "videos/a.mp4"), "--device", "cpu"]
            + ["--out", str(tmp_path / "out")],
            catch_exceptions=False,
        )
    assert "noise: " in done.output and "predicted.html" in done.output
    results = json.loads((tmp_path / "out/detections.json").read_text())["results"]
    assert results["a"] and {row["label"] for row in results["a"]} <= {"up & down", "swing"}
    assert len((tmp_path / "out/detections.csv").read_text().splitlines()) == 1 + sum(map(len, results.values()))
    moments = json.loads((tmp_path / "out/moments.json").read_text())["results"]
    assert 0 < len(moments["a"]) < len(results["a"]) and all(0 <= row["score"] <= 1 for row in moments["a"])
    assert len((tmp_path / "out/moments.csv").read_text().splitlines()) == 1 + sum(map(len, moments.values()))
    times = sorted(row["segment"] for row in moments["a"])
    assert all(one[1] <= two[0] for one, two in zip(times[:-1], times[1:], strict=True))
    assert len((tmp_path / "out/a.vtt").read_text().split("-->")) - 1 == len(moments["a"])
    page = (tmp_path / "out/predicted.html").read_text(encoding="utf-8")
    assert '"note":"unlike all training videos"' in page and page.count('"note":""') == 1
    assert '"names":["up \\u0026 down","swing"]' in page


def test_what_cannot_be_predicted_is_said(run: Path, tmp_path: Path) -> None:
    place, _ = find_run(run).choose()
    (tmp_path / "a.mp4").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"a\.mp4: .*; fix it or leave it out"):
        predict(run, [tmp_path / "a.mp4"], place)
    short = write_video(tmp_path / "short.mp4", scene(4))
    with pytest.raises(InputError, match=r"short\.mp4: 0\.16 s long; the run looks at 0\.32 s at a time"):
        predict(run, [short], place)
    with pytest.raises(InputError, match=r"a\.mp4: called 'a' as .*a\.mp4 is; rename one"):
        predict(run, [tmp_path / "a.mp4", run.parent / "videos/a.mp4"], place)
    with pytest.raises(InputError, match="grid is 3, but the run's features were made with 2"):
        predict(run, [run.parent / "videos/a.mp4"], place, settings={"grid": 3})
    for wrong, message in [
        ({"variant": "x"}, "no variant 'x'; there are feel"),
        ({"seed": 5}, "no seed 5 of 'feel'; it has 0"),
        ({"iteration": 2}, "no iteration 2 of 'feel', seed 0; it has 1 to 1"),
    ]:
        with pytest.raises(InputError, match=message):
            find_run(run).choose(**wrong)


def test_a_broken_file_among_others_costs_only_itself(run: Path, tmp_path: Path) -> None:
    """A night's predictions must not be lost for one bad recording, nor may it pass for a success."""
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    short, good = write_video(tmp_path / "short.mp4", scene(4)), run.parent / "videos/a.mp4"
    files = [str(file) for file in (tmp_path / "broken.mp4", good, short)]
    done = CliRunner().invoke(app, ["predict", str(run), *files, "--device", "cpu", "--out", str(tmp_path / "out")])
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.exit_code == 1 and len(errors) == 2
    assert "broken.mp4" in errors[0] and "short.mp4: 0.16 s long" in errors[1]
    assert json.loads((tmp_path / "out/detections.json").read_text())["results"].keys() == {"a"}
    with pytest.raises(InputError, match=r"none of the 2 can be used: .*broken\.mp4: .*; .*short\.mp4: "):
        predict(run, [tmp_path / "broken.mp4", short], find_run(run).choose()[0])


def test_the_extractor_is_the_one_of_the_run(tmp_path: Path) -> None:
    """All that decides on features is written with them: nobody has to say again what the run knows."""
    for name in VIDEOS:
        write_video(tmp_path / f"videos/{name}.mp4", scene(40))
    manifest, _ = import_videos(tmp_path / "videos")
    settings = {"short_side": 48, "grid": 2, "bins": 4, "dimension": 20}
    extract_part(manifest, 0, tmp_path / "part.parquet", fps=25, window=8, stride=4, **settings)
    engine = run_extractor(read_contract(tmp_path / "part.parquet"), {}, "cpu", 1)
    assert engine.settings == {**settings, "flow": "dis"} and engine.window == 8


def test_an_unlike_video_is_beyond_what_training_videos_are_from_each_other() -> None:
    """Duplicates and the video itself do not count as neighbours of a training video."""
    training = np.array([[0, 0], [1, 0], [3, 0]], np.float32)  # nearest neighbours at 1, 1 and 2
    new = np.array([[5, 0], [5.1, 0], [0, -2], [1, 2.1]], np.float32)
    assert unlike(new, training).tolist() == [False, True, False, True]
    assert not unlike(new, training[:1]).any()  # one video does not tell how far others may be


def make_arrays(folder: Path, lengths: dict[str, int], seed: int = 0, dimension: int = 5) -> Path:
    """Arrays of two classes in turn; the middle third of each is action, along an axis of its class."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for i, (name, T) in enumerate(lengths.items()):
        features = rng.normal(scale=0.2, size=(T, dimension)).astype(np.float32)
        features[T // 3 : 2 * T // 3, i % 2] += 2
        np.save(folder / f"{name}.npy", features)
    return folder


@pytest.fixture(scope="module")
def arrays_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one iteration on arrays of two streams, which lie beside it."""
    folder = tmp_path_factory.mktemp("arrays")
    for stream, seed in (("a", 0), ("b", 1)):
        make_arrays(folder / f"npy/{stream}", {f"v{i}": 20 + i for i in range(6)}, seed)
    run = folder / "run"
    snippets = {"fps": 10, "window": 1, "stride": 1}
    settings = '{"streams": ["a", "b"], "key": null, "transposed": false}'
    table = {name: run / f"{name}.parquet" for name in ("manifest", "unreadable")}
    call("import", layout="features", path=folder / "npy", streams="a,b", **snippets, out=table["manifest"],
         out_unreadable=table["unreadable"])  # fmt: skip
    call("extract", manifest=table["manifest"], part=0, extractor="arrays", root=folder / "npy", settings=settings,
         out=run / "features/part-0000.parquet", **snippets)  # fmt: skip
    finish(run)
    return run


def test_new_arrays_of_two_streams_are_a_folder(arrays_run: Path, tmp_path: Path) -> None:
    """The run's own arrays get the run's own detections."""
    place, _ = find_run(arrays_run).choose()
    found = predict(arrays_run, [], place, features=[arrays_run.parent / "npy"], device="cpu", threads=1)
    table = tables.read(place / "detections.parquet", "detections")
    assert len(table["score"]) and found.detections["video_id"].tolist() == table["video_id"].tolist()
    for name in table.keys() - {"video_id"}:
        np.testing.assert_allclose(found.detections[name], table[name], rtol=1e-5, atol=1e-6)
    assert found.videos["path"].tolist() == [None] * 6 and not found.unlike.any()
    with pytest.raises(InputError, match="v0.npy: the run joins the streams a, b; name a folder that holds a/ and b/"):
        predict(arrays_run, [], place, features=[arrays_run.parent / "npy/a/v0.npy"])


def test_arrays_that_are_not_of_the_run_are_named(arrays_run: Path, run: Path, tmp_path: Path) -> None:
    place, _ = find_run(arrays_run).choose()
    own = [arrays_run.parent / "npy"]
    with pytest.raises(
        InputError, match=r"others made its features; give those of the new videos, --features NEW\.npy"
    ):
        predict(arrays_run, [run.parent / "videos/a.mp4"], place)
    for stream in "ab":
        make_arrays(tmp_path / f"wide/{stream}", {"w": 20}, dimension=6)
    with pytest.raises(InputError, match=r"w\.npy: features of dimension 12, but the run's have 10; give features of"):
        predict(arrays_run, [], place, features=[tmp_path / "wide"])
    with pytest.raises(InputError, match=r"a\.mp4: no array is called 'a'; there is 'v0'"):
        predict(arrays_run, [run.parent / "videos/a.mp4"], place, features=own)
    clip = write_video(tmp_path / "v0.mp4", scene(60), fps=10)
    (line,) = predict(arrays_run, [clip], place, features=own, device="cpu", threads=1).failed
    assert "v0.npy: 20 snippets, but 60 fit in the 6.00 s of" in line and "v0.mp4; the run has fps 10" in line
    with pytest.raises(InputError, match=r"the id 'v0' is taken by .*v0\.npy; rename one"):
        predict(arrays_run, [], place, features=[*own, *own])
    with pytest.raises(InputError, match=r"the run extracted its features itself, by 'descriptors'; name videos"):
        predict(run, [], find_run(run).choose()[0], features=own)
    with pytest.raises(InputError, match="no video is given"):
        predict(run, [], find_run(run).choose()[0])
    with pytest.raises(InputError, match=r"none of the 2 .*gone\.mp4: no such file; .*v\.avi: no such file"):
        predict(run, [tmp_path / "gone.mp4", tmp_path / "v.avi"], find_run(run).choose()[0])
    twice = predict(run, [run.parent / "videos/a.mp4", run.parent / "videos"], find_run(run).choose()[0], **ONE)
    assert sorted(twice.videos["video_id"]) == sorted(VIDEOS)  # a file that is named again is passed over
    clips = [write_video(tmp_path / place / "v0.mp4", scene(60), fps=10) for place in ("x", "y")]
    with pytest.raises(InputError, match=r"called 'v0' as .*v0\.mp4 is; rename one"):
        predict(arrays_run, clips, place, features=own)
    with pytest.raises(InputError, match=r"a: no video in this folder; expected files such as clip\.mp4"):
        predict(run, [tmp_path / "wide/a"], find_run(run).choose()[0])
