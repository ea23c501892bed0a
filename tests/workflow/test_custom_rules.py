"""Rules of a user: docs/howto/add-a-stage.md promises that they can take the place of a stage."""

from __future__ import annotations

import re

from .conftest import ROOT


def test_a_rule_of_ones_own_takes_the_place_of_a_stage(workspace):
    (example,) = re.findall(
        r"```\n(rule pick_by_hand:.*?)```", (ROOT / "docs/howto/add-a-stage.md").read_text("utf-8"), re.DOTALL
    )
    (workspace.folder / "own.smk").write_text(example)
    (workspace.folder / "picked.csv").write_text("video_id\n")
    workspace.configure(custom_rules=["own.smk"], custom={"list": "picked.csv"})
    jobs = workspace.planned("--forceall")
    assert {"pick_by_hand 1", "pick_by_hand 2", "train_localizer 2"} <= jobs
    assert not {"select_instances 1", "select_instances 2"} & jobs
