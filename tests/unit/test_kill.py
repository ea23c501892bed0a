"""A power cut or a job's time limit must cost minutes, not the result: a killed training ends with the same bytes."""

import os
import subprocess
import sys

import numpy as np
import pytest

from feel_steps.tables import tables
from tests.paths import ROOT
from tests.tiny import make_snippets, make_videos

KILLS = 16


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_training_killed_at_any_moment_ends_with_the_bytes_of_an_uninterrupted_one(tmp_path):
    snippets = make_snippets()
    tables.write(tmp_path / "videos.parquet", "videos", make_videos(snippets))
    with tables.write_features(tmp_path / "features" / "part-0000.parquet") as writer:
        for index, video_id in enumerate(snippets.video_ids):
            writer.add(video_id, snippets.video(index))
    n = len(snippets.video_ids)
    selected = {"video_id": snippets.video_ids, "cluster": np.arange(n) % 2, "distance": np.zeros(n)}
    tables.write(tmp_path / "selected.parquet", "selected", selected | {"rank": np.arange(n) // 2})

    program = ROOT / "tests/killed_training.py"
    subprocess.run([sys.executable, program, tmp_path, str(KILLS)], check=True, timeout=120)

    killed = sorted(tmp_path.glob("kill-*"))
    assert len(killed) == KILLS
    for name in ("model.safetensors", "training.parquet"):
        whole = (tmp_path / "whole" / name).read_bytes()
        assert all((folder / name).read_bytes() == whole for folder in killed)
    logs = [(folder / "log").read_text() for folder in killed]
    assert sum("goes on after step" in log for log in logs) == KILLS - 1  # all but the first
    assert not [file for folder in killed for file in folder.glob(".*checkpoint*")]
