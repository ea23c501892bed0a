"""What the page promises about corrections and labels, held against the real Snakefile."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import yaml

from feel_steps.tables import tables
from feel_steps.tables.provenance import read_provenance
from feel_steps.tables.run import identify

from .test_rerun import END, steps

SHOWN = {"correct_moments", "write_report"}


@pytest.fixture
def corrected(workspace):
    """Write corrections of the last iteration, and name the file in the config."""
    place = workspace.results / "feel/seed-0/iter-2"
    of = {"variant": "feel", "seed": 0, "iteration": 2}
    of["centres"] = identify(tables.read(place / "centres.parquet", "centres")["feature"])

    def write(iterations: int = 2, **corrections) -> None:
        (workspace.folder / "corrections.yaml").write_text(yaml.safe_dump({"of": of, **corrections}))
        workspace.configure(corrections="corrections.yaml", iterations=iterations)

    return write


def test_names_and_merges_train_nothing_again(workspace, corrected):
    """A person who names clusters waits seconds, not hours."""
    before = tables.read(workspace.results / "moments.parquet", "moments")
    stray = {"video_id": "train_01", "cluster": 2, "t_start": 0.0, "t_end": 0.01, "mark": "wrong"}
    corrected(names={0: "waving"}, merges=[[0, 1]], moments=[stray])
    assert workspace.planned() == SHOWN
    said = "warning: corrections.yaml: marks that fit no moment: 1 of 1, the first in 'train_01', cluster 2, 0 to 0.01"
    assert said in workspace.snakemake()
    after = tables.read(workspace.results / "moments.parquet", "moments")
    assert set(after["cluster"]) <= {0, 2} and 0 < len(after["cluster"]) <= len(before["cluster"])
    assert "waving" in (workspace.results / "report.html").read_text()
    corrected(names={0: "bowing"}, merges=[[0, 1]], moves={"train_03": 2})
    assert workspace.planned() == SHOWN  # a move changes what is shown, and later iterations alone
    workspace.configure()
    assert workspace.planned() == SHOWN  # taken back, as a person who forgot the option must be told
    said = "warning: corrections is not set: what corrections.yaml corrected in results/tiny will be taken back"
    assert workspace.snakemake().count(said) == 1
    assert said not in workspace.snakemake("--dry-run")


def test_moves_hold_in_later_iterations_alone_and_names_stay_out_of_them(workspace, corrected):
    """Else a correction is forgotten by the next training, or an hour of training follows a changed name."""
    refined = tables.read(workspace.results / "feel/seed-0/iter-2/refined.parquet", "refined")
    moved, ignored = refined["video_id"][0], refined["video_id"][1]
    target = (int(refined["cluster"][0]) + 1) % 3
    mark = {"video_id": moved, "cluster": int(refined["cluster"][0]), "t_start": 0.5, "t_end": 2.5, "mark": "right"}
    changes = {"moves": {moved: target}, "ignored": [ignored], "moments": [mark]}
    corrected(iterations=3, names={0: "waving"}, **changes)
    assert workspace.planned() == {"constrain_videos"} | steps(3) | END
    workspace.snakemake()
    later = workspace.results / "feel/seed-0/iter-3"
    table = tables.read(later / "refined.parquet", "refined")
    assert table["cluster"][table["video_id"] == moved] == [target]
    selected = tables.read(later / "selected.parquet", "selected")["video_id"]
    assert moved in selected and ignored not in selected
    moments = tables.read(workspace.results / "moments.parquet", "moments")
    assert ignored not in moments["video_id"]
    assert moments["cluster"][(moments["video_id"] == moved) & (moments["t_start"] == 0.5)].tolist() == [target]
    before = dict(zip(refined["video_id"], refined["cluster"], strict=True))
    same = np.mean([before[video] == c for video, c in zip(table["video_id"], table["cluster"], strict=True)])
    assert same > 0.5  # clusters keep their numbers, and with them their names
    corrected(iterations=3, names={0: "bowing"}, **changes)
    assert workspace.planned() == SHOWN


def test_labels_of_some_videos_train_and_are_said_to(workspace):
    """Their clusters carry the names, and the headline says how much a person told the method."""
    (workspace.folder / "labels.csv").write_text("video_id,label\ntrain_00,wave\ntrain_01,bow\ntrain_03,wave\n")
    workspace.configure(dataset={"labels": "labels.csv"}, iterations=1)
    workspace.snakemake()
    table = tables.read(workspace.results / "feel/seed-0/iter-1/selected.parquet", "selected")
    cluster = dict(zip(table["video_id"], table["cluster"].tolist(), strict=True))
    assert [cluster[f"train_{i:02d}"] for i in (0, 1, 3)] == [1, 0, 1]
    names = tables.read(workspace.results / "names.parquet", "names")["name"].tolist()
    assert names == ["bow", "wave", None]
    assert "with 3 labelled videos" in re.sub(r"\s+", " ", (workspace.results / "report.html").read_text())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: {0: wave}", "missing key 'of'"),
        ("moves: {train_99: 0}", "no video 'train_99' in the data set; did you mean 'train_09'?"),
        ("moves: {train_01: 7}", "there is no cluster 7; expected numbers from 0 to 2"),
        ("moves: {train_01: 0}\nignored: [train_01]", "video 'train_01' is both moved and ignored; keep one"),
        ("merges: [[0, 1], [1, 2]]", "cluster 1 is in two groups; make them one"),
        ("names: {0: wave}\niterations: 1", "unknown key 'iterations'"),
        ("names: {0: wave}", "made for other clusters than those in results/tiny/feel/seed-0/iter-2"),
    ],
)
def test_bad_corrections_are_one_line_before_work_starts(workspace, text, message):
    of = "" if message == "missing key 'of'" else "of: {variant: feel, seed: 0, iteration: 2, centres: abc}\n"
    (workspace.folder / "corrections.yaml").write_text(of + text)
    workspace.configure(corrections="corrections.yaml")
    output = workspace.snakemake("--dry-run", succeeds=False)
    (line,) = [line for line in output.splitlines() if line.startswith("error: ")]
    assert "corrections.yaml" in line and message in line


def test_times_after_the_end_are_refused_before_they_cost_the_run_its_moments(workspace, corrected):
    """A failed job's results are removed: those of the run that was there."""
    mark = {"video_id": "train_01", "cluster": 0, "t_start": 1.0, "t_end": 999.0, "mark": "right"}
    corrected(moments=[mark])
    output = workspace.snakemake(succeeds=False)
    assert "error: corrections.yaml: a moment of 'train_01' ends at 999 s, but the video at" in output
    assert (workspace.results / "moments.parquet").is_file()


