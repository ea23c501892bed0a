"""What comes from outside stays data: no shell reads it, no pickle, and no path leads elsewhere.

tests/workflow/test_hostile.py runs the workflow on such names; tests/unit/test_report.py has the page.
"""

from __future__ import annotations

import os
import re

import numpy as np
import pytest
import yaml
from jsonschema import Draft202012Validator

from feel_steps.config import merge
from feel_steps.dataset.cola import import_cola
from feel_steps.dataset.files import list_files
from feel_steps.dataset.folder import import_videos
from feel_steps.errors import InputError
from feel_steps.explore.export import export
from feel_steps.tables.snippets import load_snippets
from tests.paths import ROOT

CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())
HOSTILE = ["a; b", "$(touch x)", "`touch x`", "a'b\"c", "../up", "-rf", "--out", "a b", "a\nb", "demo\n", "{part}", ""]

# Paths may hold whatever file systems allow, but braces and control characters: Snakemake takes {…} for a wildcard.
PATHS = set(
    [
        "split",
        "annotations",
        "labels",
        "corrections",
        "groups",
        "path",
        "videos",
        "key",
        "model",
        "cache",
        "weights_rgb",
        "weights_flow",
        "container",
    ]
)
PATHS |= {"weights", "detector", "landmarks"}
REGISTERED = {"localizer"}  # must name an entry of a registry, which tests/unit/test_config.py has
SCHEMA = Draft202012Validator(yaml.safe_load((ROOT / "schemas/config.schema.yaml").read_text()))


def get_texts(section, above=()):
    """Keys of the config that hold, or may hold, a string."""
    for key, value in section.items():
        if isinstance(value, dict):
            yield from get_texts(value, (*above, key))
        elif (value is None or isinstance(value, str)) and key not in REGISTERED:
            yield (*above, key)


@pytest.mark.parametrize("value", HOSTILE)
def test_no_hostile_value_passes_the_schema(value):
    """Names and choices are a closed set; what is free is a path, and quoted."""
    for key in get_texts(CONFIG):
        changes = value
        for name in reversed(key):
            changes = {name: changes}
        anywhere = key[-1] in PATHS and not re.search(r"[{}\n]", value) and value
        assert SCHEMA.is_valid(merge(CONFIG, changes)) == bool(anywhere), key
    assert not SCHEMA.is_valid({**CONFIG, "variants": {value: {}}})
    assert SCHEMA.is_valid(CONFIG)


def test_every_value_in_a_rule_is_quoted():
    """Bare are numbers, and options that flags() has quoted."""
    numbers = {"threads", "wildcards.seed", "wildcards.iteration", "wildcards.part"}
    numbers |= {"params.clusters", "params.window", "params.iteration"}
    words = "options place device corrections settings previous names truth about given groups said cuts"
    options = {f"params.{name}" for name in words.split()}
    for file in (ROOT / "rules").glob("*.smk"):
        for shell in re.findall(r"^    shell:\n((?: {8}.*\n)+)", file.read_text(), re.MULTILINE):
            assert set(re.findall(r"\{([^{}:]+)\}", shell)) <= numbers | options, f"{file.name}: {shell}"


# ------------------------------------------------------------------------------------------------------------- links


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "set/day").mkdir(parents=True)
    (tmp_path / "set/day/a.mp4").write_bytes(b"a")
    (tmp_path / "far").mkdir()
    (tmp_path / "far/secret.mp4").write_bytes(b"secret")
    return tmp_path / "set"


@pytest.mark.parametrize("target", ["/etc/passwd", "../far/secret.mp4", "../far", "/", "../far/gone", ".."])
def test_a_link_that_leads_out_is_named(folder, target):
    """A data set that somebody else packed must not bring other files of this machine into a report."""
    (folder / "b").symlink_to(target)
    expected = rf"{re.escape(str(folder))}/b: a link to .*, outside of the folder; .* set dataset.links: anywhere"
    for step in (list_files, import_videos, lambda place: import_cola(place, fps=25, window=16, stride=16)):
        with pytest.raises(InputError, match=expected):
            step(folder)


def test_links_that_may_lead_out_are_followed(folder):
    """A folder of links to videos elsewhere, as many people have."""
    (folder / "b.mp4").symlink_to("../far/secret.mp4")
    (folder / "more").symlink_to("../far")
    assert list(list_files(folder, "anywhere")) == ["b.mp4", "day/a.mp4", "more/secret.mp4"]


def test_links_inside_and_the_folder_itself_are_followed(folder, tmp_path):
    """A data set on another disk; one that a version control keeps in a hidden folder of its own."""
    (folder / ".objects").mkdir()
    (folder / ".objects/c").write_bytes(b"c")
    (folder / "c.mp4").symlink_to(".objects/c")
    (folder / "again").symlink_to("day")  # read under its own name
    (folder / "day/back").symlink_to("..")  # leads round
    (folder / "self").symlink_to("self")
    (tmp_path / "data").symlink_to("set")
    with pytest.raises(InputError, match="self: cannot be read"):
        list_files(tmp_path / "data")
    (folder / "self").unlink()
    assert list(list_files(tmp_path / "data")) == ["c.mp4", "day/a.mp4"]


def test_pipes_and_devices_are_passed_over(folder):
    """Opening a pipe would wait for ever."""
    os.mkfifo(folder / "b.mp4")
    (folder / "null.mp4").symlink_to("/dev/null")
    assert list(list_files(folder, "anywhere")) == ["day/a.mp4"]


# ------------------------------------------------------------------------------------------------- ids and tables


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "a/../../x", "a\\x", "a\0b"])
def test_no_id_leads_elsewhere(tmp_path, name):
    (tmp_path / "split_train.txt").write_text(f"{name}\n")
    with pytest.raises(InputError, match="split_train.txt, line 1: .* cannot be a video id"):
        import_cola(tmp_path, fps=25, window=16, stride=16)
    videos = {"video_id": np.array([name], object)}
    nothing = {column: np.zeros(0) for column in ("video_id", "cluster", "score", "t_start", "t_end")}
    with pytest.raises(InputError, match="cannot be a video id"):
        export(nothing, videos, tmp_path / "out", form="vtt")


@pytest.mark.parametrize("part", ["../part-0000.parquet", "/part-0000.parquet", "..", "a/b"])
def test_no_feature_part_lies_elsewhere(tmp_path, part):
    videos = {"video_id": ["a"], "split": ["train"], "n_snippets": [1], "part": [part]}
    with pytest.raises(InputError, match="column 'part' is '.*'; expected the name of a file in"):
        load_snippets({name: np.array(values, object) for name, values in videos.items()}, tmp_path)


def test_pickled_features_are_refused(tmp_path):
    """An .npy file may hold Python objects, and code to make them."""
    (tmp_path / "split_train.txt").write_text("a\n")
    for stream in ("rgb", "flow"):
        (tmp_path / "features/train" / stream).mkdir(parents=True)
        np.save(tmp_path / "features/train" / stream / "a.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(InputError, match="an array of Python objects, which only pickle could read"):
        import_cola(tmp_path, fps=25, window=16, stride=16)
