"""CCI's overhead: measured at the run's own dimension and K, at sizes that hold K clusters."""

import numpy as np

from studies.overhead import overhead, sample
from studies.settings import PROGRAMS
from tests.unit.studies.few import make_pooled


def test_each_size_is_measured_once_a_seed():
    pooled, _ = make_pooled(seeds=(0, 1), iterations=(1, 2))
    table = overhead(pooled, clusters=3, limit=1000)
    assert set(table["x"]) == {500, 1000} and set(table["setting"]) == {"k-means", "CCI"}
    assert set(table["metric"]) == set(PROGRAMS["overhead"][1])
    seconds = table["value"][table["metric"] == "seconds"]
    assert len(seconds) == 2 * 2 * 2 and (seconds > 0).all()


def test_synthetic_videos_are_seeded():
    assert np.array_equal(sample("groups", 20, 5, 3, 1), sample("groups", 20, 5, 3, 1))
    assert not np.array_equal(sample("groups", 20, 5, 3, 1), sample("groups", 20, 5, 3, 2))
