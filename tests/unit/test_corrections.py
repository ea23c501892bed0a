"""Corrections: what a person said is read whole, contradictions are named, and what is shown follows."""

from __future__ import annotations

import numpy as np
import pytest

from feel_steps.dataset.annotations import match_ids
from feel_steps.dataset.corrections import (
    Corrections,
    Mark,
    digest_constraints,
    list_constraints,
    match_corrections,
    read_corrections,
)
from feel_steps.errors import InputError
from feel_steps.explore.corrections import correct_moments, list_unmatched, load_corrections, name_clusters
from feel_steps.explore.moments import Rule
from feel_steps.explore.results import Run
from feel_steps.tables import tables
from feel_steps.tables.run import identify
from tests.synthetic_run import Shape, build

VIDEOS = {"video_id": np.array(["a"], object), "duration": np.array([5.0])}
OF = "of: {variant: feel, seed: 0, iteration: 2, centres: abc}\n"
MOMENT = "{video_id: a, cluster: 0, t_start: 1, t_end: 2"


def given(**changes) -> Corrections:
    return Corrections("feel", 0, 2, "abc", **changes)


def table(*rows):
    """A moments table of (video, cluster, start, end, confidence)."""
    names = ("video_id", "cluster", "t_start", "t_end", "confidence")
    columns = list(zip(*rows, strict=True)) or [()] * 5
    types = {"video_id": object, "cluster": np.int32}
    return {name: np.array(column, types.get(name, float)) for name, column in zip(names, columns, strict=True)}


def rows(moments):
    return list(zip(*(moments[name].tolist() for name in moments), strict=True))


