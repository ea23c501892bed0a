"""Labels of some videos: they are read in every form, kept to the letter, and lead the clusters of the others."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import normalized_mutual_info_score

from feel_steps.cluster import cluster, consensus
from feel_steps.dataset.labels import read_labels
from feel_steps.errors import InputError
from feel_steps.selection import select
from feel_steps.tables import tables
from feel_steps.tables.given import Given, read_given


def test_labels_of_videos_and_of_segments(tmp_path):
    """Of segments, the label that lasts longest counts; ids may have a suffix."""
    (tmp_path / "whole.csv").write_text("video_id,label\nb.mp4,wave\na,bow\n")
    (tmp_path / "parts.csv").write_text(
        "video_id,label,t_start,t_end\na,bow,0,2\na,wave,3,4\na,wave,5,5.5\nb,wave,0,1\n"
    )
    for name in ("whole.csv", "parts.csv"):
        found = read_labels(tmp_path / name, ["a", "b", "c"], 3)
        assert found["video_id"].tolist() == ["a", "b"]
        assert found["cluster"].tolist() == [0, 1] and found["name"].tolist() == ["bow", "wave"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video_id,label\nx,wave\n", "row 2: there is no video 'x' in the data set"),
        ("video_id,label\na,\n", "row 2: label is ''"),
        ("video_id,label\na,bow\na,wave\n", "row 3: video 'a' is 'wave' here and 'bow' above; keep one"),
        ("video_id,label\na,bow\nb,wave\nc,clap\n", "3 labels but only 2 clusters; raise clusters"),
        ("video_id,label\n", "no labels in it"),
        ("video_id,name\na,bow\n", "column 'label' is missing"),
        ("video_id,label,t_start,t_end\na,bow,3,2\n", "row 2: from '3' to '2'; expected seconds"),
    ],
)
def test_bad_labels_are_one_line(tmp_path, text, message):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(InputError, match=message) as error:
        read_labels(tmp_path / "labels.csv", ["a", "b", "c"], 2)
    assert "labels.csv" in str(error.value) and "\n" not in str(error.value)


def test_a_wrong_id_in_a_large_data_set_does_not_list_all_videos(tmp_path):
    (tmp_path / "labels.csv").write_text("video_id,label\nwaving,wave\n")
    with pytest.raises(InputError, match=r"there is no video 'waving' .*; there are 0, 1, .*, 29 and 4970 more$"):
        read_labels(tmp_path / "labels.csv", [str(number) for number in range(5000)], 2)


def given(N, fixed=None, banned=(), ignored=()):
    own = np.full(N, -1)
    for row, k in (fixed or {}).items():
        own[row] = k
    return Given(own, np.array(banned, int).reshape(-1, 2), np.isin(np.arange(N), ignored))


def blobs(seed=0, each=12, classes=4, D=6):
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(classes), each)
    return (4 * np.eye(D)[truth] + rng.normal(size=(len(truth), D))).astype(np.float32), truth


def both(features, K, said, before=None):
    """Clusters of both methods."""
    yield consensus([features], K, 0, starts=20, given=said, before=before)[0]["cluster"]
    yield cluster(features, K, 0, given=said, before=before)[0]


def test_labelled_videos_keep_their_clusters_and_the_others_follow():
    features, truth = blobs()
    said = given(len(truth), {0: 3, 12: 2, 24: 1, 36: 0})  # the numbers that a person's labels have
    for found in both(features, 4, said):
        assert found[[0, 12, 24, 36]].tolist() == [3, 2, 1, 0]
        assert np.mean(found == 3 - truth) > 0.9


def test_a_label_for_one_class_leaves_the_others_to_the_method():
    features, truth = blobs()
    for found in both(features, 4, given(len(truth), {0: 2})):
        assert np.mean(found[truth == 0] == 2) > 0.9
        assert normalized_mutual_info_score(truth, found) > 0.8


def test_a_wrong_label_is_kept_to_the_letter_and_no_ban_is_broken():
    features, truth = blobs()
    said = given(len(truth), {0: 0, 1: 0, 12: 1, 24: 2, 36: 3, 13: 0}, banned=[(2, 0), (3, 0), (3, 1)])
    for found in both(features, 4, said):
        assert found[13] == 0 and found[2] != 0 and found[3] not in (0, 1)


def test_numbers_are_those_of_the_iteration_before():
    """Names belong to numbers; a later iteration must not shuffle them."""
    features, truth = blobs()
    before = (truth + 2) % 4
    for found in both(features, 4, given(len(truth), {0: int(before[12])}), before):
        assert np.mean(found[1:] == before[1:]) > 0.9 and found[0] == before[12]


def test_refined_tables_keep_a_persons_word():
    refined = {
        "cluster": np.array([0, 0, 1], np.int32),
        "second": np.array([1, 1, 0], np.int32),
        "distance": np.array([0.2, 0.3, 0.4]),
        "margin": np.array([0.1, 0.1, 0.1]),
    }
    found = given(3, {0: 1}, banned=[(1, 0)]).hold(refined)
    assert found["cluster"].tolist() == [1, 1, 1] and found["second"].tolist() == [0, 0, 0]
    np.testing.assert_allclose(found["distance"], [0, 0.4, 0.4])
    np.testing.assert_allclose(found["margin"], [0.1, 0, 0.1])


def test_a_video_that_is_banned_from_its_nearest_clusters_is_not_trained_on():
    """It was trained on in a cluster of which a person had said that it is wrong."""
    said = given(2, {}, banned=[(0, 0), (0, 1), (0, 2), (1, 2), (1, 0)])
    assert said.obey(np.array([[0.2, 0.5, 0.3], [0.2, 0.3, 0.5]])).tolist() == [1, 1]
    refined = {
        "cluster": np.array([2, 2], np.int32),
        "second": np.array([1, 0], np.int32),
        "distance": np.array([0.2, 0.3]),
        "margin": np.array([0.1, 0.1]),
    }
    held = said.hold(refined)
    assert held["cluster"].tolist() == [2, 2] and held["distance"].tolist() == [0.2, 0.3]
    assert said.left_out(held["cluster"]).tolist() == [True, True]
    assert said.left_out(np.array([2, 1])).tolist() == [True, False]


def test_labelled_videos_are_always_selected():
    cluster, distance = np.array([0, 0, 0, 0, 1]), np.array([0.1, 0.9, 0.8, 0.2, 0.5])
    rows, rank = select(cluster, distance, 0.25, np.array([False, True, True, False, False]))
    assert rows.tolist() == [2, 1, 4] and rank.tolist() == [0, 1, 0]


def test_of_two_tables_the_later_wins(tmp_path):
    """Corrections are made after labels."""

    def write(name, role, cluster):
        columns = {"video_id": ["a"], "role": [role], "cluster": np.array([cluster]), "name": [None]}
        tables.write(tmp_path / name, "given", columns)
        return tmp_path / name

    first = write("labels.parquet", "is", 1)
    assert read_given([first, write("b.parquet", "is", 0)], ["x", "a"], 2).fixed.tolist() == [-1, 0]
    found = read_given([first, write("c.parquet", "ignored", -1)], ["x", "a"], 2)
    assert found.fixed.tolist() == [-1, -1] and found.ignored.tolist() == [False, True]
    assert read_given([first, write("d.parquet", "not", 1)], ["x", "a"]).fixed.tolist() == [-1, -1]
    with pytest.raises(InputError, match="it has cluster 1, but there are 1; raise clusters"):
        read_given([first], ["a"], 1)
    assert read_given(None, ["a"]) is None
