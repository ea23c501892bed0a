"""The tool that makes videos of two actions: a wrong shift in time would be read as a loss of the method."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.paths import ROOT
from tests.workflow.conftest import make_cola_folder

PROGRAM = ROOT / "benchmarks" / "join_videos.py"


def join(folder, name, *options):
    command = [sys.executable, PROGRAM, folder / "data", folder / name, "--fps", "25", "--stride", "16", *options]
    subprocess.run(command, check=True, capture_output=True)
    return json.loads((folder / name / "gt.json").read_text())["database"]


@pytest.mark.parametrize("alike", [False, True])
def test_a_share_of_the_videos_is_two_one_after_the_other(tmp_path, alike):
    make_cola_folder(tmp_path / "data")
    single = json.loads((tmp_path / "data/gt.json").read_text())["database"]
    joined = join(tmp_path, "joined", *["--alike"] * alike)
    assert join(tmp_path, "again", *["--alike"] * alike) == joined
    train = (tmp_path / "joined/split_train.txt").read_text().split()
    assert len(train) == 8 and sum("+" in name for name in train) == 4  # 12 videos: 4 pairs, 4 alone
    assert sorted(own for name in train for own in name.split("+")) == sorted(n for n in single if n[:5] == "train")
    for name in train:
        parts = name.split("+")
        features = [np.load(tmp_path / f"data/features/train/rgb/{part}.npy") for part in parts]
        whole = np.load(tmp_path / f"joined/features/train/rgb/{name}.npy")
        np.testing.assert_array_equal(whole, np.concatenate(features))
        for segment in joined[name]["annotations"]:  # the action's feature is high where the segment is
            start, end = (round(t * 25 / 16) for t in segment["segment"])
            assert (whole[start:end, int(segment["label"][-1])] > 0.9).all()
        assert len({segment["label"] for segment in joined[name]["annotations"]}) == (1 if alike else len(parts))
