"""Extractors side by side: if these fail, streams are mixed up, or a run cannot be made again from its contract."""

import json

import numpy as np
import pytest

from feel_steps.dataset.video_file import probe
from feel_steps.dataset.videos import Video
from feel_steps.errors import InputError
from feel_steps.features.descriptors import Descriptors
from feel_steps.features.extract import build
from tests.clips import scene, write_video

RATE = {"fps": 15, "window": 16, "stride": 8}
GIVEN = RATE | {"root": None, "device": "cpu", "threads": 1}
COUNTING = "tests.unit.features.test_streams:Counting"


class Counting:
    """Two streams: the number of the snippet, and a setting. A snippet fewer than there are."""

    view_family = "network"
    streams = {"number": (1, 1.0), "value": (2, 0.5)}

    def __init__(self, *, fps, window, stride, value=3):
        self.settings = {"value": value}

    def extract(self, video, advance):
        n = int(video.duration * 15 - 16) // 8
        return np.stack([np.arange(n), *[np.full(n, self.settings["value"])] * 2], 1).astype(np.float32)


@pytest.fixture
def video(tmp_path):
    path = write_video(tmp_path / "v.mp4", scene(60), fps=15)
    info = probe(path)
    return Video("v", "train", str(path), info.n_frames, info.duration)


def test_streams_lie_side_by_side(video):
    engine = build("streams", GIVEN, {"extractors": {"descriptors": {"grid": 2}, COUNTING: {"value": 7}}})
    told = []
    features = engine.extract(video, told.append)
    alone = Descriptors(**RATE, grid=2).extract(video, lambda n: None)
    size = alone.shape[1]
    assert len(alone) == 6 and len(features) == 5 and sum(told) == 60
    assert np.array_equal(features[:, :size], alone[:5])
    assert features[:, size:].tolist() == [[i, 7, 7] for i in range(5)]
    assert engine.view_family == "network"
    assert engine.streams == {
        "descriptors": (size, 1.0), f"{COUNTING}: number": (1, 1.0), f"{COUNTING}: value": (2, 0.5)
    }  # fmt: skip


def test_the_record_makes_the_same_extractor():
    """What the contract says is enough for predict."""
    engine = build("streams", GIVEN, {"extractors": {"descriptors": {"grid": 2}, COUNTING: {}}})
    again = build("streams", GIVEN, {"extractors": json.loads(engine.settings["extractors"])})
    assert again.settings == engine.settings and again.streams == engine.streams


@pytest.mark.parametrize("extractors", [{}, {"streams": {}}])
def test_no_extractor_is_refused(extractors):
    with pytest.raises(InputError, match="features.streams: no extractor in it, or streams itself"):
        build("streams", GIVEN, {"extractors": extractors})
