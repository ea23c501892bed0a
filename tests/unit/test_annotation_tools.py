"""What breaks if this fails: what was found cannot be corrected in another tool, or comes back as something else."""

import json

import numpy as np
import pytest

from feel_steps.dataset.annotations import read_annotations
from feel_steps.dataset.labels import read_labels
from feel_steps.errors import InputError
from feel_steps.explore.export import export

IDS = ["b/été & <1>", "a", "silent"]
VIDEOS = {
    "video_id": np.array(IDS, object),
    "path": np.array(["clips/b/été & <1>.mp4", "clips/a.mp4", None], object),
    "duration": np.array([80.0, 10.0, 5.0]),
    "n_frames": np.array([2000, 300, -1]),
    "fps": np.array([12.5, 15.0, 10.0]),  # of the features
}
MOMENTS = {  # times on whole frames and milliseconds
    "video_id": np.array(IDS[:1] * 4 + ["a"], object),
    "cluster": np.array([0, 1, 0, 0, 2], np.int32),
    "score": np.array([0.9, 0.8, 0.7, 0.6, 0.5]),
    "t_start": np.array([0.4, 2.0, 3.0, 4.0, 0.0]),
    "t_end": np.array([2.0, 3.0, 4.0, 61.52, 9.5]),
}
NAMES = {0: 'jump, "high" & <far>', 1: "dépôt"}
FORMS = {"elan": "elan", "boris": "x.boris", "boris-tsv": "x.tsv", "labelstudio": "x.json"}


def rows(table):
    columns = [table[name].tolist() for name in ("video_id", "label", "t_start", "t_end")]
    return sorted(zip(*columns, strict=True))


def read(path):
    manifest = {"video_id": VIDEOS["video_id"], "duration": VIDEOS["duration"]}
    truth, dropped = read_annotations(path, manifest)
    assert not len(dropped["fate"])
    return truth


@pytest.mark.parametrize("form", FORMS)
def test_what_is_exported_comes_back(tmp_path, form):
    """Videos, names, and times to the millisecond, in another order of rows at most."""
    path = tmp_path / FORMS[form]
    export(MOMENTS, VIDEOS, path, form=form, names=NAMES)
    label = [NAMES.get(cluster, f"cluster-{cluster}") for cluster in MOMENTS["cluster"]]
    expected = rows({**MOMENTS, "label": np.array(label, object)})
    found = rows(read(path))
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    assert np.array([row[2:] for row in found]) == pytest.approx(np.array([row[2:] for row in expected]), abs=1e-6)
    again = tmp_path / "again" / FORMS[form]
    export(MOMENTS, VIDEOS, again, form=form, names=NAMES)
    if form != "elan":  # an .eaf names the way to its video
        assert path.read_bytes() == again.read_bytes()


def test_media_have_the_frame_rate_of_their_files(tmp_path):
    """Features may be made from every second frame; the tools step through all."""
    export(MOMENTS, VIDEOS, tmp_path / "x.boris", form="boris", names=NAMES)
    observations = json.loads((tmp_path / "x.boris").read_text())["observations"].values()
    assert [list(one["media_info"]["fps"].values()) for one in observations] == [[25.0], [30.0], []]


@pytest.mark.parametrize("form", FORMS)
def test_nothing_found_is_a_valid_file(tmp_path, form):
    export({name: column[:0] for name, column in MOMENTS.items()}, VIDEOS, tmp_path / FORMS[form], form=form)
    assert len(read(tmp_path / FORMS[form])["label"]) == 0


def test_another_program_reads_the_elan_file(tmp_path):
    pympi = pytest.importorskip("pympi", reason="pympi-ling is not installed (pip install pympi-ling)")
    export(MOMENTS, VIDEOS, tmp_path, form="elan", names=NAMES)
    document = pympi.Eaf(str(tmp_path / "b/été & <1>.eaf"))
    assert sorted(document.get_tier_names()) == sorted(NAMES.values())
    assert document.get_annotation_data_for_tier("dépôt") == [(2000, 3000, "dépôt")]
    assert document.get_annotation_data_for_tier(NAMES[0]) == [
        (t, e, NAMES[0]) for t, e in [(400, 2000), (3000, 4000), (4000, 61520)]
    ]
    assert document.get_linked_files()[0]["MEDIA_URL"].startswith("file:///")


def test_what_pympi_writes_is_read(tmp_path):
    pympi = pytest.importorskip("pympi", reason="pympi-ling is not installed (pip install pympi-ling)")
    document = pympi.Eaf()
    document.add_tier("walking")
    document.add_annotation("walking", 500, 1500, "")
    document.add_annotation("walking", 1500, 2500, "fast")
    document.to_file(str(tmp_path / "a.eaf"))
    assert rows(read(tmp_path / "a.eaf")) == [("a", "fast", 1.5, 2.5), ("a", "walking", 0.5, 1.5)]


