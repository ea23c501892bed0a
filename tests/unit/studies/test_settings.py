"""Settings of the studies: their names, what they change, and what they share."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from feel_steps.config import check, merge, resolve
from feel_steps.dataset.checks import check_dataset
from feel_steps.errors import InputError
from studies.measures import read_pooled
from studies.settings import get_variants, read_studies
from studies.sharing import get_owners
from tests.paths import ROOT

SCHEMA = ROOT / "schemas/config.schema.yaml"
ABOUT = {"title": "t", "question": "q", "paper": "p"}


def config(**changes):
    """The default config under the paper's method, with changes, section by section."""
    return merge(yaml.safe_load((ROOT / "config.yaml").read_text()), {"method": "feel", **changes})


def read(tmp_path, entry, **changes):
    """The one study of a file, and the config."""
    own = config(**changes)
    file = tmp_path / "studies.yaml"
    file.write_text(yaml.safe_dump({"one": {**ABOUT, **entry}}, sort_keys=False))
    return read_studies(file, own, "one", SCHEMA)["one"], own


def test_a_grid_has_every_combination_and_names_what_differs_from_the_config(tmp_path):
    grid = {"refine.method": {"no CCI": "none", "CCI": "cci"}, "select.alpha": [0.25, 0.5]}
    study, _ = read(tmp_path, {"grid": grid})
    assert [(one.label, one.variant) for one in study.settings] == [
        ("no CCI, alpha 0.25", "refine.method-none"),
        ("no CCI, alpha 0.5", "refine.method-none+select.alpha-0.5"),
        ("CCI, alpha 0.25", "feel"),
        ("CCI, alpha 0.5", "select.alpha-0.5"),
    ]
    assert study.reference == "CCI, alpha 0.25"


def test_a_name_does_not_depend_on_how_a_study_writes_its_settings(tmp_path):
    """Or two studies would run the same setting twice."""
    one, _ = read(tmp_path, {"settings": {"a": {"select": {"speed": "none"}, "clusters": 3}}})
    two, _ = read(tmp_path, {"base": {"clusters": 3}, "grid": {"select.speed": ["none"]}})
    assert one.settings[0].variant == two.settings[0].variant == "clusters-3+select.speed-none"


def test_a_setting_that_the_config_runs_anyway_is_that_variant(tmp_path):
    variants = {"feel": {}, "plain": {"refine": {"method": "none"}}}
    study, _ = read(tmp_path, {"grid": {"refine.method": ["cci", "none"]}}, variants=variants)
    assert [one.variant for one in study.settings] == ["feel", "plain"]


def test_any_other_section_makes_a_variant_of_its_own(tmp_path):
    """Else a study of parts runs the config as it is, and calls the result parts."""
    study, _ = read(tmp_path, {"settings": {"whole": {}, "parts": {"parts": {"cut": True}}}})
    assert [one.variant for one in study.settings] == ["feel", "parts.cut-true"]


def test_settings_lie_over_the_first_variant(tmp_path):
    study, own = read(tmp_path, {"settings": {"a": {"clusters": 3}}}, variants={"feel": {"refine": {"k1": 7}}})
    (setting,) = study.settings
    assert resolve({**own, "variants": {"a": setting.overrides}}, "a")["refine"]["k1"] == 7


@pytest.mark.parametrize(("clusters", "expected"), [(6, [3, 12]), (5, [3, 10]), (1, [1, 2])])
def test_multiples_of_the_config_stay_whole_numbers_from_one(tmp_path, clusters, expected):
    study, own = read(tmp_path, {"grid": {"clusters": ["x0.5", "x2"]}}, clusters=clusters)
    resolved = [resolve({**own, "variants": {"a": one.overrides}}, "a") for one in study.settings]
    assert [one["clusters"] for one in resolved] == expected
    assert [one.x for one in study.settings] == expected


