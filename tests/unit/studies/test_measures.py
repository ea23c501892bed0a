"""How clusters are judged in the studies: by annotated videos only, and selected ones by their cluster's majority."""

import numpy as np
import pytest

from studies.measures import first_classes, judge


def test_a_video_is_of_its_first_annotated_class_and_may_have_none():
    annotations = {"video_id": np.array(["b", "a", "b"], object), "label": np.array(["run", "jump", "jump"], object)}
    assert first_classes(np.array(["a", "b", "c"], object), annotations).tolist() == [0, 1, -1]


def test_selected_videos_are_judged_by_the_majority_of_their_whole_cluster():
    classes = np.array([0, 0, 0, 1, 1, 1, -1])
    labels = np.array([0, 0, 0, 0, 1, 1, 1], np.int32)
    distance = np.array([2, 3, 4, 1, 1, 2, 0.5])
    measured = judge(classes, labels, distance)  # selects video 3, of the wrong class, and the unannotated one
    assert measured["purity"] == pytest.approx(5 / 6)
    assert measured["purity selected"] == 0
    assert 0 < measured["AMI"] < measured["NMI"] < 1
