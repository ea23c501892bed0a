"""What breaks if this fails: two groups seem to differ, or not to, for a reason that is in the program."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from feel_steps.cli import app
from feel_steps.errors import InputError
from feel_steps.explore.groups import MEASURES, compare_groups, correct, measure, read_groups, transitions
from feel_steps.tables import tables
from tests.synthetic_run import Shape, build


def make_moments(*rows):
    """Columns of (video, cluster, start, end) rows."""
    video, cluster, start, end = zip(*rows, strict=True) if rows else [()] * 4
    return {
        "video_id": np.array(video, object),
        "cluster": np.array(cluster, np.int32),
        "t_start": np.array(start, float),
        "t_end": np.array(end, float),
        "confidence": np.ones(len(rows)),
    }


def random_videos(rng, sizes, clusters=2, more=0.0):
    """Moments of videos of 60 s; in the last group cluster 0 takes longer by ``more`` seconds a bout."""
    rows, groups = [], {}
    for g, size in enumerate(sizes):
        for n in range(size):
            groups[f"{g}-{n}"] = f"group {g}"
            for slot in range(6):
                if rng.random() < 0.8:
                    c = int(rng.integers(clusters))
                    extra = more if g == len(sizes) - 1 and c == 0 else 0.0
                    start = 10 * slot + 2 * rng.random()
                    rows.append((f"{g}-{n}", c, start, start + 1 + 2 * rng.random() + extra))
    return make_moments(*rows), dict.fromkeys(groups, 60.0), groups


def test_measures_of_a_video():
    moments = make_moments(("a", 0, 3, 5), ("a", 0, 6, 10), ("a", 1, 11, 12), ("c", 0, 0, 30))
    table = measure(moments, {"a": 30.0, "b": 60.0, "c": 30.0}, {"a": "x", "b": "y"}, 2)
    assert table["video_id"].tolist() == ["a", "a", "b", "b"] and table["group"].tolist() == ["x", "x", "y", "y"]
    expected = [[0.2, 4, 3, 3], [1 / 30, 2, 1, 11], [0, 0, np.nan, np.nan], [0, 0, np.nan, np.nan]]
    np.testing.assert_allclose(table[list(MEASURES)].to_numpy(float), expected)


def test_p_is_the_share_of_all_regroupings():
    """Brute force over every way to split the videos; Cliff's delta over every pair of videos."""
    moments, durations, groups = random_videos(np.random.default_rng(1), (4, 5), more=1.0)
    found = compare_groups(moments, durations, groups, 2)
    assert len(found.tests) == 8
    for row in found.tests.itertuples():
        values = found.videos[found.videos["cluster"] == row.cluster].dropna(subset=row.measure)
        value, first = values[row.measure].to_numpy(), (values["group"] == row.group).to_numpy()
        observed = value[first].mean() - value[~first].mean()
        splits = list(combinations(range(len(value)), first.sum()))
        extreme = 0
        for split in splits:
            chosen = np.isin(np.arange(len(value)), split)
            extreme += abs(value[chosen].mean() - value[~chosen].mean()) >= abs(observed) - 1e-12
        assert row.p == pytest.approx(extreme / len(splits))
        assert row.difference == pytest.approx(observed) and row.low <= observed <= row.high
        pairs = [np.sign(a - b) for a in value[first] for b in value[~first]]
        assert row.effect == pytest.approx(np.mean(pairs))


def test_groups_that_do_not_differ_raise_few_alarms():
    """At most one test of twenty; after Holm's correction at most one comparison of twenty has any."""
    rng, alarms, tests, wrong = np.random.default_rng(0), 0, 0, 0
    for _ in range(60):
        moments, durations, groups = random_videos(rng, (6, 6))
        found = compare_groups(moments, durations, groups, 2, permutations=199)
        alarms += (found.tests["p"] <= 0.05).sum()
        tests += len(found.tests)
        wrong += (found.tests["p_corrected"] <= 0.05).any()
    assert tests == 480 and alarms / tests <= 0.05 and wrong / 60 <= 0.05


def test_a_difference_is_found():
    moments, durations, groups = random_videos(np.random.default_rng(0), (12, 12), more=3.0)
    tests = compare_groups(moments, durations, groups, 2).tests.set_index(["cluster", "measure"])
    row = tests.loc[(0, "bout_length")]
    assert row["p_corrected"] < 0.01 and row["effect"] < -0.9 and row["high"] < 0
    assert tests.loc[(1, "bout_length"), "p_corrected"] > 0.05


