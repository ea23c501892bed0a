"""What the README promises about rerunning, held against the real Snakefile."""

from __future__ import annotations

import shutil

from .conftest import ROOT

STEPS = [
    "pool_features",
    "cluster_videos",
    "refine_clusters",
    "select_instances",
    "train_localizer",
    "attend_videos",
    "localize_actions",
    "evaluate_iteration",
]
END = {"correct_moments", "gather_metrics", "write_report"}


def steps(iteration: int, first: str = STEPS[0]) -> set[str]:
    """Jobs of an iteration from one step on."""
    return {f"{step} {iteration}" for step in STEPS[STEPS.index(first) :]}


def test_a_finished_run_has_nothing_to_do(workspace):
    assert workspace.planned() == set()


def test_deleting_a_table_reruns_what_depends_on_it_and_nothing_else(workspace):
    (workspace.results / "feel/seed-0/iter-2/refined.parquet").unlink()
    assert workspace.planned() == steps(2, "refine_clusters") | END


def test_deleting_a_feature_part_extracts_that_part_alone(workspace):
    """Else one lost file costs days of extraction; what was made of it stays, since it comes back as it was."""
    before = workspace.digests()
    (workspace.results / "features/part-0001.parquet").unlink()
    output = workspace.snakemake("--quiet", "host", "--", "results/tiny/features/part-0001.parquet")
    assert "part=0001" in output and "part=0000" not in output
    assert workspace.digests() == before
    assert workspace.planned() == set()


def test_a_changed_setting_reruns_its_stage_and_what_follows(workspace):
    workspace.configure(select={"share": 0.5})
    expected = steps(1, "select_instances") | steps(2) | END
    assert workspace.planned() == expected


def test_another_cache_or_device_computes_nothing_again(workspace):
    """Days of extraction and training would be done again for the same tables; only the page shows these settings."""
    workspace.configure(features={"cache": "elsewhere"}, device="cpu", refine={"device": "auto"})
    assert workspace.planned() == {"write_report"}


def test_raising_the_number_of_iterations_runs_only_the_new_ones(workspace):
    workspace.configure(iterations=3)
    assert workspace.planned() == steps(3) | END


def test_a_further_seed_leaves_the_first_alone(workspace):
    workspace.configure(seeds=[0, 1])
    output = workspace.snakemake("--dry-run", "--quiet", "host")
    assert "seed=1" in output and "seed=0" not in output


def test_one_iteration_alone_can_be_rerun(workspace):
    """The documented command: --force with that iteration's files redoes its training, and no other."""
    folder = "results/tiny/feel/seed-0/iter-1"
    jobs = workspace.planned("--force", f"{folder}/model.safetensors", f"{folder}/attention.parquet")
    assert jobs == {"train_localizer 1", "attend_videos 1"}


def test_an_edit_to_a_steps_module_reruns_that_step(workspace, tmp_path):
    copy = tmp_path / "software"
    for name in ("rules", "schemas", "profiles", "envs", "feel_steps"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Snakefile", "config.yaml"):
        shutil.copy(ROOT / name, copy / name)
    assert workspace.planned(root=copy) == set()
    with open(copy / "feel_steps/localize.py", "a") as module:
        module.write("\n# edited\n")
    assert workspace.planned(root=copy) == steps(1, "localize_actions") | steps(2, "localize_actions") | END