def test_corrections_of_another_seed_than_the_shown_one_are_refused(workspace, corrected):
    """They would name and merge clusters that have nothing in common with the corrected ones but their numbers."""
    corrected(names={0: "waving"})
    workspace.configure(corrections="corrections.yaml", seeds=[1, 0])
    output = workspace.snakemake("--dry-run", succeeds=False)
    assert "error: corrections.yaml: made for variant 'feel', seed 0, but the page shows 'feel', seed 1" in output


def test_groups_stand_on_the_page_and_train_nothing(workspace):
    """A comparison is asked for after the run; a wrong id must not cost the wait."""
    rows = "".join(f"train_{i:02d},{'treated' if i % 2 else 'control'}\n" for i in range(8))
    (workspace.folder / "groups.csv").write_text(f"video_id,group\n{rows}")
    workspace.configure(groups="groups.csv")
    assert workspace.planned() == {"compare_groups", "write_report"}
    workspace.snakemake()
    assert "control – treated" in (workspace.results / "report.html").read_text("utf-8")
    read = json.loads(read_provenance(workspace.results / "groups/tests.parquet")["feel.inputs"])
    assert "../moments.parquet" in read and "../metrics.parquet" not in read  # metrics come from ground truth
    (workspace.results / "clusters.yaml").write_text("0: waving")
    assert workspace.planned() == {"compare_groups", "write_report"}  # the tables of the groups carry names, too
    (workspace.folder / "groups.csv").write_text(f"video_id,group\n{rows}train_99,control\n")
    output = workspace.snakemake("--dry-run", succeeds=False)
    assert "error: groups.csv, row 10: there is no video 'train_99' in the data set" in output
