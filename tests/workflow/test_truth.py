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
        "mapping.parquet",
        "metrics.parquet",
        "report.html",
    }


def test_no_rule_but_evaluation_and_report_can_reach_the_annotations(workspace):
    """Walk the real DAG: no chain of inputs leads from ground truth to any other job, and no command names its file."""
    dot = workspace.snakemake("--dag", "--forceall")
    rules = {node: label.split("\\n")[0] for node, label in re.findall(r'(\d+)\[label = "([^"]+)"', dot)}
    children = defaultdict(set)
    for parent, child in re.findall(r"(\d+) -> (\d+)", dot):
        children[parent].add(child)
    assert {"import_annotations", "train_localizer", "evaluate_iteration"} <= set(rules.values())
    reached, queue = set(), [node for node, rule in rules.items() if rule == "import_annotations"]
    while queue:
        node = queue.pop()
        reached.add(rules[node])
        queue += children[node]
    assert reached == READERS

    commands = workspace.snakemake("--dry-run", "--forceall", "--printshellcmds", "--quiet", "host")
    _, *parts = JOB.split(commands)
    jobs = zip(parts[::2], parts[1::2], strict=True)
    named = {rule for rule, details in jobs if "gt.json" in details or "annotations" in details}
    assert named <= READERS and "import_annotations" in named
