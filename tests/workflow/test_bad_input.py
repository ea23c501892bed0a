"""Bad input is refused in one line before any work, and leaves earlier artifacts alone."""

from __future__ import annotations

import numpy as np

from .conftest import Workspace, make_cola_folder


def test_a_wrong_config_key_is_named_with_its_remedy_and_nothing_is_touched(workspace):
    """A typing error must not cost results, nor pass unseen; tests/unit/test_config.py has the other keys."""
    before = workspace.digests()
    workspace.configure(refine={"kk1": 20})
    output = workspace.snakemake(succeeds=False)
    lines = [line for line in output.splitlines() if line.startswith("error: ")]
    assert lines == ["error: config: unknown key 'refine.kk1'; did you mean 'k1'?"]
    assert "Traceback" not in output
    assert workspace.digests() == before


def test_damaged_data_is_named_in_one_line(tmp_path):
    """Else a person looks for it in a traceback. Extraction refuses this one."""
    workspace = Workspace(tmp_path)
    make_cola_folder(tmp_path / "data")
    damaged = tmp_path / "data/features/train/rgb/train_03.npy"
    features = np.load(damaged)
    features[7, 2] = np.inf
    np.save(damaged, features)
    workspace.configure()
    output = workspace.snakemake("--until", "index_videos", succeeds=False)
    (line,) = {line for line in output.splitlines() if line.startswith("error: ")}
    assert "train_03" in line and "snippet 7" in line, output
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


def test_what_another_number_of_clusters_replaces_is_said_first(workspace):
    """The results of hours were replaced without a word."""
    workspace.configure(clusters=2)
    output = workspace.snakemake("--dry-run")
    said = "clusters changed from 3 to 2: the results of 3 clusters in results/tiny/feel will be replaced; to keep both"
    assert output.count(said) == 1
    workspace.configure()
    assert "clusters changed" not in workspace.snakemake("--dry-run")


def test_a_folder_without_a_layout_is_taken_for_what_lies_there(workspace):
    """The finished run of the named layout has nothing left to do."""
    workspace.configure(dataset={"layout": "demo"})
    output = workspace.snakemake()
    assert "dataset.layout is not set: data is taken for layout 'cola' by the names of its files" in output
    assert "Nothing to be done" in output
