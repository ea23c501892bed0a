"""Tables of studies, and what they say over seeds."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from feel_steps.errors import InputError
from feel_steps.tables import tables
from studies.settings import VARIANT_METRICS
from studies.tables import METRICS, counterpart, difference, estimate, gather, last


def metrics(variant, seed, iteration, rows):
    """A metrics table of rows (stage, metric, value)."""
    stage, metric, value = zip(*rows, strict=True)
    about = {"variant": [variant] * len(rows), "seed": [seed] * len(rows), "iteration": [iteration] * len(rows)}
    return {
        name: np.array(column) for name, column in (about | {"stage": stage, "metric": metric, "value": value}).items()
    }


def test_gathered_numbers_stand_under_their_setting_in_its_order(tmp_path):
    read = [
        metrics("b", 0, 1, [("cluster", "nmi", 0.1), ("refine", "nmi", 0.2), ("localize", "mAP", 0.3)]),
        metrics("a", 0, 1, [("cluster", "silhouette", 0.5), ("refine", "silhouette", 0.4)]),
    ]
    table = gather(read, {"second": {"variant": "b", "x": 2}, "first": {"variant": "a"}})
    tables.write(tmp_path / "t.parquet", "study", table)
    rows = pd.DataFrame(tables.read(tmp_path / "t.parquet", "study"))
    assert rows[["setting", "metric", "value"]].to_numpy().tolist() == [
        ["second", "NMI k-means", 0.1],
        ["second", "NMI refined", 0.2],
        ["second", "mAP", 0.3],
        ["first", "silhouette", 0.4],  # of the refined clusters, where there are both
    ]
    assert rows["x"].tolist()[:3] == [2, 2, 2] and math.isnan(rows["x"].iloc[3])


def test_a_study_may_ask_for_every_metric_that_is_gathered():
    assert tuple(name for name, _, _ in METRICS) == VARIANT_METRICS


def test_a_variant_without_metrics_is_named():
    with pytest.raises(InputError, match="setting 'one': no metrics of variant 'c'"):
        gather([metrics("a", 0, 1, [("refine", "nmi", 0.1)])], {"one": {"variant": "c"}})


def test_the_last_iteration_is_each_settings_own():
    table = pd.DataFrame(
        {"setting": ["a", "a", "b"], "x": np.nan, "y": np.nan, "iteration": [1, 2, 1], "value": [1, 2, 3]}
    )
    assert last(table)["value"].tolist() == [2, 3]


def test_an_interval_over_few_seeds_is_students():
    """t of two degrees of freedom at 97.5 % is 4.3027."""
    found = estimate(np.array([0.1, 0.2, 0.6]))
    assert found is not None and found.n == 3
    reach = 4.302653 * np.std([0.1, 0.2, 0.6], ddof=1) / 3**0.5
    assert [found.low, found.high] == pytest.approx([0.3 - reach, 0.3 + reach], rel=1e-6)
    assert not found.decided


def test_one_seed_has_no_interval_and_no_seed_nothing():
    found = estimate(np.array([0.5]))
    assert found is not None and math.isnan(found.low) and math.isnan(found.sd) and not found.decided
    assert estimate(np.zeros(0)) is None


def test_differences_are_paired_by_seed():
    """Unpaired, the spread between seeds would hide that every seed gained."""
    rows = pd.DataFrame({"seed": [0, 1, 2, 9], "value": [0.11, 0.52, 0.91, 5.0]})
    reference = pd.DataFrame({"seed": [2, 1, 0], "value": [0.80, 0.40, 0.00]})
    found = difference(rows, reference)
    assert found is not None and found.n == 3 and found.mean == pytest.approx(0.34 / 3)
    assert found.decided


def test_the_reference_at_the_same_place_counts_or_the_only_one_there_is():
    table = pd.DataFrame({"setting": ["r", "r", "s"], "x": [1.0, 2.0, np.nan], "y": np.nan, "value": [1, 2, 3]})
    assert counterpart(table, "r", 2.0, math.nan)["value"].tolist() == [2]
    assert not len(counterpart(table, "r", 3.0, math.nan))
    assert counterpart(table, "s", 2.0, math.nan)["value"].tolist() == [3]
