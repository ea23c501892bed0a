"""What breaks if this fails: a person is shown one moment twice, or a segment that no detection supports."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feel_steps.errors import InputError
from feel_steps.explore.moments import Rule, find_moments, one_at_a_time, read_rule


def detections(*rows, video="v"):
    """Columns of (cluster, score, start, end) rows of one video."""
    cluster, score, start, end = zip(*rows, strict=True)
    return {
        "video_id": np.array([video] * len(rows), object),
        "cluster": np.array(cluster, np.int32),
        "score": np.array(score, float),
        "t_start": np.array(start, float),
        "t_end": np.array(end, float),
    }


def told(moments):
    """Moments as (cluster, start, end)."""
    columns = (moments[name].tolist() for name in ("cluster", "t_start", "t_end"))
    return list(zip(*columns, strict=True))


@st.composite
def videos(draw):
    whole = st.integers(0, 20)
    row = st.tuples(st.integers(0, 2), st.integers(-2, 9).map(lambda n: n / 8), whole, whole)
    rows = draw(st.lists(row.filter(lambda r: r[2] < r[3]), min_size=1, max_size=25))
    return detections(*rows)


@given(videos(), st.sampled_from(["all", "cluster"]), st.sampled_from([0, 2]), st.sampled_from([0, 1, 3]))
def test_moments_keep_the_rule(found, overlap, shortest, gap):
    """No overlap, none too short, none left to join, and none where there was no detection of its cluster."""
    moments = find_moments(found, Rule(overlap, shortest, gap))
    for own in (
        [moments["cluster"] == c for c in range(3)]
        if overlap == "cluster"
        else [np.ones(len(moments["cluster"]), bool)]
    ):
        start, end, cluster = (moments[name][own] for name in ("t_start", "t_end", "cluster"))
        assert (start[1:] >= end[:-1]).all()
        assert ((start[1:] - end[:-1] > gap) | (cluster[1:] != cluster[:-1])).all()
    assert (moments["t_end"] - moments["t_start"] >= shortest).all()
    assert ((moments["confidence"] > 0) & (moments["confidence"] <= 1)).all()
    for c, start, end in told(moments):
        of_cluster = (found["cluster"] == c) & (found["score"] > 0)
        covered = [
            ((found["t_start"] <= t) & (found["t_end"] >= t + 1) & of_cluster).any() for t in np.arange(start, end)
        ]
        assert covered[0] and covered[-1] and (gap or all(covered))
    best = np.lexsort((found["t_end"], found["t_start"], -found["score"]))
    best = [row for row in best if found["score"][row] > 0 and found["t_end"][row] - found["t_start"][row] >= shortest]
    if best:  # the strongest is a moment, or the middle of a joined one
        c, a, b = (found[name][best[0]] for name in ("cluster", "t_start", "t_end"))
        assert any(own == c and start <= a and b <= end for own, start, end in told(moments))


def test_the_strongest_wins_and_others_are_trimmed():
    found = detections(
        (0, 0.9, 10, 20), (0, 0.8, 0, 30), (1, 0.7, 18, 30), (1, 0.6, 5, 16), (2, 0.5, 8, 22), (1, 0.4, 40, 40.2)
    )
    assert told(find_moments(found, Rule())) == [(0, 10, 20), (1, 20, 30)]  # 5 to 16 keeps less than half
    assert told(find_moments(found, Rule("cluster"))) == [(1, 5, 16), (2, 8, 22), (0, 10, 20), (1, 18, 30)]
    assert told(find_moments(found, Rule(shortest=0.1)))[-1] == (1, 40, 40.2)


def test_small_gaps_are_joined():
    """Not over a moment of another cluster; the confidence is that of the parts, by their length."""
    found = detections((0, 0.8, 0, 4), (0, 0.4, 4.4, 5.4), (0, 0.5, 7, 8), (1, 0.9, 8.1, 8.2), (0, 0.3, 8.3, 9))
    moments = find_moments(found, Rule(shortest=0.05))
    assert told(moments) == [(0, 0, 5.4), (0, 7, 8), (1, 8.1, 8.2), (0, 8.3, 9)]
    assert moments["confidence"][0] == pytest.approx((0.8 * 4 + 0.4) / 5)


def test_confidence_is_no_more_than_that_of_the_cluster():
    """A clustered video counts as itself, others by their cluster; a cluster without videos vouches for nothing."""
    one, two = detections((0, 1.5, 0, 1), (1, 0.5, 2, 3), (2, 0.9, 4, 5)), detections((0, 0.5, 0, 1), video="w")
    both = {name: np.concatenate([one[name], two[name]]) for name in one}
    sure = {"video_id": np.array(["v", "x"], object), "cluster": np.array([0, 1]), "stability": np.array([0.8, 0.6])}
    sure["confidence"] = np.array([0.5, 0.6])
    moments = find_moments(both, Rule(), sure)
    assert moments["confidence"] == pytest.approx([0.5, 0.3, 0.0, 0.4])


def test_subtitles_show_one_at_a_time():
    found = detections((0, 0.9, 10, 20), (1, 0.7, 18, 30))
    apart = find_moments(found, Rule("cluster"))
    assert told(one_at_a_time(apart)) == [(0, 10, 20), (1, 20, 30)]


def test_nothing_found_makes_no_moments():
    nothing = {name: values[:0] for name, values in detections((0, 1, 0, 1)).items()}
    moments = find_moments(nothing, Rule(), None)
    assert {name: len(values) for name, values in moments.items()} == dict.fromkeys(moments, 0)


def test_wrong_settings_are_named():
    for settings, message in [
        ({"overlap": "none"}, "moments.overlap 'none': expected all or cluster"),
        ({"shortest": -1}, "moments.shortest: -1 is not a number of seconds"),
        ({"gap": "x"}, "moments.gap: 'x' is not a number of seconds"),
        ({"space": 1}, "moments.space: unknown; expected overlap, shortest or gap"),
    ]:
        with pytest.raises(InputError, match=message):
            read_rule(settings)
