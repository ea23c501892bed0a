"""Estimates of K: on clusters that lie apart all of them must find the truth."""

import numpy as np

from studies.settings import PROGRAMS
from studies.unknown import estimates, unknown_clusters
from tests.unit.studies.few import make_pooled, values


def test_clusters_that_lie_apart_are_counted():
    pooled, _ = make_pooled(classes=4, videos=9)
    assert set(estimates(pooled[0, 1]["feature"], 0).values()) == {4}


def test_the_error_is_a_share_of_the_true_number():
    pooled, annotations = make_pooled(classes=4, videos=8, seeds=(0,))
    table = unknown_clusters(pooled, annotations, counts=(2,), images=0)
    estimate, error = (values(table, "silhouette", name) for name in ("estimate", "relative error"))
    assert set(table["x"]) == {2, 4} and set(table["metric"]) == set(PROGRAMS["unknown-clusters"][1])
    assert np.allclose(error, abs(estimate - [2, 4]) / [2, 4])
