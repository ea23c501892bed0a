"""What breaks if this fails: other tools refuse an exported file, or read other detections than were found."""

import csv
import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner

from feel_steps.cli import app
from feel_steps.errors import InputError
from feel_steps.evaluation.activitynet import read_predictions
from feel_steps.explore.export import export
from feel_steps.tables import tables
from tests.synthetic_run import Shape, build

VIDEOS = {
    "video_id": np.array(["b/été & <1>", "a", "silent"], object),
    "path": np.array(["clips/b.mp4", "clips/a.mp4", "clips/silent.mp4"], object),
}
DETECTIONS = {
    "video_id": np.array(["b/été & <1>"] * 3 + ["a"], object),
    "cluster": np.array([0, 0, 12, 0], np.int32),
    "score": np.array([0.9, 1 / 3, 0.8, -0.25]),
    "t_start": np.array([61.0, 0.1 + 0.2, 3599.9996, 1e-7]),
    "t_end": np.array([62.5, 2.0, 3600.5, 0.5]),
}
NAMES = {0: 'jump, "high" & <far>\nagain'}
LABELS = [NAMES[0], NAMES[0], "cluster-12", NAMES[0]]
EMPTY = {name: column[:0] for name, column in DETECTIONS.items()}


def test_activitynet_json_comes_back_exactly(tmp_path):
    """Times and scores survive to the last bit, and ``feel-steps map`` reads the file."""
    export(DETECTIONS, VIDEOS, tmp_path / "out.json", form="activitynet", names=NAMES)
    read = read_predictions(tmp_path / "out.json")
    assert read["label"].tolist() == LABELS
    for name in ("video_id", "score", "t_start", "t_end"):
        assert read[name].tolist() == DETECTIONS[name].tolist()
    assert json.loads((tmp_path / "out.json").read_text())["results"]["silent"] == []


