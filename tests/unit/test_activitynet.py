"""What breaks if this fails: a file that others' tools wrote is refused, or one that says nothing sensible is taken."""

import json
import os

import numpy as np
import pytest

from feel_steps.dataset.annotations import read_annotations
from feel_steps.errors import InputError
from feel_steps.evaluation.activitynet import map_files

TRUTH = {"database": {"v": {"subset": "test", "annotations": [{"label": "a", "segment": ["0", "10"]}]}}}
GOOD = {"label": "a", "score": 0.5, "segment": [0, 10]}


def files(tmp_path, predictions, truth=TRUTH):
    paths = tmp_path / "pred.json", tmp_path / "gt.json"
    for path, content in zip(paths, (predictions, truth), strict=True):
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return paths


def test_files_give_the_documented_keys(tmp_path):
    result = map_files(*files(tmp_path, {"results": {"v": [GOOD]}}), tiou=[0.5, 0.9])
    assert result == {
        "tiou": [0.5, 0.9], "mAP": [1.0, 1.0], "average": 1.0, "per_class": {"a": [1.0, 1.0]}, "ignored": 0
    }  # fmt: skip


def test_an_empty_prediction_file_gives_zero(tmp_path):
    assert map_files(*files(tmp_path, {"results": {}}), tiou=[0.5])["mAP"] == [0.0]
    assert map_files(*files(tmp_path, {"results": {"v": []}}), tiou=[0.5])["mAP"] == [0.0]


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        ("{", "pred.json, line 1, column 2: not valid JSON"),
        ({}, "pred.json: key 'results' is missing"),
        ({"results": {"v": [{"label": "a", "segment": [0, 1]}]}}, r"results.v\[0\]: 'score' is missing"),
        ({"results": {"v": [{"score": 1, "segment": [0, 1]}]}}, r"results.v\[0\]: 'label' is missing"),
        ({"results": {"v": [GOOD, {"label": "a", "score": 1}]}}, r"results.v\[1\]: 'segment' is missing"),
        ({"results": {"v": [{**GOOD, "score": float("nan")}]}}, "not finite"),
        ({"results": {"v": [{**GOOD, "score": None}]}}, "not a number"),
        ({"results": {"v": [GOOD, {**GOOD, "score": [0.5]}]}}, r"results.v\[1\]: .* is not a number"),
        ({"results": {"v": [{**GOOD, "score": 10**400}]}}, "not a number"),
        ({"results": {"v": [GOOD, {**GOOD, "segment": [0, "late"]}]}}, r"results.v\[1\]: 'late' is not a number"),
        ({"results": {"v": ["run"]}}, r"results.v\[0\]: 'segment' is missing"),
        ({"results": {"v": [{**GOOD, "segment": [2, 1]}]}}, "ends before it starts"),
        ({"results": {"v": [{**GOOD, "segment": [1]}]}}, r"expected \[start, end\]"),
        ({"results": {"v": GOOD}}, r"results.v: .* is not a list"),
    ],
)
def test_bad_prediction_files_are_refused_by_name(tmp_path, predictions, message):
    with pytest.raises(InputError, match=message) as caught:
        map_files(*files(tmp_path, predictions))
    assert "\n" not in str(caught.value)


def test_an_unknown_subset_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(InputError, match="gt.json: no video of subset 'training'; there are: test"):
        map_files(*files(tmp_path, {"results": {}}), subset="training")
    empty = {"database": {"v": {"subset": "test", "annotations": []}}}
    with pytest.raises(InputError, match="gt.json: no segment in subset 'test'"):
        map_files(*files(tmp_path, {"results": {}}, empty))


@pytest.mark.parametrize("name", ["v.mp4", "v_v", "v_v.MKV"])
def test_ids_that_differ_by_a_suffix_or_prefix_are_matched_with_a_note(tmp_path, capsys, name):
    """They gave a mAP of 0 without a word."""
    assert map_files(*files(tmp_path, {"results": {name: [GOOD]}}), tiou=[0.5])["mAP"] == [1.0]
    assert (
        f"1 ids differ from those of {tmp_path}/gt.json by a suffix or the prefix v_ ('{name}'"
        in capsys.readouterr().err
    )


def test_predictions_of_other_videos_are_no_silent_zero(tmp_path, capsys):
    assert map_files(*files(tmp_path, {"results": {"other": [GOOD]}}), tiou=[0.5])["mAP"] == [0.0]
    assert "none of its 1 videos is in" in capsys.readouterr().err


def test_a_byte_order_mark_changes_nothing(tmp_path):
    """Some editors write one; what import-annotations takes, map takes."""
    predictions, truth = files(tmp_path, {"results": {"v": [GOOD]}})
    expected = map_files(predictions, truth)
    for path in (predictions, truth):
        path.write_text(path.read_text("utf-8"), "utf-8-sig")
    assert truth.read_bytes().startswith(b"\xef\xbb\xbf")
    assert map_files(predictions, truth) == expected
    manifest = {"video_id": np.array(["v"], object), "duration": np.array([10.0])}
    assert read_annotations(truth, manifest)[0]["label"].tolist() == ["a"]


def test_a_pipe_is_read(tmp_path):
    """As a shell makes one of ``<(zcat gt.json.gz)``."""
    predictions, truth = files(tmp_path, {"results": {"v": [GOOD]}})
    reading, writing = os.pipe()
    os.write(writing, truth.read_bytes())
    os.close(writing)
    try:
        assert map_files(predictions, f"/dev/fd/{reading}", tiou=[0.5])["mAP"] == [1.0]
    finally:
        os.close(reading)


@pytest.mark.parametrize("name", ["pred.json", "gt.json"])
def test_files_that_cannot_be_read(tmp_path, name):
    paths = files(tmp_path, {"results": {}})
    (tmp_path / name).write_bytes(b'{"database": {"caf\xe9": {}}}')
    with pytest.raises(InputError, match=f"{name}: not UTF-8 text; save it as UTF-8"):
        map_files(*paths)
    (tmp_path / name).unlink()
    with pytest.raises(InputError, match=f"{name}: no such file; check the path"):
        map_files(*paths)
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=f"{name}: cannot be read .Is a directory.; check the path"):
        map_files(*paths)
