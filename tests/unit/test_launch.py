"""One command for a whole run: the config that it writes and what it says while Snakemake works."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from feel_steps import cli
from feel_steps.config import read_arguments, spread
from feel_steps.dataset.files import guess_layout
from feel_steps.errors import InputError
from feel_steps.explore import launch as module
from feel_steps.explore.launch import _essence, _follow, command, default_name, launch, make_config, start, write_config
from tests.paths import ROOT


def fill(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_what_a_folder_holds_is_told_by_its_files(tmp_path):
    """A person who names a folder need not know what a layout is."""
    assert guess_layout(fill(tmp_path / "a", "1.mp4", "day/2.MOV", "notes.txt")) == "videos"
    assert guess_layout(fill(tmp_path / "b", "1.npy", "2.npy", "sample.mp4")) == "features"
    assert guess_layout(fill(tmp_path / "c", "features/train/rgb/1.npy", "split_train.txt")) == "cola"
    with pytest.raises(InputError, match=r"neither videos nor feature arrays in it \(there is: .txt\)"):
        guess_layout(fill(tmp_path / "d", "notes.txt"))


def test_the_config_of_a_run_repeats_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "clips", "1.mp4")
    config = make_config(tmp_path / "clips", name="mine", clusters=[5], annotations=tmp_path / "gt.csv")
    assert config["clusters"] == 5 and config["dataset"]["layout"] == "videos"
    assert config["dataset"]["annotations"] == str(tmp_path / "gt.csv")
    words = write_config(config, cores=3, options=["-n", "--config", "corrections=c.yaml"])
    file = Path("results/mine.yaml")
    assert yaml.safe_load(file.read_text()) == config
    assert words == command(file, cores=3, options=["-n", "--config", "corrections=c.yaml"])
    assert file.read_text().splitlines()[1].endswith("results/mine.yaml --cores 3 --config corrections=c.yaml")
    (tmp_path / "more.yaml").write_text("iterations: 2\ndataset: {parts: 1}\n")
    further = make_config(tmp_path / "clips", name="mine", clusters=[5], settings=tmp_path / "more.yaml")
    assert (further["iterations"], further["dataset"]["parts"], further["dataset"]["on_bad_video"]) == (2, 1, "skip")
    assert "snakemake --snakefile" in file.read_text().splitlines()[1]


@pytest.mark.parametrize(
    ("options", "status", "said", "kept"),
    [
        (["-n"], 0, "", "old"),
        (["-np"], 0, "", "old"),
        (["--dag"], 0, "digraph {}\n", "old"),
        ([], 0, "Nothing to be done\n", "new"),
        ([], 1, "error: train.steps: banana\n", "old"),
        ([], 1, "Select jobs to execute...\nerror: a.mp4: no video\n", "new"),
        ([], 0, "Select jobs to execute...\n", "new"),
    ],
)
def test_the_config_beside_results_is_that_of_the_run_that_made_them(
    tmp_path, monkeypatch, options, status, said, kept
):
    """It repeats the run: a look at what would be done, or a refused setting, must not take its place."""
    monkeypatch.chdir(tmp_path)

    def pretend(words, log, iterations):
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(said)
        return status

    monkeypatch.setattr(module, "launch", pretend)
    fill(tmp_path, "results/mine.yaml")
    Path("results/mine.yaml").write_text("old: 1\n")
    assert start({"name": "mine", "new": 1}, cores=1, options=options)[0] == status
    assert yaml.safe_load(Path("results/mine.yaml").read_text()).keys() >= {kept}


def test_a_folder_of_any_name_can_be_run_without_a_name(tmp_path):
    """The first command that a person types names a folder such as My Videos."""
    assert default_name(None) == "demo"
    assert default_name(tmp_path / "My Vidéos ü's 🏃") == "My-Videos-u-s"
    assert default_name(tmp_path / "..clips_2/") == "clips_2"
    assert default_name(tmp_path / "my_videos_") == "my_videos_"  # as it was called before
    with pytest.raises(InputError, match="expected letters, digits"):
        make_config(tmp_path, name=default_name(tmp_path / "動画"), clusters=[2])


def test_no_core_and_a_locked_folder_are_explained():
    """Snakemake waits for a core for good, and advises a flag that would be wrong while the other run works."""
    with pytest.raises(InputError, match="cores: 0; expected 1 or more"):
        command(Path("c.yaml"), cores=0)
    (line,) = _essence(["Error: Directory cannot be locked. Please make sure\n", "…\n"])
    assert line.startswith("error: another run works in this folder")


def test_keys_with_dots_reach_their_section():
    """Snakemake itself stops at them with a ValueError, before it reads any workflow."""
    given = ["--config", "dataset.path=a, b", "train.settings.hidden=8", "name=x.y=z", "-n", "what.is=this"]
    words = command(Path("c.yaml"), cores=1, options=given)[-6:]
    assert words == ["--config", 'dataset={path: "a, b"}', 'train={settings: {hidden: "8"}}', "name=x.y=z", *given[-2:]]
    assert read_arguments(words[1:3], ROOT / "schemas/config.schema.yaml") == {
        "dataset": {"path": "a, b"},
        "train": {"settings": {"hidden": 8}},
    }


def test_arrays_of_videos_bring_their_players(tmp_path):
    fill(tmp_path / "clips", "1.mp4")
    np.save(tmp_path / "1.npy", np.zeros((3, 4), np.float32))
    with pytest.warns(
        UserWarning, match="taken as made at 25 frames a second, from 16 frames, every 16; if they were not"
    ):
        config = make_config(tmp_path / "clips", name="mine", clusters=[5], features=tmp_path)
    assert config["dataset"]["layout"] == "features" and config["dataset"]["path"] == str(tmp_path)
    assert config["dataset"]["videos"] == str(tmp_path / "clips")


def test_several_numbers_of_clusters_run_side_by_side():
    """Another K must not replace a finished result."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    both = spread({**config, "clusters": [4, 6]})
    assert both["variants"] == {"feel-k4": {"clusters": 4}, "feel-k6": {"clusters": 6}}
    assert spread(config) == config
    assert spread({**config, "clusters": ["four"]})["clusters"] == ["four"], "the schema says what is wrong"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["clips"], "--clusters is missing"),
        (["clips", "--clusters", "4,4"], "different whole numbers from 2"),
        (["clips", "--clusters", "4", "--name", "a/b"], "--name 'a/b'"),
        (["nowhere", "--clusters", "4"], "no such folder"),
        (["clips/1.mp4", "--clusters", "4"], "clips/1.mp4: a file; name the folder that holds it"),
        (["--cores", "1"], "give a folder of videos or of feature arrays, or --demo"),
    ],
)
def test_what_is_missing_is_said_before_anything_starts(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "clips", "1.mp4")
    result = CliRunner().invoke(cli.app, ["run", *arguments])
    assert isinstance(result.exception, InputError) and message in str(result.exception)
    assert not (tmp_path / "results").exists()


