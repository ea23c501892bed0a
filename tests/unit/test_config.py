"""A config that cannot work is refused before anything runs, with the key's name and the remedy."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from feel_steps.config import METHODS, check, merge, read_arguments, resolve, retype
from feel_steps.dataset.checks import check_dataset, find_left_over, find_replaced, settle_layout
from feel_steps.errors import InputError
from feel_steps.features.checks import check_extractor
from tests.paths import ROOT

SCHEMA = ROOT / "schemas/config.schema.yaml"


def config(**changes):
    """The default config with changes, section by section."""
    return merge(yaml.safe_load((ROOT / "config.yaml").read_text()), changes)


def check_all(changed):
    """What is checked before a run starts, as in rules/common.smk."""
    check(changed, SCHEMA)
    check_dataset(changed, {variant: resolve(changed, variant)["clusters"] for variant in changed["variants"]})
    check_extractor(changed)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"refine": {"kk1": 20}}, ["unknown key 'refine.kk1'", "did you mean 'k1'?"]),
        ({"itterations": 3}, ["unknown key 'itterations'", "did you mean 'iterations'?"]),
        ({"alpha": 0.5}, ["unknown key 'alpha'", "did you mean 'select.alpha'?"]),
        ({"extracter": "i3d"}, ["unknown key 'extracter'", "did you mean 'features.extractor'?"]),
        ({"train": {"clusters": 4}}, ["unknown key 'train.clusters'", "did you mean 'clusters'?"]),
        ({"path": "clips"}, ["unknown key 'path'", "did you mean 'dataset.path'?"]),
        ({"short_side": 96}, ["'features.descriptors.short_side' or 'features.i3d.short_side'"]),
        ({"dataset.path": "clips"}, ["unknown key 'dataset.path'", "write dataset={path: value}"]),
        ({"zebra": 1}, ["unknown key 'zebra'", "there are name, method,"]),
        ({"variants": {"a": {"alpha": 0.5}}}, ["unknown key 'variants.a.alpha'", "did you mean 'select.alpha'?"]),
        ({"select": {"alpha": "fast"}}, ["'select.alpha'", "'fast'", "a number above 0, up to 1"]),
        ({"refine": {"lambda": 1.5}}, ["'refine.lambda'", "1.5", "from 0 to 1"]),
        ({"parts": {"longest": float("inf")}}, ["'parts.longest' is inf", "a finite number"]),
        ({"evaluate": {"tiou": [0.5, float("nan")]}}, ["'evaluate.tiou.1' is nan"]),
        ({"variants": {"a": {"segments": {"window": float("inf")}}}}, ["'variants.a.segments.window' is inf"]),
        ({"name": "../up"}, ["'name'", "../up", "folder name"]),
        ({"seeds": []}, ["'seeds'", "list of different whole numbers"]),
        ({"seeds": [0, 0]}, ["'seeds'", "list of different whole numbers"]),
        ({"clusters": 0}, ["'clusters'", "whole number from 2"]),
        ({"clusters": True}, ["'clusters'", "True"]),
        ({"evaluate": {"tiou": [0]}}, ["'evaluate.tiou.0'", "above 0"]),
        ({"train": {"localizer": "colla"}}, ["colla", "did you mean 'cola'?"]),
        ({"method": "mine"}, ["'method' is 'mine'", "views or feel"]),
        ({"pool": {"views": ["third"]}}, ["'pool.views.0'", "'third' is not one of"]),
        ({"pool": {"views": ["adapted"]}}, ["'pool.views' has 'adapted'", "set train.settings.adapter"]),
        (
            {"variants": {"a": {"train": {"localizer": "aicl"}, "pool": {"views": ["adapted"]}}}},
            ["variant 'a'", "set train.settings.adapter"],
        ),
        ({"train": {"settings": {"hiden": 8}}}, ["hiden", "did you mean 'hidden'?"]),
        ({"variants": {"a": {"refine": {"methd": "none"}}}}, ["unknown key", "methd", "did you mean 'method'?"]),
        ({"variants": {"a": {"train": {"localizer": "x"}}}}, ["variant 'a'", "'x'"]),
        ({"variants": {"../a": {}}}, ["'variants'", "../a"]),
        ({"dataset": {"layout": "cola", "path": "nowhere"}}, ["'dataset.path'", "there is no 'nowhere'"]),
        ({"dataset": {"layout": "cola", "path": ".", "split": "."}}, ["'dataset.split'", "split_train.txt"]),
        ({"dataset": {"layout": "videos", "path": None}}, ["'dataset.path' is not set", "videos"]),
        (
            {"dataset": {"layout": "videos", "path": "."}, "features": {"extractor": "i3d"}},
            ["'features.i3d.weights_rgb' is not set", "rgb_imagenet.pt", "pytorch-i3d"],
        ),
        (
            {"dataset": {"layout": "videos", "path": "."}, "features": {"window": 2}},
            ["'features.frames.frames' is 4", "1 to features.window, 2"],
        ),
        (
            {
                "dataset": {"layout": "videos", "path": "."},
                "features": {"extractor": "streams", "streams": {"pose": 1}, "window": 4},
            },
            ["'features.pose.frames' is 8", "2 to features.window, 4"],
        ),
        (
            {"dataset": {"layout": "cola", "path": "."}, "features": {"extractor": "i3d"}},
            ["'features.extractor' is 'i3d'", "layout 'cola' reads features that exist", "leave it out"],
        ),
        ({"train": {"settings": {"hidden": 0}}}, ["'hidden' is 0", "whole number of 1 or more"]),
        ({"train": {"settings": {"r_class": 8}}}, ["no setting 'r_class'", "'aicl' has it", "under 'variants'"]),
        ({"localize": {"nms": 0}}, ["'localize.nms'", "above 0, up to 1"]),
        ({"localize": {"cas_thresholds": [0.5, 0.1, 0.1]}}, ["'localize.cas_thresholds'", "stop not below start"]),
        (
            {"variants": {"a": {"localize": {"actionness_thresholds": [0.1, 0.9, 0]}}}},
            ["variant 'a'", "'localize.actionness_thresholds'", "step above 0"],
        ),
        ({"device": "gpu"}, ["'device'", "'gpu'", "cuda:N"]),
    ],
)
def test_a_wrong_key_is_named_with_its_remedy(changes, words):
    with pytest.raises(InputError) as error:
        check_all(config(**changes))
    assert all(word in str(error.value) for word in words), error.value
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("preset", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_presets_are_valid(preset, tmp_path, monkeypatch):
    """A preset that its own schema refuses would be the first thing a user sees."""
    changes = yaml.safe_load(preset.read_text())
    monkeypatch.chdir(tmp_path)
    dataset = changes.get("dataset", {})  # a preset may go on top of another
    for key in ("path", "annotations"):
        if place := dataset.get(key):
            Path(place).mkdir(parents=True, exist_ok=True)
    for number in range(changes["clusters"] if dataset else 0):
        Path(dataset["path"], f"{number}.{'npy' if dataset['layout'] == 'features' else 'mp4'}").touch()
    check_all(config(**changes))


def test_a_split_is_read_before_any_work(tmp_path):
    """Its form, and how many videos it leaves for training."""
    for number in range(4):
        (tmp_path / f"{number}.npy").touch()
    changes = {"layout": "features", "path": str(tmp_path), "split": str(tmp_path / "split.csv")}
    (tmp_path / "split.csv").write_text("video_id,split\n0,validation\n")
    with pytest.raises(InputError, match=r"split.csv, row 2: split is 'validation'; expected train or test"):
        check_all(config(dataset=changes, clusters=3))
    (tmp_path / "split.csv").write_text("video_id,split\nO,train\n")
    with pytest.raises(InputError, match=r"split.csv, row 2: there is no video 'O' in the data set; there are 0, 1, 2"):
        check_all(config(dataset=changes))
    (tmp_path / "split.csv").write_text("video_id,split\n0,train\n1,train\n2,test\n3,test\n")
    with pytest.raises(InputError, match="'clusters' is 3, but there are only 2 training videos"):
        check_all(config(dataset=changes, clusters=3))


def test_few_recordings_may_hold_many_actions(tmp_path):
    """Parts are for recordings of many actions each; there are more parts than videos."""
    for number in range(4):
        (tmp_path / f"{number}.npy").touch()
    changes = {"clusters": 8, "dataset": {"layout": "features", "path": str(tmp_path)}}
    with pytest.raises(InputError, match="'clusters' is 8, but there are only 4 training videos"):
        check_all(config(**changes))
    check_all(config(**changes, parts={"cut": True}))


def test_an_approximate_ranking_without_faiss_is_refused_before_any_work(monkeypatch):
    """Else a run of 10⁶ videos would stop after days of extraction; without CCI, nothing is ranked."""
    monkeypatch.setattr("feel_steps.ranking.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"refine.ranking: .* pip install 'feel-steps\[faiss\]'"):
        check(config(method="feel", refine={"ranking": "approximate"}), SCHEMA)
    check(config(method="views", refine={"ranking": "approximate"}), SCHEMA)


def test_a_variant_changes_only_what_it_names():
    base = config(method="feel", variants={"own": {}, "slow": {"select": {"speed": "variable"}, "iterations": 6}})
    own, slow = resolve(base, "own"), resolve(base, "slow")
    assert slow["select"] == own["select"] | {"speed": "variable"} and slow["iterations"] == 6
    assert {k: v for k, v in slow.items() if k not in ("select", "iterations")} == {
        k: v for k, v in own.items() if k not in ("select", "iterations")
    }
    assert own["select"]["speed"] == "constant" and base["select"]["speed"] is None


def test_a_method_sets_what_the_config_leaves_open_and_nothing_else():
    """Else a preset of the paper's method would run with parts of ours, or a user's own setting would be lost."""
    base = config(select={"share": 0.5}, variants={"ours": {}, "feel": {"method": "feel", "pool": {"views": ["mean"]}}})
    ours, feel = resolve(base, "ours"), resolve(base, "feel")
    assert (ours["pool"]["views"], ours["cluster"]["method"], ours["refine"]["method"]) == ("auto", "consensus", "none")
    assert (feel["pool"]["views"], feel["cluster"]["method"], feel["refine"]["method"]) == (["mean"], "kmeans", "cci")
    assert (ours["select"]["speed"], feel["select"]["speed"]) == ("none", "constant")
    assert ours["select"]["share"] == feel["select"]["share"] == 0.5


def test_every_method_sets_every_value_that_the_config_leaves_open():
    base = config()
    for method in METHODS:
        own = resolve(base | {"method": method}, None)
        for section in METHODS[method]:
            assert None not in [value for key, value in own[section].items() if key in METHODS[method][section]]
            assert {key for key, value in base[section].items() if value is None} <= set(METHODS[method][section])


@pytest.mark.parametrize("localizer", ["cola", "aicl", "co2net"])
def test_an_adapter_stands_before_either_localizer(localizer):
    changes = {"pool": {"views": ["adapted"]}, "train": {"localizer": localizer, "settings": {"adapter": 64}}}
    check(config(variants={"adapted": changes}), SCHEMA)


def test_numbers_in_braces_on_the_command_line_are_numbers():
    """--config 'seeds=[0, 1]' 'train={learning_rate: 1e-4}' 'dataset={path: a/2, split: null}'"""
    given = {
        "seeds": ["0", "1"],
        "train": {"learning_rate": "1e-4", "localizer": "cola"},
        "demo": {"train": "30"},
        "features": {"i3d": {"ten_crop": "true"}},
    }
    numbers = {
        "seeds": [0, 1],
        "train": {"learning_rate": 1e-4, "localizer": "cola"},
        "demo": {"train": 30},
        "features": {"i3d": {"ten_crop": True}},
    }
    assert retype(given) == numbers and retype(numbers) == numbers
    check(config(**retype(given)), SCHEMA)
    assert retype({"path": "a/2", "split": "null"}) == {"path": "a/2", "split": None}


@pytest.mark.parametrize("text", ["2024_05_12", "20240512", "1e5", "007", "true", "no", "0x1F", "12:30:00", "1_000"])
def test_values_of_text_keys_stay_what_was_typed(text):
    """A folder named by a date became a number, and no quotes helped."""
    entries = [f"name={text}", f"dataset={{layout: videos, path: {text}, split: null, parts: 3}}", "seeds=[0, 1]"]
    read = read_arguments([*entries, "device=cpu", "clusters=4", "variants={a: {pool: {normalize: false}}}"], SCHEMA)
    assert read["name"] == text
    assert read["dataset"] == {"layout": "videos", "path": text, "split": None, "parts": 3}
    assert (read["seeds"], read["clusters"], read["device"]) == ([0, 1], 4, "cpu")
    assert read["variants"] == {"a": {"pool": {"normalize": False}}}


def test_arguments_of_one_section_add_up():
    read = read_arguments(["train={steps: 5}", "train={settings: {hidden: 8}}", "custom={day: 2024_05_12}"], SCHEMA)
    assert read == {"train": {"steps": 5, "settings": {"hidden": 8}}, "custom": {"day": "2024_05_12"}}


def test_a_section_that_is_given_one_value_names_the_key_that_was_meant():
    with pytest.raises(
        InputError, match=r"key 'cluster' is 4; expected settings, cluster=\{setting: value\}; did you mean 'clu"
    ):
        check(config() | {"cluster": 4}, SCHEMA)
    with pytest.raises(InputError, match=r"features=\{setting: value\}; there are extractor, streams"):
        check(config() | {"features": "frames"}, SCHEMA)


def test_a_path_without_a_layout_is_taken_for_what_lies_there(tmp_path):
    """Else the demo was rendered, or the person was sent back to read about layouts."""
    given = config(dataset={"path": str(tmp_path)})
    with pytest.raises(InputError, match="'dataset.path': .*neither videos nor feature arrays in it"):
        settle_layout(given)
    (tmp_path / "a.MP4").touch()
    settled, said = settle_layout(given)
    assert settled["dataset"] == given["dataset"] | {"layout": "videos"} and given["dataset"]["layout"] == "demo"
    assert said == f"dataset.layout is not set: {tmp_path} is taken for layout 'videos' by the names of its files"
    for complete in (settled, config()):
        assert settle_layout(complete) == (complete, "")
    with pytest.raises(InputError, match="no such folder"):
        settle_layout(config(dataset={"path": "gone"}))
    assert settle_layout({"dataset": 4}) == ({"dataset": 4}, ""), "the schema says what is wrong"


def test_results_of_another_number_of_clusters_are_named_before_they_are_replaced(tmp_path):
    """A finished run was replaced without a word."""
    for seed in (0, 1):
        folder = tmp_path / f"feel/seed-{seed}/iter-1"
        folder.mkdir(parents=True)
        pq.write_table(pa.table({"cluster": range(6)}), folder / "centres.parquet")
    assert find_replaced(tmp_path, {"feel": 6, "other": 4}) == []
    (line,) = find_replaced(tmp_path, {"feel": 4, "other": 4})
    assert line.startswith(f"clusters changed from 6 to 4: the results of 6 clusters in {tmp_path / 'feel'} will be re")
    (tmp_path / "feel/seed-0/iter-1/centres.parquet").write_bytes(b"damaged")
    assert len(find_replaced(tmp_path, {"feel": 4})) == 1


def test_results_that_no_number_of_clusters_asks_for_are_named(tmp_path):
    """Who looks for 4 and 6 clusters after 6 finds an old folder beside the new ones; other variants are a choice."""
    for variant in ("feel", "feel-k4", "paper"):
        (tmp_path / variant / "seed-0").mkdir(parents=True)
    assert find_left_over(tmp_path, ["feel", "feel-k4"]) == []
    (line,) = find_left_over(tmp_path, ["feel-k4", "feel-k6"])
    assert line.startswith(f"{tmp_path / 'feel'}: results of variant 'feel', which clusters no longer asks for")
    (line,) = find_left_over(tmp_path, ["feel"])
    assert line.startswith(f"{tmp_path / 'feel-k4'}: ")


def test_a_variant_with_another_localizer_leaves_the_settings_of_the_first():
    """CoLA's own settings would be unknown to AICL, and the run refused."""
    base = config(
        train={"settings": {"hidden": 64, "r_easy": 3}},
        variants={"aicl": {"train": {"localizer": "aicl", "settings": {"hidden": 32}}}},
    )
    check(base, SCHEMA)
    assert resolve(base, "aicl")["train"]["settings"] == {"hidden": 32}


def test_paths_of_windows_are_paths():
    """A drive letter has a colon, and a backslash is no escape there."""
    check(config(dataset={"layout": "videos", "path": r"C:\Users\me\clips"}, features={"cache": r"D:\cache"}), SCHEMA)
    typed = read_arguments([r"dataset={layout: videos, path: 'C:\clips'}"], SCHEMA)
    assert typed["dataset"]["path"] == r"C:\clips"
