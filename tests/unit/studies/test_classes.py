"""Subsets of classes: K must follow the subset, and the videos of no class stay out."""

from studies.classes import classes
from tests.unit.studies.few import make_pooled, same, values


def test_as_many_clusters_as_classes_up_to_all_of_them():
    pooled, annotations = make_pooled(classes=4, seeds=(0,), iterations=(1, 2))
    table = classes(pooled, annotations, counts=(2, 3, 20), draws=2)
    assert set(table["x"]) == {2, 3, 4}
    for setting in ("k-means", "CCI"):
        assert (values(table, setting, "NMI") > 0.8).all()  # of 9 clusters it would be .7
    assert set(table["iteration"]) == {1, 2}
    assert same(table, classes(pooled, annotations, counts=(2, 3, 20), draws=2))