def test_another_localizer_takes_nothing_but_what_is_asked_of_the_first_ones_settings(tmp_path):
    aicl = {"train": {"localizer": "aicl", "settings": {"hidden": "x1", "m": "x1"}}}
    study, own = read(tmp_path, {"settings": {"a": aicl}})
    resolved = resolve({**own, "variants": {"a": study.settings[0].overrides}}, "a")
    assert resolved["train"]["settings"] == {"hidden": own["train"]["settings"]["hidden"]}


def test_settings_of_another_localizer_are_part_of_the_name(tmp_path):
    """They say nothing about the first localizer's own, even where they are the same numbers."""
    settings = {
        "a": {"train": {"localizer": "aicl", "settings": {"hidden": "x1"}}},
        "b": {"train": {"localizer": "aicl"}},
    }
    study, _ = read(tmp_path, {"settings": settings})
    names = [one.variant for one in study.settings]
    assert names == ["train.localizer-aicl+train.settings.hidden-256", "train.localizer-aicl"]


def test_without_annotations_true_labels_are_left_out(tmp_path):
    entry = {"settings": {"labels": {"true_labels": True}, "plain": {}}, "reference": {"labels": "plain"}}
    data = {"layout": "videos", "path": str(tmp_path), "annotations": None}
    study, _ = read(tmp_path, entry, dataset=data)
    assert [one.label for one in study.settings] == ["plain"]
    study, _ = read(tmp_path, entry)
    assert [(one.variant, one.true_labels) for one in study.settings] == [("true-labels", True), ("feel", False)]
    assert study.settings[0].overrides["iterations"] == 1


def test_true_labels_of_parts_are_refused(tmp_path):
    """An annotated class is one of a whole video: two rules would make its tables, and Snakemake would stop."""
    bound = {"true_labels": True}
    with pytest.raises(
        InputError, match=r"study 'one', setting 'bound': true labels .* set parts: \{cut: false\} in it"
    ):
        read(tmp_path, {"settings": {"bound": bound, "plain": {}}}, parts={"cut": True})
    with pytest.raises(InputError, match="setting 'bound'"):
        read(tmp_path, {"settings": {"bound": {**bound, "parts": {"cut": True}}}})
    whole = {"settings": {"bound": {**bound, "parts": {"cut": False}}, "plain": {}}}
    assert len(read(tmp_path, whole, parts={"cut": True})[0].settings) == 2
    data = {"layout": "videos", "path": str(tmp_path), "annotations": None}
    study, _ = read(tmp_path, {"settings": {"bound": bound, "plain": {}}}, parts={"cut": True}, dataset=data)
    assert [one.label for one in study.settings] == ["plain"]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"grids": {}}, ["unknown key 'one.grids'", "did you mean 'grid'?"]),
        ({}, ["one", "one of settings, grid and program"]),
        ({"settings": {"a": {"refine": {"methd": "cci"}}}}, ["study 'one', setting 'a'", "did you mean 'method'?"]),
        ({"grid": {"select.alpha": [2]}}, ["study 'one', setting 'alpha 2'", "a number above 0, up to 1"]),
        ({"settings": {"a": {"x": "far"}}}, ["'one.settings.a.x'", "'far'", "a number"]),
        ({"settings": {"a": {}}, "metrics": ["mAp"]}, ["study 'one': key 'metrics'", "'mAp'; did you mean 'mAP'?"]),
        ({"settings": {"a": {}}, "lower": ["NMI"]}, ["study 'one': key 'lower'", "no metric 'NMI'"]),
        ({"settings": {"a": {}}, "reference": "b"}, ["study 'one'", "'b' is none of its settings: a"]),
    ],
)
def test_a_wrong_entry_is_named_with_its_place(tmp_path, entry, words):
    with pytest.raises(InputError) as error:
        read(tmp_path, entry)
    assert all(word in str(error.value) for word in [str(tmp_path / "studies.yaml"), *words]), error.value
    assert "\n" not in str(error.value)