def test_csv_comes_back_exactly(tmp_path):
    export(DETECTIONS, VIDEOS, tmp_path / "out.csv", form="csv", names=NAMES)
    with open(tmp_path / "out.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == LABELS
    assert [row["video_id"] for row in rows] == DETECTIONS["video_id"].tolist()
    for name in ("score", "t_start", "t_end"):
        assert [float(row[name]) for row in rows] == DETECTIONS[name].tolist()


def read_vtt(path):
    """Cues as a player reads them: (start, end, text)."""
    header, *blocks = path.read_text(encoding="utf-8").split("\n\n")
    assert header.strip() == "WEBVTT"
    cues = []
    for block in filter(str.strip, blocks):
        times, *text = block.strip().split("\n")
        assert re.fullmatch(r"\d\d:[0-5]\d:[0-5]\d\.\d{3} --> \d\d:[0-5]\d:[0-5]\d\.\d{3}", times)
        start, end = (sum(float(x) * 60**i for i, x in enumerate(reversed(t.split(":")))) for t in times.split(" --> "))
        cues.append((start, end, *text))
    return cues


def test_subtitles_are_valid_in_order_of_time_and_one_file_a_video(tmp_path):
    """A player stops at a cue of two lines, raw markup or 60 seconds of a minute."""
    export(DETECTIONS, VIDEOS, tmp_path, form="vtt", names=NAMES)
    name = 'jump, "high" &amp; &lt;far&gt; again'
    assert read_vtt(tmp_path / "b/été & <1>.vtt") == [
        (pytest.approx(0.3), 2.0, f"{name} 0.333"), (61.0, 62.5, f"{name} 0.900"), (3600.0, 3600.5, "cluster-12 0.800")
    ]  # fmt: skip
    assert read_vtt(tmp_path / "a.vtt") == [(0.0, 0.5, f"{name} -0.250")]
    assert read_vtt(tmp_path / "silent.vtt") == []


def test_one_subtitle_at_a_time(tmp_path):
    """Players stack overlapping cues over the picture; the strongest stays whole."""
    rows = [(0, 0.5, 0.0, 10.0), (1, 0.9, 8.0, 12.0), (2, 0.4, 9.0, 11.0), (0, -1.0, 20.0, 21.0)]
    cluster, score, start, end = map(np.array, zip(*rows, strict=True))
    found = {"video_id": np.array(["a"] * 4, object), "cluster": cluster, "score": score, "t_start": start}
    export(found | {"t_end": end}, VIDEOS, tmp_path, form="vtt")
    assert read_vtt(tmp_path / "a.vtt") == [
        (0.0, 8.0, "cluster-0 0.500"), (8.0, 12.0, "cluster-1 0.900"), (20.0, 21.0, "cluster-0 -1.000")
    ]  # fmt: skip


def test_a_run_exports_its_moments_and_all_detections_on_request(tmp_path):
    run = build(tmp_path, Shape(train=6, test=2, clusters=2, iterations=2, media=0))
    place = run / "feel/seed-0/iter-2"
    for words, kind in [([], "moments"), (["--all"], "detections"), (["--iteration", "1"], "moments")]:
        done = CliRunner().invoke(app, ["export", str(run), "--form", "csv", "--out", str(tmp_path / "x.csv"), *words])
        assert done.exit_code == 0, done.output
        table = tables.read((run / "feel/seed-0/iter-1" if "--iteration" in words else place) / f"{kind}.parquet", kind)
        rows = (tmp_path / "x.csv").read_text(encoding="utf-8").splitlines()
        assert len(rows) == 1 + len(table["t_start"]) > 1
    with pytest.raises(InputError, match="name the results folder of a run, or --detections and --videos"):
        CliRunner().invoke(app, ["export", "--out", "x"], catch_exceptions=False, standalone_mode=False)


def test_which_of_several_variants_is_taken_is_said(tmp_path):
    """Of a run with --clusters 4,6, somebody who prefers six clusters got the moments of four, without a word."""
    run = build(tmp_path, Shape(train=6, test=2, clusters=2, iterations=1, media=0, variants=("feel-k2", "feel-k3")))
    words = ["export", str(run), "--form", "csv", "--out", str(tmp_path / "x.csv")]
    said = "variant: feel-k2; --variant takes another: feel-k3"
    assert CliRunner().invoke(app, words).stderr == f"{said}\n"
    assert CliRunner().invoke(app, [*words, "--variant", "feel-k3"]).stderr == ""


def test_fiftyone_labels_and_paths(tmp_path):
    export(DETECTIONS, VIDEOS, tmp_path, form="fiftyone")
    labels = json.loads((tmp_path / "labels.json").read_text())["labels"]
    paths = json.loads((tmp_path / "data.json").read_text())
    assert set(labels) == set(paths) == set(VIDEOS["video_id"])
    assert labels["a"] == [{"label": "cluster-0", "timestamps": [1e-7, 0.5], "confidence": -0.25}]
    assert labels["silent"] is None
    assert paths["a"].endswith("clips/a.mp4") and paths["a"].startswith("/")


def test_no_detections_make_a_file_that_says_so(tmp_path):
    """A run that found nothing must not look like a damaged file to the tool that reads it."""
    for form in ("activitynet", "csv", "vtt", "fiftyone"):
        export(EMPTY, VIDEOS, tmp_path / form, form=form)
    nothing = dict.fromkeys(VIDEOS["video_id"])
    assert json.loads((tmp_path / "activitynet").read_text())["results"] == {video_id: [] for video_id in nothing}
    assert (tmp_path / "csv").read_text() == "video_id,label,score,t_start,t_end\n"
    assert [read_vtt(tmp_path / f"vtt/{video_id}.vtt") for video_id in nothing] == [[], [], []]
    assert json.loads((tmp_path / "fiftyone/labels.json").read_text())["labels"] == nothing


def test_the_same_detections_give_the_same_bytes(tmp_path):
    for name in ("one.json", "two.json"):
        export(DETECTIONS, VIDEOS, tmp_path / name, form="activitynet")
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_what_cannot_be_exported_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match="form: 'srt' is unknown; expected activitynet, csv, vtt, fiftyone, elan"):
        export(DETECTIONS, VIDEOS, tmp_path, form="srt")
    one = {name: column[1:] for name, column in VIDEOS.items()}
    with pytest.raises(InputError, match="video 'b/été & <1>' is not in the videos table"):
        export(DETECTIONS, one, tmp_path, form="csv")
    features_only = {**VIDEOS, "path": np.array(["clips/b.mp4", None, None], object)}
    with pytest.raises(InputError, match="video 'a': its file is not known"):
        export(DETECTIONS, features_only, tmp_path, form="fiftyone")
    assert not list(tmp_path.iterdir())


def test_a_folder_in_the_place_of_a_file_is_said(tmp_path):
    with pytest.raises(InputError, match="a folder; --out has to be a file for --form csv"):
        export(DETECTIONS, VIDEOS, tmp_path, form="csv")
