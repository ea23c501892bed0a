"""A folder of one's own videos, as the README has it: from files to a report, and a folder that changes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from feel_steps.tables import tables
from tests.clips import scene, write_video

from .conftest import Workspace

STEPS = ["import_videos", "extract_features", "index_videos"]


@pytest.fixture(scope="module")
def mine(tmp_path_factory) -> Workspace:
    """A finished run of two variants on five videos, one of them cut short."""
    workspace = Workspace(tmp_path_factory.mktemp("mine"))
    for index in range(4):
        write_video(workspace.folder / f"clips/day 1/{index}.mp4", scene(60, seed=index % 2))
    cut = write_video(workspace.folder / "clips/cut.mp4", scene(60), options={"movflags": "faststart"})
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    rows = "".join(f"day 1/{index},{'test' if index == 3 else 'train'}\n" for index in range(4))
    (workspace.folder / "split.csv").write_text(f"video_id,split\ncut,train\n{rows}")
    rows = "".join(f"day 1/{index},{'swing' if index % 2 else 'bow'},0.4,1.6\n" for index in range(4))
    (workspace.folder / "truth.csv").write_text(f"video_id,label,t_start,t_end\n{rows}")
    workspace.configure(
        iterations=1,
        clusters=2,
        dataset={"layout": "videos", "path": "clips", "split": "split.csv", "annotations": "truth.csv", "parts": 1,
                 "on_bad_video": "skip"},
        features={"extractor": "descriptors", "window": 16, "stride": 8, "descriptors": {"short_side": 48, "grid": 2}},
        variants={"feel": {}, "no-cci": {"refine": {"method": "none"}}},
        train={"length": 8, "batch": 2},
        refine={"k1": 2, "k2": 1},
    )  # fmt: skip
    workspace.snakemake()
    return workspace


def feel_steps(*arguments) -> str:
    done = subprocess.run([sys.executable, "-m", "feel_steps", *map(str, arguments)], capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return done.stdout


def test_videos_become_a_report_that_says_which_were_left_out(mine):
    videos = tables.read(mine.results / "videos.parquet", "videos")
    assert videos["video_id"].tolist() == [f"day 1/{index}" for index in range(4)]
    assert videos["split"].tolist() == ["train"] * 3 + ["test"]
    skipped = tables.read(mine.results / "skipped.parquet", "skipped")
    assert skipped["video_id"].tolist() == ["cut"] and "cut short" in skipped["reason"][0]
    assert "cut short" in (mine.results / "report.html").read_text("utf-8")


def test_variants_stand_side_by_side(mine):
    """Otherwise nobody learns from a finished run whether CCI was worth it."""
    found = feel_steps("compare", mine.results, "feel", "no-cci", "--samples", 20)
    assert "feel: iteration 1 of seeds 0" in found and "no-cci: iteration 1 of seeds 0" in found
    assert "feel adds" in found
    assert "NMI" in feel_steps("summary", mine.results)


def test_a_video_more_or_less_is_noticed_and_a_name_is_only_told(mine):
    """Snakemake watches the folder: what is new is not left out in silence, and what is as before runs nothing."""
    new = write_video(mine.folder / "clips/new.mp4", scene(60, seed=5))
    (mine.folder / "split.csv").write_text((mine.folder / "split.csv").read_text() + "new,train\n")
    assert {*STEPS, "train_localizer 1", "write_report"} <= mine.planned()
    new.unlink()
    assert "row 7: there is no video 'new' in the data set" in mine.snakemake("--dry-run", succeeds=False)
    rows = (mine.folder / "split.csv").read_text().splitlines(keepends=True)
    (mine.folder / "split.csv").write_text("".join(rows[:-1]))
    (mine.folder / "clips/.thumbnails").write_text("a file manager's own")
    assert mine.planned() == set()
    (mine.results / "clusters.yaml").write_text("0: swing\n")
    assert mine.planned() == {"write_report"}
