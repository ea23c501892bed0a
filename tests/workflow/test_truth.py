"""Ground truth reaches evaluation and report only."""

from __future__ import annotations

import re
from collections import defaultdict

from .conftest import JOB, Workspace, make_cola_folder

READERS = {"import_annotations", "evaluate_iteration", "gather_metrics", "write_report", "all"}


def test_without_annotations_no_byte_differs_but_of_metrics_and_report(finished, tmp_path):
    """A run in a folder that never had any. Else results owe something to the truth, or to where they were made."""
    make_cola_folder(tmp_path / "data")
    (tmp_path / "data/gt.json").unlink()
    blind = Workspace(tmp_path)
    blind.configure(dataset={"annotations": None})
    blind.snakemake()
    with_truth, without = Workspace(finished).digests(), blind.digests()
    changed = {name for name in with_truth if with_truth[name] != without.get(name)}
    assert set(with_truth) == set(without)
    assert {name.rsplit("/", 1)[-1] for name in changed} == {
        "annotations.parquet",
        "annotations_dropped.parquet",  # its history names the file of the annotations
        "mapping.parquet",
        "metrics.parquet",
        "report.html",
    }


def reach(workspace, start):
    """Rules whose jobs a chain of inputs leads to from a rule, by the real DAG; and all rules in it."""
    dot = workspace.snakemake("--dag", "--forceall")
    rules = {node: label.split("\\n")[0] for node, label in re.findall(r'(\d+)\[label = "([^"]+)"', dot)}
    children = defaultdict(set)
    for parent, child in re.findall(r"(\d+) -> (\d+)", dot):
        children[parent].add(child)
    reached, queue = set(), [node for node, rule in rules.items() if rule == start]
    while queue:
        node = queue.pop()
        reached.add(rules[node])
        queue += children[node]
    return reached, set(rules.values())


def test_no_rule_but_evaluation_and_report_can_reach_the_annotations(workspace):
    """Walk the real DAG: no chain of inputs leads from ground truth to any other job, and no command names its file."""
    rows = "".join(f"train_{i:02d},{'treated' if i % 2 else 'control'}\n" for i in range(8))
    (workspace.folder / "groups.csv").write_text(f"video_id,group\n{rows}")
    workspace.configure(groups="groups.csv")
    reached, rules = reach(workspace, "import_annotations")
    assert {"import_annotations", "train_localizer", "evaluate_iteration", "compare_groups"} <= rules
    assert reached == READERS
    commands = workspace.snakemake("--dry-run", "--forceall", "--printshellcmds", "--quiet", "host")
    _, *parts = JOB.split(commands)
    jobs = zip(parts[::2], parts[1::2], strict=True)
    named = {rule for rule, details in jobs if "gt.json" in details or "annotations" in details}
    assert named <= READERS and "import_annotations" in named


def test_labels_train_and_annotations_still_do_not(workspace):
    """The two are different files with different rights: labels are given on purpose, and reach the training."""
    (workspace.folder / "labels.csv").write_text("video_id,label\ntrain_00,wave\n")
    workspace.configure(dataset={"labels": "labels.csv"})
    reached, _ = reach(workspace, "import_labels")
    assert {"cluster_videos", "select_instances", "train_localizer", "correct_moments"} <= reached
    assert "import_annotations" not in reached
    assert reach(workspace, "import_annotations")[0] == READERS
