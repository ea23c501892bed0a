"""True labels in place of clusters: if these fail, the bound that the report shows is of something else."""

from __future__ import annotations

import numpy as np
import pytest

from feel_steps.errors import InputError
from studies.true_labels import true_classes


def truth(*pairs):
    video_id, label = zip(*pairs, strict=True)
    zeros = np.zeros(len(pairs))
    return {"video_id": np.array(video_id, object), "label": np.array(label, object), "t_start": zeros, "t_end": zeros}


def test_true_classes_stand_where_clusters_would():
    annotations = truth(("v1", "run"), ("v1", "jump"), ("v1", "run"), ("v2", "jump"), ("test", "swim"))
    table, selected = true_classes(np.array(["v2", "v1", "nobody"], object), annotations, 2)
    assert table["video_id"].tolist() == ["v2", "v1"]
    assert table["cluster"].tolist() == [0, 1]  # jump, run: the first label of each
    assert selected["video_id"].tolist() == ["v2", "v1", "v1"] and selected["cluster"].tolist() == [0, 1, 0]


def test_more_classes_than_clusters_are_refused_with_the_number_to_set():
    annotations = truth(("v1", "run"), ("v2", "jump"))
    with pytest.raises(InputError, match="2 classes in the training videos, but clusters is 1.*needs clusters: 2"):
        true_classes(np.array(["v1", "v2"], object), annotations, 1)
    with pytest.raises(InputError, match="no training video has any"):
        true_classes(np.array(["v3"], object), annotations, 1)
