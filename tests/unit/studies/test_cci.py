"""CCI's settings and limits: a wrong row here would recommend a wrong setting."""

import numpy as np
import pytest

from feel_steps.errors import InputError
from studies.cci import few_videos, noise, parameter
from studies.measures import compare, first_classes
from studies.settings import PROGRAMS
from tests.unit.studies.few import make_pooled, same, values


@pytest.mark.parametrize(("name", "values_"), [("k1", (3, 20)), ("k2", (1, 6)), ("lambda", (0, 0.3))])
def test_one_parameter_is_changed_and_the_others_are_as_published(name, values_):
    pooled, annotations = make_pooled()
    table = parameter(pooled, annotations, clusters=3, name=name, values=values_)
    assert {x for s, x in zip(table["setting"], table["x"], strict=True) if s == "CCI"} == set(values_)
    assert (values(table, "k-means", "NMI") == 1).all() and len(values(table, "k-means", "NMI")) == 2
    published = compare(pooled[0, 1]["feature"], truth(pooled, annotations), 3, 0, {"": {}})[""]
    assert values(table, "CCI", "NMI", values_[1])[0] == published["NMI"]


def truth(pooled, annotations):
    return first_classes(pooled[0, 1]["video_id"], annotations)


def test_the_same_seeds_give_the_same_table():
    pooled, annotations = make_pooled()
    for study in (noise, few_videos):
        options = {"levels": (0, 3)} if study is noise else {"sizes": (3,), "draws": 2}
        assert same(*(study(pooled, annotations, clusters=3, **options) for _ in range(2)))


def test_noise_starts_at_the_features_as_they_are_and_ends_at_chance():
    pooled, annotations = make_pooled()
    table = noise(pooled, annotations, clusters=3, levels=(0, 100))
    for setting in ("k-means", "CCI"):
        assert (values(table, setting, "NMI", 0) == 1).all()
        assert (values(table, setting, "AMI", 100) < 0.5).all()


def test_few_videos_ends_at_all_of_them_and_leaves_out_what_there_is_not():
    pooled, annotations = make_pooled()
    table = few_videos(pooled, annotations, clusters=3, sizes=(3, 50), draws=2)
    assert set(table["x"]) == {3, 12}
    assert set(table["setting"]) == {"k-means", "CCI", "CCI, k1 = N/K"}
    assert np.isfinite(table["value"]).all()
    assert set(table["metric"]) == set(PROGRAMS["few-videos"][1])


def test_without_annotations_there_is_nothing_to_compare_with():
    pooled, annotations = make_pooled()
    nothing = {name: column[:0] for name, column in annotations.items()}
    with pytest.raises(InputError, match="annotations: no training video has any"):
        parameter(pooled, nothing, clusters=3)


def test_an_unknown_parameter_is_named():
    pooled, annotations = make_pooled()
    with pytest.raises(InputError, match="parameter 'k3': unknown; expected one of k1, k2, lambda"):
        parameter(pooled, annotations, clusters=3, name="k3")
