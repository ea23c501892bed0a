"""Bad input is refused in one line before any work, and leaves earlier artifacts alone."""

from __future__ import annotations

import json

import numpy as np
import pytest

from .conftest import Workspace, make_cola_folder


def test_a_wrong_config_key_is_named_with_its_remedy_and_nothing_is_touched(workspace):
    """tests/test_config.py has the other keys."""
    before = workspace.digests()
    workspace.configure(refine={"kk1": 20})
    output = workspace.snakemake("--dry-run", succeeds=False)
    lines = [line for line in output.splitlines() if line.startswith("error: ")]
    assert lines == ["error: config: unknown key 'refine.kk1'; did you mean 'k1'?"]
    assert "Traceback" not in output
    assert workspace.digests() == before


def _no_features(data):
    (data / "features/test/rgb/test_01.npy").unlink()


def _infinite(data):
    features = np.load(data / "features/train/rgb/train_03.npy")
    features[7, 2] = np.inf
    np.save(data / "features/train/rgb/train_03.npy", features)


def _unknown_annotated(data):
    truth = json.loads((data / "gt.json").read_text())
    truth["database"]["elsewhere"] = truth["database"]["train_00"]
    (data / "gt.json").write_text(json.dumps(truth))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_no_features, ["test_01"]),
        (_infinite, ["train_03", "snippet 7"]),
        (_unknown_annotated, ["gt.json", "elsewhere"]),
    ],
)
def test_damaged_data_is_named_in_one_line(tmp_path, damage, words):
    """At import, at extraction, in the annotations; tests/dataset and tests/features have the rest."""
    workspace = Workspace(tmp_path)
    make_cola_folder(tmp_path / "data")
    damage(tmp_path / "data")
    workspace.configure()
    output = workspace.snakemake("--until", "index_videos", "import_annotations", succeeds=False)
    lines = {line for line in output.splitlines() if line.startswith("error: ")}
    assert len(lines) == 1 and all(word in next(iter(lines)) for word in words), output
    assert "Traceback" not in output


def test_more_clusters_than_videos_is_refused_at_once(workspace):
    """Before any job, so that the finished run's tables stay."""
    workspace.configure(clusters=13)
    before = workspace.digests()
    output = workspace.snakemake(succeeds=False)
    assert (
        "error: config: key 'clusters' is 13, but there are only 12 training videos" in output
        and "Traceback" not in output
    )
    assert workspace.digests() == before
