"""The package from Python: the page that shows it, run as it is printed, and what a wrong argument says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest

import feel_steps
from feel_steps.explore import launch
from tests.paths import ROOT
from tests.workflow.conftest import make_cola_folder

BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


@pytest.fixture
def here(finished, tmp_path, monkeypatch):
    """A folder with data, in which the finished run is what Snakemake makes."""
    make_cola_folder(tmp_path / "videos")

    def pretend(words, log, iterations):
        assert words[words.index("--cores") + 1] == "4" and "results/mine.yaml" in words
        shutil.copytree(finished / "results/tiny", tmp_path / "results/mine", dirs_exist_ok=True)
        return 0

    monkeypatch.setattr(launch, "launch", pretend)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_runs_as_it_is_printed(here, capsys):
    """Whoever copies the example into a notebook must get through it."""
    scope: dict = {}
    for block in BLOCK.findall((ROOT / "docs/howto/python.md").read_text("utf-8")):
        exec(block, scope)  # noqa: S102 - our own page
    assert "of 12 videos would be trained on" in capsys.readouterr().out
    run, moments = scope["run"], scope["moments"]
    assert list(run.seeds) == ["feel"] and run.iterations == 2
    assert {"video_id", "cluster", "t_start", "t_end", "confidence"} <= {*moments}
    assert len(scope["clusters"]) == 12 and len(scope["videos"]) == 16
    before = run.detections(iteration=1)
    assert len(before) and not before.equals(scope["detections"])
    assert len(run.table("attention")["activation"][0]) == 3


def test_names_of_clusters_are_in_the_tables(here):
    run = feel_steps.run("videos", clusters=3, name="mine", cores=4)
    (run.folder / "clusters.yaml").write_text("0: waving\n")
    names = run.clusters().drop_duplicates("cluster").set_index("cluster")["name"]
    assert names[0] == "waving" and names.drop(0).isna().all()


def test_a_wrong_argument_names_what_there_is(here):
    run = feel_steps.run("videos", clusters=3, name="mine", cores=4)
    for arguments, message in (
        ({"variant": "fel"}, "did you mean 'feel'"),
        ({"seed": 7}, "no seed 7 of 'feel'; it has 0"),
        ({"iteration": 3}, "no iteration 3 of 'feel', seed 0; it has 1 to 2"),
    ):
        with pytest.raises(feel_steps.InputError, match=message):
            run.moments(**arguments)
    with pytest.raises(feel_steps.InputError, match="did you mean 'attention'"):
        run.table("atention")


def test_a_failed_run_raises(here, monkeypatch):
    monkeypatch.setattr(launch, "launch", lambda *_: 3)
    with pytest.raises(subprocess.CalledProcessError):
        feel_steps.run("videos", clusters=3)


def test_nothing_heavy_is_imported():
    """A notebook that only reads tables does not wait for PyTorch."""
    code = "import feel_steps, sys; feel_steps.Run, feel_steps.run; print({'torch', 'sklearn', 'cv2'} & {*sys.modules})"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT).strip() == "set()"