def test_transitions_and_chance():
    """Against a loop; clusters of different videos never seem to follow each other."""
    rows = [("a", c, i, i + 0.5) for i, c in enumerate([0, 1, 0, 1, 1])]
    rows += [("b", c, i, i + 0.5) for i, c in enumerate([2, 2, 0])] + [("c", 2, 0, 1), ("d", 0, 0, 1), ("d", 1, 2, 3)]
    table = transitions(make_moments(*rows), {"a": "x", "b": "x", "c": "y", "d": "y"}, 3)
    count = table[table["group"] == "x"].pivot(index="cluster", columns="following", values="count").to_numpy()
    assert count.tolist() == [[0, 2, 0], [1, 1, 0], [1, 0, 1]]
    expected = table[table["group"] == "x"].pivot(index="cluster", columns="following", values="expected").to_numpy()
    a = np.outer([2, 2, 0], [1, 3, 0]) / 4
    b = np.outer([0, 0, 2], [1, 0, 1]) / 2
    np.testing.assert_allclose(expected, a + b)
    assert table.groupby("group")["count"].sum().tolist() == [6, 1]


def test_corrections():
    """Holm by its definition; both leave a single test as it is."""
    p = np.array([0.01, 0.04, 0.03, 0.005, 0.9])
    assert correct(p, "holm") == pytest.approx([0.04, 0.09, 0.09, 0.025, 0.9])
    assert correct(p, "bh") == pytest.approx([0.025, 0.05, 0.05, 0.025, 0.9])
    assert correct(p[:1], "holm") == correct(p[:1], "bh") == p[:1] and len(correct(p[:0], "bh")) == 0


def test_the_command_writes_tables_and_says_what_differs(tmp_path):
    run = build(tmp_path, Shape(train=12, test=4, clusters=3, iterations=1, media=0))
    ids = tables.read(run / "videos.parquet", "videos")["video_id"][4:]  # those without quotes and the like
    pd.DataFrame({"video_id": ids, "group": ["old", "young"] * 6}).to_csv(tmp_path / "g.csv", index=False)
    words = ["groups", str(run), str(tmp_path / "g.csv"), "--out", str(tmp_path / "out"), "--permutations", "99"]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "old – young" in done.output and "tests below p = 0.05" in done.output
    assert "4 videos of the run have no group and were left out" in done.output
    for name, kind in [("videos", "group_videos"), ("means", "group_means"), ("tests", "group_tests")]:
        table = tables.read(tmp_path / f"out/{name}.parquet", kind)
        assert len(pd.read_csv(tmp_path / f"out/{name}.csv")) == len(next(iter(table.values()))) > 0
    followers = tables.read(tmp_path / "out/transitions.parquet", "group_transitions")
    assert len(followers["count"]) == 2 * 9
    first = (tmp_path / "out/tests.parquet").read_bytes()
    CliRunner().invoke(app, words, catch_exceptions=False)
    assert (tmp_path / "out/tests.parquet").read_bytes() == first
    page = tmp_path / "report.html"
    shown = ["report", "--run", str(run), "--groups", str(tmp_path / "out"), "--out", str(page)]
    assert CliRunner().invoke(app, shown, catch_exceptions=False).exit_code == 0
    text = page.read_text("utf-8")
    assert 'id="groups"' in text and "Share of the time" in text and "old – young" in text
    assert text.count("old: what follows what, relative to chance") == 2  # its title, and its words for a screen reader
    (run / "metrics.parquet").unlink()  # the workflow says which iteration is shown: metrics come from ground truth
    same = [*words, "--shown", str(run / "feel/seed-0/iter-1"), "--out", str(tmp_path / "same")]
    CliRunner().invoke(app, same, catch_exceptions=False)
    assert (tmp_path / "same/tests.csv").read_bytes() == (tmp_path / "out/tests.csv").read_bytes()
    done = CliRunner().invoke(app, [*same, "--seed", "0"])
    assert "give either --shown, or --variant" in str(done.exception)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,x\nz,y\n", "row 3: no video 'z' in the run"),
        ("a,x\na,y\n", "row 3: video 'a' stands there twice"),
        ("a,\n", "row 2: video 'a' has no group"),
        ("a,x\nb,x\n", "1 group; a comparison needs two or more"),
        ("a,x\nb,x\nc,y\n", "too few videos in 'y'"),
    ],
)
def test_groups_that_cannot_be_compared_are_named(tmp_path, text, message):
    (tmp_path / "g.csv").write_text("video_id,group\n" + text)
    with pytest.raises(InputError, match=message):
        read_groups(tmp_path / "g.csv", np.array(["a", "b", "c"], object))
