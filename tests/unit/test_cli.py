"""The command line as other programs call it: fixed options, tables in and out, one line for what is wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from feel_steps import cli
from feel_steps.errors import InputError
from feel_steps.tables import tables

# fixed, since other programs call them
STEPS = ["demo", "import", "extract", "pool", "cluster", "refine", "select", "train", "attend", "localize", "evaluate"]
STEPS += ["report", "map", "predict"]


def run(*arguments) -> str:
    """Call a command in this process; errors come as exceptions."""
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    if result.exception:
        raise result.exception
    return result.stdout


@pytest.fixture
def pooled(tmp_path):
    rng = np.random.default_rng(0)
    features = np.repeat(np.eye(3, 8), 10, axis=0) * 5 + rng.normal(0, 0.3, (30, 8))
    tables.write(tmp_path / "pooled.parquet", "pooled", {"video_id": [f"v{i}" for i in range(30)], "feature": features})
    return tmp_path


def cluster(folder):
    out = ["--out-clusters", folder / "c.parquet", "--out-centres", folder / "m.parquet"]
    run("cluster", "--pooled", folder / "pooled.parquet", "--clusters", 3, "--seed", 0, *out)


def refine(folder, *options):
    inputs = ["--clusters", folder / "c.parquet", "--centres", folder / "m.parquet"]
    run("refine", "--pooled", folder / "pooled.parquet", *inputs, *options, "--out", folder / "r.parquet")
    return tables.read(folder / "r.parquet", "refined")


def test_three_groups_go_through_cluster_refine_and_select(pooled):
    cluster(pooled)
    refined = refine(pooled, "--k1", 5, "--k2", 2, "--lambda", 0.3)
    run("select", "--refined", pooled / "r.parquet", "--rate", 0.25, "--out", pooled / "s.parquet")
    selected = tables.read(pooled / "s.parquet", "selected")
    assert sorted(np.bincount(refined["cluster"])) == [10, 10, 10]
    assert np.bincount(selected["cluster"]).tolist() == [3, 3, 3]  # 2.5 rounds up
    assert (refined["margin"] > 0).all()


def test_refine_without_cci_keeps_the_clusters(pooled):
    """The ablation: k-means labels, Euclidean reliability."""
    cluster(pooled)
    clusters, refined = tables.read(pooled / "c.parquet", "clusters"), refine(pooled, "--method", "none")
    assert refined["cluster"].tolist() == clusters["cluster"].tolist()
    np.testing.assert_allclose(refined["distance"], clusters["distance"], rtol=1e-5)
    assert np.isnan(refined["jaccard"]).all() and (refined["margin"] > 0).all()


def test_map_prints_json(tmp_path):
    truth = {"a": {"subset": "test", "annotations": [{"segment": [0, 10], "label": "jump"}]}}
    found = {"a": [{"label": "jump", "score": 1.0, "segment": [0, 8]}]}
    (tmp_path / "gt.json").write_text(json.dumps({"database": truth}))
    (tmp_path / "pred.json").write_text(json.dumps({"results": found}))
    files = ["--predictions", tmp_path / "pred.json", "--annotations", tmp_path / "gt.json"]
    result = json.loads(run("map", *files, "--subset", "test", "--tiou", "0.5,0.9", "--json"))
    assert {"tiou", "mAP", "average", "per_class"} <= set(result)
    assert result["tiou"] == [0.5, 0.9] and result["mAP"] == [1.0, 0.0] and result["average"] == 0.5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["select", "--refined", "none.parquet", "--rate", "0.5", "--out", "s"], "none.parquet: no such file"),
        (["map", "--predictions", "p", "--annotations", "g", "--tiou", "a,b"], "--tiou 'a,b': expected numbers"),
        (
            ["map", "--predictions", "p", "--annotations", "g", "--tiou", "0.1,inf"],
            "--tiou '0.1,inf': expected numbers",
        ),
        (["select", "--refined", "r", "--rate", "nan", "--out", "s"], "--rate nan: expected a finite number"),
        (
            ["import", "--layout", "vid", "--path", ".", "--out", "m", "--out-unreadable", "u"],
            "expected videos, features or cola",
        ),
        (["summary", "nowhere"], "nowhere: no such folder; name the results folder of a run"),
        (["predict", ".", "a.mp4"], ".: no finished run (there is no metrics.parquet)"),
        (["predict", ".", "a.mp4", "--out", __file__], "test_cli.py: a file; --out has to be a folder"),
        (["compare", "nowhere", "a", "b"], "nowhere: no such folder; name the results folder of a run"),
        (["inspect", "nowhere"], "nowhere: no such file or folder; name a folder"),
    ],
)
def test_what_is_wrong_is_said(arguments, words):
    with pytest.raises(InputError, match=re.escape(words)):
        run(*arguments)


def test_an_error_is_one_line_without_a_traceback_and_a_status(tmp_path):
    (tmp_path / "r.parquet").write_text("not a table")
    command = [
        sys.executable,
        "-m",
        "feel_steps",
        "select",
        "--refined",
        "r.parquet",
        "--rate",
        "1",
        "--out",
        "s.parquet",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: r.parquet: not a readable Parquet file") and done.stderr.count("\n") == 1
    assert not (tmp_path / "s.parquet").exists()


def test_a_full_disk_is_one_line_and_leaves_nothing(pooled):
    cluster(pooled)
    refine(pooled)
    command = [sys.executable, "-m", "feel_steps", "select", "--refined", "r.parquet", "--rate", "1"]
    done = subprocess.run([*command, "--out", "/dev/full/s.parquet"], cwd=pooled, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("error: /dev/full") and "Traceback" not in done.stderr


def test_the_promised_commands_are_there_each_with_an_example():
    commands = {
        command.name or command.callback.__name__.replace("_", "-"): command for command in cli.app.registered_commands
    }
    assert set(STEPS) <= set(commands)
    for name, command in commands.items():
        assert f"Example: feel-steps {name}" in command.callback.__doc__, name


def test_the_snakemake_process_does_not_import_torch():
    """It would cost every run, dry or not, seconds and hundreds of megabytes."""
    code = "import sys, feel_steps.cli, feel_steps.config, feel_steps.selection; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
