"""Bad input is refused in one line before any work, and leaves earlier artifacts alone."""

from __future__ import annotations

import json

import numpy as np
import pytest

from .conftest import Workspace, make_cola_folder


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"refine": {"kk1": 20}}, ["unknown key 'refine.kk1'", "did you mean 'k1'?"]),
        ({"itterations": 3}, ["unknown key 'itterations'", "did you mean 'iterations'?"]),
        ({"select": {"alpha": "fast"}}, ["'select.alpha'", "'fast'", "a number above 0, up to 1"]),
        ({"refine": {"lambda": 1.5}}, ["'refine.lambda'", "1.5", "from 0 to 1"]),
        ({"name": "../up"}, ["'name'", "../up", "folder name"]),
        ({"seeds": []}, ["'seeds'", "list of different whole numbers"]),
        ({"evaluate": {"tiou": [0]}}, ["'evaluate.tiou.0'", "above 0"]),
        ({"variants": {"no-cci": {"refine": {"methd": "none"}}}}, ["unknown key", "methd", "did you mean 'method'?"]),
        ({"dataset": {"path": "nowhere"}}, ["'dataset.path'", "there is no 'nowhere'"]),
        ({"dataset": {"path": None}}, ["'dataset.path' is not set", "cola"]),
        ({"device": "gpu"}, ["'device'", "'gpu'", "cuda:N"]),
    ],
)
def test_a_wrong_config_key_is_named_with_its_remedy(workspace, changes, words):
    before = workspace.digests()
    workspace.configure(**changes)
    output = workspace.snakemake("--dry-run", succeeds=False)
    lines = [line for line in output.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and all(word in lines[0] for word in words), output
    assert "Traceback" not in output
    assert workspace.digests() == before


def _no_features(data):
    (data / "features/test/rgb/test_01.npy").unlink()


def _unequal_dimensions(data):
    np.save(data / "features/train/rgb/train_03.npy", np.zeros((18, 5), np.float32))


def _no_snippets(data):
    for stream in ("rgb", "flow"):
        np.save(data / f"features/train/{stream}/train_03.npy", np.zeros((0, 6), np.float32))


def _infinite(data):
    features = np.load(data / "features/train/rgb/train_03.npy")
    features[7, 2] = np.inf
    np.save(data / "features/train/rgb/train_03.npy", features)


def _escaping(data):
    (data / "split_train.txt").write_text("../../etc/train_00\n" + (data / "split_train.txt").read_text())


def _twice(data):
    (data / "split_train.txt").write_text("train_00\n" + (data / "split_train.txt").read_text())


def _unknown_annotated(data):
    truth = json.loads((data / "gt.json").read_text())
    truth["database"]["elsewhere"] = truth["database"]["train_00"]
    (data / "gt.json").write_text(json.dumps(truth))


def _ends_before_it_starts(data):
    truth = json.loads((data / "gt.json").read_text())
    truth["database"]["train_02"]["annotations"][0]["segment"] = ["5.0", "4.0"]
    (data / "gt.json").write_text(json.dumps(truth))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_no_features, ["test_01"]),
        (_unequal_dimensions, ["train_03", "dimension"]),
        (_no_snippets, ["train_03", "snippet"]),
        (_infinite, ["train_03", "snippet 7"]),
        (_escaping, ["split_train.txt", "../../etc/train_00"]),
        (_twice, ["split_train.txt", "train_00"]),
        (_unknown_annotated, ["gt.json", "elsewhere"]),
        (_ends_before_it_starts, ["gt.json", "train_02"]),
    ],
)
def test_damaged_data_is_named_in_one_line(tmp_path, damage, words):
    workspace = Workspace(tmp_path)
    make_cola_folder(tmp_path / "data")
    damage(tmp_path / "data")
    workspace.configure()
    output = workspace.snakemake("--until", "index_videos", "import_annotations", succeeds=False)
    lines = {line for line in output.splitlines() if line.startswith("error: ")}
    assert len(lines) == 1 and all(word in next(iter(lines)) for word in words), output
    assert "Traceback" not in output


def test_more_clusters_than_videos_is_refused_at_once(workspace):
    """Before any training, and the finished run's tables stay."""
    workspace.configure(clusters=13)
    before = workspace.digests()
    output = workspace.snakemake(succeeds=False)
    assert "error: clusters" in output and "12" in output and "Traceback" not in output
    assert workspace.digests() == before
