"""Selection beyond localization: the same schedule has to reach the images and the anomaly detector."""

import pytest

from benchmarks.digits import anomaly_detection, image_clustering
from tests.unit.studies.few import same, values


def test_images_are_clustered_by_what_was_learnt_on_the_selected_ones():
    tiny = {"seeds": (3,), "iterations": 2, "steps": 5, "images": 100, "dimension": 8}
    table = image_clustering(**tiny)
    first = [values(table, f"CCI, {speed}", "NMI")[0] for speed in ("all at once", "constant speed", "variable speed")]
    assert first[0] == first[1] == first[2] > 0.4  # nothing is learnt yet
    assert len(set(table["setting"])) == 6 and set(table["iteration"]) == {1, 2} and set(table["seed"]) == {3}
    assert same(table, image_clustering(**tiny))


def test_anomalies_stay_out_until_everything_is_selected():
    table = anomaly_detection(seeds=(0,), shares=(0.2,), normal=(0, 4))
    constant, at_once = (values(table, name, "contamination") for name in ("constant speed", "all at once"))
    assert constant[:2].max() < 0.05 and at_once == pytest.approx([0.2] * 4, abs=0.01)
    constant, at_once = (values(table, name, "AUROC") for name in ("constant speed", "all at once"))
    assert constant[2] > at_once[2] and constant[3] == at_once[3]