def test_observations_are_matched_by_their_media(tmp_path):
    """People call observations as they like; the video is known by its file. Modifiers and points as BORIS has them."""
    behaviours = {"0": {"type": "State event", "code": "groom"}, "1": {"type": "Point event", "code": "sneeze"}}
    events = [[0.5, "rat", "groom", "left", ""], [1.0, "", "groom", "", ""], [2, "rat", "groom", "left", ""]]
    events += [[2.5, "", "groom", "", ""]]
    first = {"file": {"1": ["C:\\data\\clips\\a.mp4"]}, "events": events}
    (tmp_path / "x.boris").write_text(json.dumps({"observations": {"Monday": first}, "behaviors_conf": behaviours}))
    assert rows(read(tmp_path / "x.boris")) == [("a", "groom", 0.5, 2.0), ("a", "groom", 1.0, 2.5)]
    aggregated = "Observation id\tMedia file name\tBehavior\tStart (s)\tStop (s)\nTue\tclips/a.mp4\tgroom\t1\t2\n"
    (tmp_path / "x.tsv").write_text(aggregated)
    assert rows(read(tmp_path / "x.tsv")) == [("a", "groom", 1.0, 2.0)]


def test_corrections_in_label_studio_replace_predictions(tmp_path):
    export(MOMENTS, VIDEOS, tmp_path / "x.json", form="labelstudio", names=NAMES)
    tasks = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))
    value = {"ranges": [{"start": 31, "end": 60}], "timelinelabels": ["nap"]}
    tasks[1]["annotations"] = [{"result": [{"type": "timelinelabels", "value": value}]}]
    tasks[1]["predictions"] = [7]  # some exports have only the numbers of the predictions
    (tmp_path / "y.json").write_text(json.dumps(tasks), encoding="utf-8")
    assert [row for row in rows(read(tmp_path / "y.json")) if row[0] == "a"] == [("a", "nap", 1.0, 2.0)]


def test_regions_without_a_label_are_left_out_and_counted(tmp_path, capsys):
    """Label Studio saves them: a video of many regions must not be lost for one whose label was forgotten."""
    regions = [
        {"type": "timelinelabels", "value": {"ranges": [{"start": 1, "end": 30}]}},
        {"type": "timelinelabels", "value": {"ranges": [{"start": 31, "end": 60}], "timelinelabels": ["nap"]}},
        {"type": "labels", "value": {"start": 4, "end": 5, "labels": []}},
        {"type": "choices", "value": {"choices": ["good"]}},
    ]
    path = tmp_path / "x.json"
    path.write_text(json.dumps([{"data": {"video": "a.mp4", "fps": 30}, "annotations": [{"result": regions}]}]))
    truth, dropped = read_annotations(path, VIDEOS)
    assert rows(truth) == [("a", "nap", 1.0, 2.0)]
    assert dropped["reason"].tolist() == [f"segment from {at} s has no label" for at in ("0 s to 1", "4 s to 5")]
    assert "x.json: 2 segments dropped" in capsys.readouterr().err
    with pytest.raises(InputError, match="result 1: segment from 0 s to 1 s has no label; correct it, or set"):
        read_annotations(path, VIDEOS, strict=True)
    assert read_labels(path, ["a"], 2)["name"].tolist() == ["nap"]
    assert "x.json: left out, because they have no label: 2 regions" in capsys.readouterr().err


def test_overlaps_that_a_tool_cannot_hold_are_refused(tmp_path):
    twice = {**MOMENTS, "t_end": MOMENTS["t_end"] + 0.5}
    for form in ("elan", "boris", "boris-tsv"):
        with pytest.raises(
            InputError, match=r"segments of 'cluster-0' overlap at 4\.00 s, which (ELAN|BORIS) cannot hold"
        ):
            export(twice, VIDEOS, tmp_path / FORMS[form], form=form)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.eaf", "<a>", "x.eaf: not valid XML"),
        ("x.eaf", "<a/>", "root element is a; expected ANNOTATION_DOCUMENT"),
        ("x.eaf", '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "declares a document type"),
        ("x.tsv", "a\tb\n", "no column 'Behavior'"),
        ("x.tsv", "Observation id\tBehavior\tBehavior type\tTime\na\tx\tSTART\t1\n", "row 2: 'x' never stops"),
        (
            "x.tsv",
            "Observation id\tBehavior\tBehavior type\tTime\na\tx\tSTOP\t1\n",
            "row 2: 'x' stops before it starts",
        ),
        ("x.tsv", "Observation id\tBehavior\tBehavior type\tTime\na\tx\tBEGIN\t1\n", "type is 'BEGIN'; expected START"),
        (
            "x.boris",
            '{"observations": {"a": {"events": 1}}}',
            "key 'observations.a.events' is 1; expected a list of events",
        ),
        (
            "x.tsv",
            "Observation id\tTime\tBehavior type\tBehavior\na\t1\tSTART\n",
            "row 2: 3 values; expected 4, with tabs",
        ),
        ("x.tsv", "Observation id\tBehavior\tStart (s)\tStop (s)\na\tx\t1\t2\t3\n", "row 2: 5 values; expected 4"),
        ("x.json", "[1]", r"key '0' is 1; expected a task; export JSON from Label Studio"),
        ("x.json", "[{}]", r"key '0': its key 'data' is missing"),
        ("x.json", "{}", "the key 'database' is missing"),
        ("x.json", '{"results": {}}', r"detections in ActivityNet's form .*export csv"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read(tmp_path / name)


def test_an_empty_folder_is_no_annotation(tmp_path):
    with pytest.raises(InputError, match=r"no \.eaf file in this folder"):
        read(tmp_path)
    (tmp_path / "brace{x}.eaf").touch()
    with pytest.raises(InputError, match=r"brace\{x\}\.eaf: braces in the name"):
        read(tmp_path)