def test_what_data_or_localizer_do_not_allow_is_refused_with_the_name_of_the_setting(tmp_path):
    """The workflow checks all variants; the name says which setting it is."""
    for entry, words in [
        ({"grid": {"clusters": [6, 60]}}, "variant 'clusters-60': key 'clusters' is 60, but"),
        ({"settings": {"wide": {"train": {"settings": {"hiden": 8}}}}}, "variant 'train.settings.hiden-8': .*'hidden'"),
    ]:
        study, own = read(tmp_path, entry)
        own["variants"] |= {name: one.overrides for name, one in get_variants({"one": study}, own).items()}
        with pytest.raises(InputError, match=words):
            check(own, SCHEMA)
            check_dataset(own, {name: resolve(own, name)["clusters"] for name in own["variants"]})


def test_an_unknown_study_is_refused_with_those_that_there_are(tmp_path):
    read(tmp_path, {"settings": {"a": {}}})
    file, own = tmp_path / "studies.yaml", config()
    assert list(read_studies(file, own, "all", SCHEMA)) == list(read_studies(file, own, "one", SCHEMA)) == ["one"]
    with pytest.raises(InputError, match="has no study 'two' for these data; it has one"):
        read_studies(file, own, ["two"], SCHEMA)


@pytest.mark.parametrize("method", ["views", "feel"])
def test_every_entry_of_the_shipped_file_can_run(method):
    own = config(method=method)
    studies = read_studies(ROOT / "studies/studies.yaml", own, "all", SCHEMA)
    assert all(len(study.settings) <= 10 for study in studies.values())
    check({**own, "variants": {name: one.overrides for name, one in get_variants(studies, own).items()}}, SCHEMA)


def test_a_method_in_the_settings_is_part_of_the_name_with_what_differs_from_its_defaults(tmp_path):
    """What is null in the config means another thing under another method, so that one name could mean two settings."""
    grid = {"refine.method": ["none", "cci"]}
    study, own = read(tmp_path, {"base": {"method": "feel"}, "grid": grid}, method="views")
    assert [one.variant for one in study.settings] == ["method-feel+refine.method-none", "method-feel"]
    own["variants"] = {one.variant: one.overrides for one in study.settings}
    assert [resolve(own, name)["refine"]["method"] for name in own["variants"]] == ["none", "cci"]


def owners(**variants):
    own = {name: resolve(config(variants={name: overrides}), name) for name, overrides in variants.items()}
    return get_owners(own, {name: name == "truth" for name in own if name != "feel"})


def test_tables_are_shared_up_to_the_first_stage_that_differs():
    shared = owners(
        feel={},
        a={"refine": {"method": "none"}},
        b={"refine": {"method": "none"}, "localize": {"nms": 0.5}},
        c={"attend": {"sampling": "windows"}},
    )
    assert {file for file in shared if file.startswith("a/")} == {
        "a/iter-1/pooled.parquet",
        "a/iter-1/clusters.parquet",
        "a/iter-1/centres.parquet",
    }
    assert shared["b/iter-4/model.safetensors"] == "a" and shared["b/iter-1/centres.parquet"] == "feel"
    assert "b/iter-1/detections.parquet" not in shared
    assert "c/iter-1/model.safetensors" in shared and "c/iter-1/attention.parquet" not in shared


def test_pooling_and_selection_are_compared_by_what_they_do():
    """The first iteration always takes the mean; one rate is one selection, whatever the speed is called."""
    shared = owners(
        feel={}, a={"pool": {"views": ["mean"]}}, b={"select": {"speed": "variable", "beta": 1}, "iterations": 6}
    )
    assert "a/iter-1/model.safetensors" in shared and "a/iter-2/pooled.parquet" not in shared
    assert "b/iter-4/detections.parquet" in shared and "b/iter-5/pooled.parquet" not in shared


def test_what_true_labels_made_is_never_taken_for_a_clustering():
    shared = owners(feel={}, truth={})
    assert "truth/iter-1/clusters.parquet" in shared and "truth/iter-1/refined.parquet" not in shared


def test_a_tables_folder_tells_seed_and_iteration():
    with pytest.raises(InputError, match="pooled.parquet: expected a table in"):
        read_pooled([Path("pooled.parquet")])
