"""Which videos become pseudo-labelled training data: too few and a cluster vanishes, the wrong ones and it drifts."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feel_steps.errors import InputError
from feel_steps.selection import schedule, select
from tests.paths import find_golden


def test_constant_speed_is_the_published_schedule():
    assert [schedule(i) for i in (1, 2, 3, 4, 5)] == [0.25, 0.5, 0.75, 1, 1]


def test_variable_speed_is_slow_first():
    rates = [schedule(i, speed="variable", beta=2) for i in (1, 2, 3, 4, 5)]
    assert rates == [0.0625, 0.25, 0.5625, 1, 1]
    assert schedule(3, speed="variable") == schedule(3)


def test_no_schedule_takes_everything():
    assert schedule(1, speed="none") == 1


@pytest.mark.parametrize("wrong", [{"speed": "fast"}, {"alpha": 0}, {"beta": -1}, {"iteration": 0}])
def test_wrong_schedules_are_named(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        schedule(**{"iteration": 1, **wrong})


def test_importing_the_schedule_stays_cheap():
    """Snakemake's own process imports it and must not pull in torch or scipy."""
    code = "import sys, feel_steps.selection; sys.exit(any(m in sys.modules for m in ('torch', 'scipy', 'sklearn')))"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("size", "rate", "quota"), [(1, 0.25, 1), (2, 0.25, 1), (10, 0.25, 3), (50, 0.29, 15), (4, 1, 4)]
)
def test_quota_keeps_one_and_rounds_halves_up(size, rate, quota):
    rows, rank = select(np.zeros(size, np.int32), np.arange(size), rate)
    assert rows.tolist() == rank.tolist() == list(range(quota))


def test_most_reliable_first_and_ties_by_row():
    cluster = np.array([7, 2, 7, 2, 7], np.int32)
    rows, rank = select(cluster, np.array([0.5, 0.3, 0.1, 0.3, 0.5]), 1.0)
    assert rows.dtype == np.int64 and rank.dtype == np.int32
    assert rows.tolist() == [1, 3, 2, 0, 4] and rank.tolist() == [0, 1, 0, 1, 2]


def test_nothing_to_select_from():
    rows, rank = select(np.zeros(0, np.int32), np.zeros(0), 0.5)
    assert not len(rows) and not len(rank)


@pytest.mark.parametrize("rate", [0, -0.1, 1.01, float("nan")])
def test_wrong_rates_are_named(rate):
    with pytest.raises(InputError, match="rate="):
        select(np.zeros(3, np.int32), np.zeros(3), rate)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=40),
    st.sampled_from([0.1, 0.25, 1 / 3, 0.5, 0.75, 1.0]),
)
def test_against_one_cluster_at_a_time(videos, rate):
    cluster, distance = np.array(videos).T
    expected = []
    for k in sorted(set(cluster.tolist())):
        members = sorted(np.flatnonzero(cluster == k).tolist(), key=lambda i: (distance[i], i))
        expected += members[: max(1, int(len(members) * rate + 0.5))]
    assert select(cluster.astype(np.int32), distance, rate)[0].tolist() == expected


@pytest.mark.parametrize("name", ["dev_rerank_a", "dev_rerank_b"])
@pytest.mark.parametrize("percent", [25, 50, 75, 100])
def test_agrees_with_the_published_selection(name, percent):
    """All clusters but those where the published code rounds a half down or to zero."""
    golden = np.load(find_golden(f"{name}.npz"))
    cluster = golden["rank_label"]  # rows from most to least reliable
    rows, _ = select(cluster, np.arange(len(cluster)), percent / 100)
    rounded_otherwise = 0
    for k in np.unique(cluster):
        ours = golden["rank_video"][rows[cluster[rows] == k]]
        theirs = golden[f"sel_{percent}_video"][golden[f"sel_{percent}_label"] == k]
        quota = (cluster == k).sum() * percent / 100
        if round(quota) != max(1, np.floor(quota + 0.5)):
            rounded_otherwise += 1
            assert len(ours) == len(theirs) + 1
        else:
            assert set(ours.tolist()) == set(theirs.tolist())
    assert rounded_otherwise < len(np.unique(cluster))