def test_a_failed_run_shows_its_own_errors_first():
    """A person should not have to find the one line that helps among those of Snakemake."""
    tail = [
        "Execute 1 jobs...\n",
        "error: a.mp4: not a video file\n",
        "RuleException:\n",
        "error: a.mp4: not a video file\n",
    ]
    assert _essence(tail) == tail[1:2]
    assert _essence(tail[2:3]) == tail[2:3]


def test_a_run_goes_on_if_only_the_command_that_started_it_is_killed(tmp_path):
    """As when a notebook's kernel restarts. With a broken pipe, Snakemake would hang and hold the run's lock."""
    (tmp_path / "pretended.py").write_text(
        "import pathlib, time\nprint('begun', flush=True)\n"
        "while not pathlib.Path('go').exists(): time.sleep(0.05)\nprint('done', flush=True)\n"
    )
    code = "import pathlib, feel_steps.explore.launch as it; it.launch(['pretended'], pathlib.Path('run.log'), 1)"
    where = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}}
    log, starter = tmp_path / "run.log", subprocess.Popen([sys.executable, "-c", code], **where)

    def wait_for(word):
        limit = time.monotonic() + 60
        while not log.is_file() or word not in log.read_text():
            assert time.monotonic() < limit, f"no '{word}' in the log"
            time.sleep(0.05)

    wait_for("begun")
    starter.kill()
    starter.wait()
    (tmp_path / "go").touch()
    wait_for("done")


def test_a_failed_run_is_followed_to_its_last_line(tmp_path, monkeypatch, capfd):
    (tmp_path / "pretended.py").write_text(
        "print('1 of 2 steps (50%) done\\nerror: a.mp4: no video', end='\\n')\nexit(3)"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert launch(["pretended"], tmp_path / "logs/run.log", 1) == 3
    assert "\nerror: a.mp4: no video\nsnakemake ended with status 3" in capfd.readouterr().err


def test_a_dry_run_does_not_show_the_result_of_an_earlier_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fill(tmp_path, "results/demo/report.html")
    monkeypatch.setattr("feel_steps.explore.launch.launch", lambda *_: 0)
    result = CliRunner().invoke(cli.app, ["run", "--demo", "--", "-n"])
    assert not result.exit_code and "report.html" not in result.output


def test_warnings_reach_the_terminal(capsys):
    """They stood in a log that nobody reads who is not told of it."""
    _follow(iter(["warning: a.csv: 2 segments dropped\n", "Select jobs\n", "warning: a.csv: 2 segments dropped\n"]), 4)
    assert capsys.readouterr().err == "warning: a.csv: 2 segments dropped\n"


def test_progress_names_stage_and_iteration(capsys, monkeypatch):
    """Who waits for an hour wants to know for what."""
    monkeypatch.setattr("feel_steps.runtime.progress.LOG_EVERY", 0.0)
    lines = [
        "note: clusters changed from 6 to 4\n",
        "rule train_localizer:\n",
        "    wildcards: variant=feel, seed=0, iteration=2\n",
        "3 of 9 steps (33%) done\n",
    ]
    _follow(iter(lines), 4)
    shown = capsys.readouterr().err
    assert shown.startswith(lines[0]), "what a run replaces must not be said in its log alone"
    assert "running: 3/9 jobs" in shown and "train localizer, iteration 2 of 4" in shown