def test_a_file_is_read_whole(tmp_path):
    file = tmp_path / "corrections.yaml"
    file.write_text(
        OF + "names: {0: ' waving  hands'}\nmerges: [[0, 3]]\nmoves: {'7': 1}\nignored: [b]\nmoments:\n"
        f"  - {MOMENT}, mark: right, borders: [0.5, 2]}}\n",
        encoding="utf-8",
    )
    found = read_corrections(file)
    assert (found.names, found.merges, found.moves) == ({0: "waving hands"}, [[0, 3]], {"7": 1})
    assert found.moments == [Mark("a", 0, 1, 2, "right", (0.5, 2))]
    assert found.shown_as(5) == [0, 1, 2, 0, 4]
    assert read_corrections(file).content["moments"] == [
        {"video_id": "a", "cluster": 0, "t_start": 1, "t_end": 2, "mark": "right", "borders": (0.5, 2)}
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [", "not YAML"),
        ("- a", "a list; expected what the page saves"),
        ("", "a NoneType"),
        ("names: {}", "missing key 'of'"),
        (OF + "moved: {a: 1}", "unknown key 'moved'; did you mean 'moves'?"),
        (OF + "moves: {a: one}", "key 'moves.a' is 'one'; expected the number of a cluster"),
        (OF + "moves: {7: 1}", "7 is no id of a video; write it in quotes"),
        (OF + "names: {wave: a}", "names: there is no cluster 'wave'"),
        (OF + "moves: {a: 1, a: 2}", "'a' stands twice, the second time in line 2; keep one of the two"),
        (OF + "merges: [[0, 1], [1, 2]]", "cluster 1 is in two groups"),
        (OF + "merges: [[0, 1]]\nnames: {0: a, 1: b}", "clusters 0 and 1 are merged but named 'a' and 'b'"),
        (OF + "moves: {a: 1}\nignored: [a]", "video 'a' is both moved and ignored"),
        (OF + f"moments: [{MOMENT}}}]", "mark .right or wrong. or borders"),
        (OF + f"moments: [{MOMENT}, mark: good}}]", "is 'good'; expected right or wrong"),
        (OF + f"moments: [{MOMENT}, mark: wrong, borders: [1, 3]}}]", "it is wrong, but has borders"),
        (OF + f"moments: [{MOMENT}, borders: [3, 1]}}]", "it ends before it starts"),
        (OF + f"moments: [{MOMENT}, mark: right}}, {MOMENT}, mark: wrong}}]", "listed twice, as right and as wrong"),
        (OF + f"ignored: [a]\nmoments: [{MOMENT}, mark: right}}]", "its video is ignored"),
        (
            OF + f"moments: [{MOMENT}, mark: right}}, {MOMENT.replace('1', '1.5')}, mark: right}}]",
            "overlaps another moment of the cluster that you keep",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, text, message):
    (tmp_path / "corrections.yaml").write_text(text)
    with pytest.raises(InputError, match=message) as error:
        read_corrections(tmp_path / "corrections.yaml")
    assert "corrections.yaml: " in str(error.value) and "\n" not in str(error.value)


def test_ids_are_matched_and_unknown_ones_named():
    found = match_corrections(given(moves={"v_a.mp4": 1}), match_ids(["a", "b"]), ["a", "b"], "c.yaml")
    assert found.moves == {"a": 1}
    with pytest.raises(InputError, match="c.yaml: there is no video 'x' in the data set"):
        match_corrections(given(ignored=["x"]), match_ids(["a", "b"]), ["a", "b"], "c.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"moves": {"a.mp4": 0, "v_a": 1}}, "c.yaml: 'a.mp4' and 'v_a' are the same video, 'a'; keep one"),
        ({"moves": {"a.mp4": 0}, "ignored": ["a"]}, "c.yaml: video 'a' is both moved and ignored; keep one"),
        ({"moments": [Mark("a", 0, 1, 2, "right"), Mark("v_a", 0, 1, 2, "wrong")]}, "as right and as wrong"),
    ],
)
def test_contradictions_under_several_names_of_a_video_are_refused(changes, message):
    """One of the two would win, and nobody would be told which."""
    with pytest.raises(InputError, match=message):
        match_corrections(given(**changes), match_ids(["a", "b"]), ["a", "b"], "c.yaml")


def test_corrections_of_other_clusters_are_refused(tmp_path):
    """Numbers mean nothing after the clusters were computed anew."""
    (tmp_path / "corrections.yaml").write_text(OF)
    centres = tmp_path / "centres.parquet"
    tables.write(centres, "centres", {"cluster": np.arange(2), "feature": np.eye(2)})
    with pytest.raises(InputError, match="made for other clusters than those of feel, seed 0, iteration 2"):
        load_corrections(tmp_path / "corrections.yaml", VIDEOS, centres)


def test_a_moment_after_the_end_of_its_video_is_refused(tmp_path):
    """It would be shown and exported with confidence 1."""
    centres = tmp_path / "centres.parquet"
    tables.write(centres, "centres", {"cluster": np.arange(2), "feature": np.eye(2)})
    of = OF.replace("abc", identify(tables.read(centres, "centres")["feature"]))
    mark = "moments: [{video_id: a, cluster: 1, t_start: 3, t_end: 12, mark: right}]"
    (tmp_path / "corrections.yaml").write_text(f"{of}\n{mark}")
    with pytest.raises(InputError, match=r"a moment of 'a' ends at 12 s, but the video at 5 s; correct its times"):
        load_corrections(tmp_path / "corrections.yaml", VIDEOS, centres)


def test_which_constraints_follow():
    marks = [
        Mark("a", 0, 1, 2, "right"),
        Mark("a", 1, 3, 5, "", (3, 6)),  # more time than the other: the video's cluster
        Mark("b", 2, 1, 2, "wrong"),
        Mark("c", 2, 1, 2, "wrong"),
        Mark("c", 2, 3, 4, "right"),
        Mark("d", 0, 1, 2, "right"),
    ]
    found = given(moments=marks, moves={"d": 3}, ignored=["e"], names={0: "x"})
    expected = [("a", "is", 1), ("b", "not", 2), ("c", "is", 2), ("d", "is", 3), ("e", "ignored", None)]
    assert list_constraints(found) == expected
    assert digest_constraints(found) == digest_constraints(given(moments=marks, moves={"d": 3}, ignored=["e"]))
    assert digest_constraints(found) != digest_constraints(given(moments=marks, moves={"d": 2}, ignored=["e"]))
    assert found.holds_from("feel", 0, 3) and not found.holds_from("feel", 0, 2) and not found.holds_from("feel", 1, 3)


def test_what_is_shown_follows_the_corrections():
    moments = table(
        ("a", 0, 0, 2, 0.5), ("a", 1, 2, 4, 0.4), ("b", 2, 0, 1, 0.3), ("c", 1, 0, 1, 0.2), ("d", 0, 5, 9, 0.6)
    )
    assigned = {"a": 0, "b": 2, "c": 1, "d": 0}
    corrections = given(merges=[[0, 2]], moves={"a": 1}, ignored=["c"], moments=[Mark("d", 0, 5, 9, "wrong")])
    expected = [("a", 1, 0, 4, 0.45), ("b", 0, 0, 1, 0.3)]
    assert rows(correct_moments(moments, corrections, assigned)) == expected


@pytest.mark.parametrize("overlap", ["all", "cluster"])
def test_moments_of_merged_clusters_are_one_bout(overlap):
    """A comparison of groups would count a bout twice, and its time, too."""
    moments = table(
        ("a", 0, 0, 3, 0.5), ("a", 1, 3.2, 6.2, 0.3), ("a", 0, 8, 9, 0.5), ("b", 0, 0, 1, 0.2), ("b", 2, 1, 2, 0.2)
    )
    more = table(("c", 0, 0, 6, 0.5), ("c", 1, 2, 4, 0.3), ("c", 2, 3, 5, 0.3), ("c", 1, 5, 8, 0.2))
    if overlap == "cluster":
        moments = {name: np.concatenate([moments[name], more[name]]) for name in moments}
    found = rows(correct_moments(moments, given(merges=[[0, 1]]), {"a": 0, "b": 0, "c": 0}, Rule(overlap)))
    expected = [("a", 0, 0, 6.2, 0.4), ("a", 0, 8, 9, 0.5), ("b", 0, 0, 1, 0.2), ("b", 2, 1, 2, 0.2)]
    if overlap == "cluster":
        expected += [("c", 0, 0, 8, 4.2 / 11), ("c", 2, 3, 5, 0.3)]
    assert [row[:4] for row in found] == [row[:4] for row in expected]
    assert [row[4] for row in found] == pytest.approx([row[4] for row in expected])


@pytest.mark.parametrize(
    ("mark", "expected"),
    [
        (Mark("a", 1, 2, 6, "wrong"), [("a", 0, 0, 2, 0.5)]),  # on the page where the two were apart
        (Mark("a", 0, 0, 6, "wrong"), []),  # on the page that shows them as one
        (Mark("a", 0, 0, 6, "", (1, 6)), [("a", 0, 1, 6, 1.0)]),
        (Mark("a", 1, 2, 6, "right"), [("a", 0, 0, 2, 0.5), ("a", 0, 2, 6, 1.0)]),  # borders that a person saw stay
    ],
)
def test_marks_find_moments_of_merged_clusters_apart_and_joined(mark, expected):
    """Else a person's "wrong" does nothing, or takes a moment with it that was not meant."""
    moments = table(("a", 0, 0, 2, 0.5), ("a", 1, 2, 6, 0.4))
    assert rows(correct_moments(moments, given(merges=[[0, 1]], moments=[mark]), {"a": 0})) == expected


def test_marks_of_another_page_are_found_out():
    """After another training, "wrong" did nothing and "right" made a moment up, and nobody was told."""
    later, former = table(("a", 0, 0, 2, 0.5), ("a", 1, 2, 6, 0.4)), table(("a", 0, 3, 5, 0.5), ("b", 0, 0, 2, 0.5))
    fit = [Mark("a", 0, 0.1, 2, "wrong"), Mark("a", 0, 3, 5, "right", (3, 8)), Mark("b", 2, 0, 2, "right")]
    none = [Mark("a", 1, 0, 2, "right"), Mark("b", 0, 8, 9, "wrong")]
    corrections = given(merges=[[0, 2]], moments=[none[0], *fit, none[1]])
    clusters = {"a": 0, "b": 0}
    assert list_unmatched(corrections, [(former, clusters), (later, clusters)], clusters) == none


def test_what_is_marked_in_a_moved_video_moves_with_it():
    """The page showed them under the former cluster: a wrong moment would stay, and a right one would not move."""
    moments = table(("a", 0, 0, 3, 0.5), ("a", 0, 5, 8, 0.5), ("a", 1, 10, 12, 0.5))
    marks = [Mark("a", 0, 0, 3, "wrong"), Mark("a", 0, 5, 8, "right", (5, 9)), Mark("a", 1, 10, 12, "right")]
    corrections = given(moves={"a": 2}, moments=marks)
    expected = [("a", 2, 5, 9, 1.0), ("a", 1, 10, 12, 1.0)]
    assert rows(correct_moments(moments, corrections, {"a": 0})) == expected
    later = table(("a", 2, 0, 3, 0.5), ("a", 2, 5, 8, 0.5), ("a", 1, 10, 12, 0.5))
    assert rows(correct_moments(later, corrections, {"a": 2}, former={"a": 0})) == expected


def test_a_video_of_merged_clusters_moves_with_the_moments_of_both():
    """The page shows both under one number: half of the moments stayed behind, and marks on the others were lost."""
    moments = table(("a", 0, 0, 3, 0.5), ("a", 1, 5, 8, 0.5), ("a", 1, 9, 12, 0.5))
    corrections = given(merges=[[0, 1]], moves={"a": 2}, moments=[Mark("a", 0, 5, 8, "wrong")])
    assert rows(correct_moments(moments, corrections, {"a": 1})) == [("a", 2, 0, 3, 0.5), ("a", 2, 9, 12, 0.5)]


@pytest.mark.parametrize("overlap", ["all", "cluster"])
def test_new_borders_leave_no_two_moments_over_each_other(overlap):
    moments = table(("a", 0, 0, 4, 0.5), ("a", 1, 4, 6, 0.4), ("a", 0, 6, 9, 0.3), ("a", 1, 9, 12, 0.3))
    corrections = given(moments=[Mark("a", 1, 4.1, 6, "right", (3, 8))])
    found = rows(correct_moments(moments, corrections, {"a": 0}, Rule(overlap)))
    right = ("a", 1, 3, 8, 1.0)
    if overlap == "all":  # the third has a third of its length left, and is gone
        assert found == [("a", 0, 0, 3, 0.5), right, ("a", 1, 9, 12, 0.3)]
    else:
        assert found == [moment for moment in [*rows(moments)[:1], right, *rows(moments)[2:]]]


def test_names_go_to_all_that_is_merged():
    labels = {"cluster": np.array([0, 1]), "name": np.array(["bow", "clap"], object)}
    names = name_clusters(4, given(merges=[[1, 3]], names={1: "wave"}), labels)
    assert names["shown_as"].tolist() == [0, 1, 2, 1]
    assert names["name"].tolist() == ["bow", "wave", None, "wave"]


def test_the_shown_iteration_is_corrected_however_it_is_named(tmp_path):
    """A script that names the variant would otherwise read moments that a person has removed."""
    folder = build(tmp_path, Shape(train=8, test=2, iterations=2, media=0))
    last = tables.read(folder / "feel/seed-0/iter-2/moments.parquet", "moments")
    tables.write(folder / "moments.parquet", "moments", {name: values[1:] for name, values in last.items()})
    run = Run(folder)
    for named in ({"variant": "feel"}, {"seed": 0}, {"iteration": 2}):
        assert run.moments(**named).equals(run.moments())
    assert len(run.moments()) == len(last["cluster"]) - 1


def test_a_moment_that_was_judged_right_stays_sure_where_a_later_one_trims_it():
    """Else it falls to the confidence of its unsure neighbour, and both become one."""
    found = table(("a", 0, 0.0, 2.0, 0.5), ("a", 0, 2.2, 6.0, 0.4), ("a", 1, 7.0, 9.0, 0.3))
    marks = [Mark("a", 0, 2.2, 6.0, "right"), Mark("a", 1, 7.0, 9.0, "right", (5.0, 9.0))]
    corrected = correct_moments(found, given(moments=marks), {"a": 0}, Rule(gap=1.0))
    assert rows(corrected) == [("a", 0, 0.0, 2.0, 0.5), ("a", 0, 2.2, 5.0, 1.0), ("a", 1, 5.0, 9.0, 1.0)]
