"""What breaks if this fails: a calibration error that flatters the confidence."""

import numpy as np
import pytest

from benchmarks.confidence import classes, collect, judge, reliability
from tests.synthetic_run import Shape, build


def test_bins_and_error_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    confidence = np.append(rng.random(200), [0.0, 1.0])
    right = rng.random(202) < confidence
    rows, error = reliability(confidence, right, 5)
    expected = 0.0
    for i in range(5):
        inside = (confidence >= i / 5) & ((confidence < (i + 1) / 5) | (i == 4))
        assert rows["videos"][i] == inside.sum() and rows["right"][i] == pytest.approx(right[inside].mean())
        expected += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    assert error == pytest.approx(expected) and error < 0.15
    assert reliability(np.ones(4), np.array([1, 0, 0, 0], bool))[1] == pytest.approx(0.75)


def test_a_video_does_not_vouch_for_itself():
    """Alone, or one of two of different classes, it would always be of its cluster's most frequent class."""
    cluster = np.array([0, 1, 1, 2, 2, 2, 2])
    label = np.array(["a", "a", "b", "a", "a", "a", "b"], object)
    assert judge(cluster, label).tolist() == [False, False, False, True, True, True, False]


def test_the_class_of_a_video_is_the_longest():
    table = {"video_id": ["v", "v", "v", "w", "w"], "label": ["a", "b", "a", "d", "c"]}
    times = {"t_start": np.array([0, 2, 9, 0, 2.0]), "t_end": np.array([1, 4.5, 11, 1, 3.0])}
    assert classes({name: np.array(values, object) for name, values in table.items()} | times) == {"v": "a", "w": "c"}


def test_a_run_of_several_seeds_is_collected(tmp_path):
    run = build(tmp_path, Shape(train=12, test=2, clusters=3, iterations=2, media=0, seeds=(0, 1)))
    table = collect(run)
    assert len(table) == 24 and table["confidence"].between(0, 1).all() and 0 < table["right"].mean() < 1
