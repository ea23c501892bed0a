"""Every reader gets damaged and hostile files: a person reads one line that names the file, never a traceback.

All damage is drawn from seeds. ``FEEL_FUZZ=100 pytest tests/unit/test_damaged_files.py`` tries a hundred times as many.
"""

from __future__ import annotations

import io
import json
import os
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from feel_steps.config import check, merge, read_arguments, resolve, spread
from feel_steps.dataset.annotations import read_annotations
from feel_steps.dataset.array_file import ArrayError, read_array
from feel_steps.dataset.checks import settle_layout
from feel_steps.dataset.cola import open_npy
from feel_steps.dataset.corrections import read_corrections
from feel_steps.dataset.files import identifier
from feel_steps.dataset.folder import read_split
from feel_steps.dataset.labels import read_labels
from feel_steps.errors import InputError
from feel_steps.evaluation.activitynet import map_files, read_predictions
from feel_steps.explore.inspect_arrays import _durations
from feel_steps.explore.launch import _read_settings
from feel_steps.explore.names import read_names
from feel_steps.localizers import weights
from feel_steps.tables import tables
from tests.paths import ROOT

TIMES = int(os.environ.get("FEEL_FUZZ", "1"))
EACH = 40  # damaged files for each reader
SCHEMA = ROOT / "schemas/config.schema.yaml"
DEFAULT = yaml.safe_load((ROOT / "config.yaml").read_text("utf-8"))
# what may stand where a number, a word or a list is expected
ODD: list[Any] = [None, True, -1, 0, 1e999, -0.0, 10**400, "", "x", "1e5", "\0", "é", "a/../b", "\ud800", [], {}, [[]]]
WORDS = [b"NaN", b"1e999", b"null", b"{", b"[", b'"', b",", b"\n", b"\0", b"\xff", b": ", b"&a *a", b"!!python/name:x "]
VIDEOS = {"video_id": np.array(["a", "b"], object), "duration": np.array([9.0, 9.0])}
TRUTH = {
    "database": {
        "a": {"subset": "test", "duration": 9.0, "annotations": [{"label": "run", "segment": [1.0, 2.5]}]},
        "b": {"subset": "test", "duration": 9.0, "annotations": []},
    }
}
FOUND = {"results": {"a": [{"label": "run", "score": 0.5, "segment": [1.0, 2.0]}]}}
ANNOTATIONS = 'video_id,label,t_start,t_end\na,run,1,2.5\nb,"a ""bow""",0.5,3\n'
REGIONS = [
    {"type": "timelinelabels", "value": {"ranges": [{"start": 1, "end": 20}], "timelinelabels": ["run"]}},
    {"type": "labels", "value": {"start": 1, "end": 2, "labels": ["bow"]}},
]
OBSERVATION = {"file": {"1": ["a.mp4"]}, "events": [[1.0, "", "run", "", ""], [2.0, "", "run", "", ""]]}
TOOLS = {  # what annotation tools write
    "label-studio.json": json.dumps(
        [{"data": {"video": "a.mp4", "fps": 25}, "annotations": [{"was_cancelled": False, "result": REGIONS}]}]
    ),
    "boris.json": json.dumps(
        {"behaviors_conf": {"0": {"type": "State event", "code": "run"}}, "observations": {"a": OBSERVATION}}
    ),
    "tabular.tsv": "Observation id\tTime\tBehavior\tBehavior type\na\t1\trun\tSTART\na\t2\trun\tSTOP\n",
    "aggregated.tsv": "Observation id\tBehavior\tStart (s)\tStop (s)\na\trun\t1\t2.5\n",
    "a.eaf": """<ANNOTATION_DOCUMENT><TIME_ORDER><TIME_SLOT TIME_SLOT_ID="t1" TIME_VALUE="1000"/>
        <TIME_SLOT TIME_SLOT_ID="t2" TIME_VALUE="2000"/></TIME_ORDER><TIER TIER_ID="x"><ANNOTATION>
        <ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="t1" TIME_SLOT_REF2="t2"><ANNOTATION_VALUE>run
        </ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER></ANNOTATION_DOCUMENT>""",
}
SPLIT = "video_id,split\na,train\nb,test\n"


def damage(content: bytes, rng: random.Random) -> bytes:
    """Flip bits, cut off, zero, repeat or replace a piece, or put anything at all in its place."""
    data = bytearray(content)
    place = rng.randrange(len(data))
    end = min(len(data), place + rng.choice([1, 4, 64, len(data)]))
    kind = rng.randrange(7)
    if kind == 0:
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del data[place:]
    elif kind == 2:
        data[place:end] = bytes(end - place)
    elif kind == 3:
        data[place:end] = rng.randbytes(end - place)
    elif kind == 4:
        data[place:place] = rng.choice(WORDS)
    elif kind == 5:
        data[place:place] = data[place:end]
    else:
        data = bytearray(rng.randbytes(rng.randrange(200)))
    return bytes(data)


def distort(value: Any, rng: random.Random) -> Any:
    """Put something odd at a random place of nested lists and mappings."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        if rng.random() < 0.1:
            return {**{k: v for k, v in value.items() if k != key}, rng.choice(["", "x", "database", "é"]): value[key]}
        return {**value, key: distort(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.85:
        i = rng.randrange(len(value))
        return [*value[:i], distort(value[i], rng), *value[i + 1 :]]
    return rng.choice(ODD)


def distort_json(content: bytes, rng: random.Random) -> bytes:
    """Valid JSON of another form, or a damaged file."""
    return json.dumps(distort(json.loads(content), rng)).encode() if rng.random() < 0.6 else damage(content, rng)


def distort_yaml(content: bytes, rng: random.Random) -> bytes:
    """Valid YAML of another form, or a damaged file."""
    value = distort(yaml.safe_load(content), rng)
    return yaml.safe_dump(value).encode(errors="replace") if rng.random() < 0.6 else damage(content, rng)


def save(write: Callable[..., Any], *arguments: Any) -> bytes:
    """What a function writes into a file."""
    file = io.BytesIO()
    write(file, *arguments)
    return file.getvalue()


def arrays() -> dict[str, bytes]:
    """A good file of each format of arrays."""
    import torch
    from safetensors.numpy import save as to_safetensors

    array = np.random.default_rng(0).random((5, 3), np.float32)
    return {
        ".npy": save(np.save, array),
        ".npz": save(lambda file: np.savez(file, feats=array)),
        ".pt": save(lambda file: torch.save({"feats": torch.from_numpy(array)}, file)),
        ".safetensors": to_safetensors({"feats": array}),
    }


def hdf5() -> bytes:
    h5py = pytest.importorskip("h5py")

    def write(file: io.BytesIO) -> None:
        with h5py.File(file, "w") as h5:
            h5["group/feats"] = np.ones((5, 3), np.float32)

    return save(write)


def survives(
    read: Callable[[Path], Any], file: Path, contents: Callable[[random.Random], bytes], each: int = EACH
) -> None:
    """Let a reader read many damaged files; each is read, or refused in one line."""
    refused = 0
    for number in range(each * TIMES):
        rng = random.Random(f"{number} {file.name}")
        content = contents(rng)
        file.write_bytes(content)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read(file)
        except (InputError, ArrayError) as error:
            refused += 1
            assert str(error).strip() and "\n" not in str(error), (number, content[:300], str(error))
        except Exception as error:
            raise AssertionError(f"{file.name}, number {number}: {content[:300]!r}") from error
    assert refused > each * TIMES / 10, "the damage did nothing"


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt", ".safetensors", ".h5"])
def test_arrays(tmp_path, suffix):
    good = hdf5() if suffix == ".h5" else arrays()[suffix]
    (tmp_path / f"good{suffix}").write_bytes(good)
    assert read_array(tmp_path / f"good{suffix}").shape == (5, 3)
    survives(read_array, tmp_path / f"a{suffix}", lambda rng: damage(good, rng))


def test_an_array_under_any_other_suffix(tmp_path):
    """As published files are, renamed to fit a layout."""
    for suffix in (".npy", ".npz", ".pt", ".safetensors"):
        others = [content for name, content in arrays().items() if name != suffix]
        survives(read_array, tmp_path / f"a{suffix}", lambda rng, others=others: rng.choice(others))
    survives(open_npy, tmp_path / "b.npy", lambda rng: damage(arrays()[".npy"], rng))


@pytest.mark.parametrize(
    "read",
    [
        lambda file: read_annotations(file, VIDEOS),
        lambda file: read_annotations(file, VIDEOS, strict=True),
        lambda file: map_files(file.with_name("found.json"), file),
        _durations,
    ],
    ids=["import", "strict", "map", "inspect"],
)
def test_annotations_as_json(tmp_path, read):
    content = json.dumps(TRUTH).encode()
    (tmp_path / "found.json").write_text(json.dumps(FOUND))
    survives(read, tmp_path / "gt.json", lambda rng: distort_json(content, rng))


@pytest.mark.parametrize("name", TOOLS)
def test_files_of_annotation_tools(tmp_path, name):
    """They are exported by hand and edited: one damaged region must not cost a person a traceback to decipher."""
    content, damaged = TOOLS[name].encode(), distort_json if name.endswith(".json") else damage
    (tmp_path / name).write_bytes(content)
    assert "run" in read_annotations(tmp_path / name, VIDEOS, strict=True)[0]["label"]
    for read in (lambda file: read_annotations(file, VIDEOS), lambda file: read_labels(file, ["a", "b"], 2)):
        survives(read, tmp_path / name, lambda rng: damaged(content, rng), each=100)


@pytest.mark.parametrize("odd", [10**400, [[]], {}, None])
def test_odd_values_of_annotations(tmp_path, odd):
    """What many seeds found: a number beyond all floats, and a subset that is a list."""
    found = tmp_path / "found.json"
    found.write_text(json.dumps(FOUND))
    for key, value, read in [
        ("annotations", [{"label": "run", "segment": [1, odd]}], lambda file: read_annotations(file, VIDEOS)),
        ("subset", odd, lambda file: map_files(found, file, subset="train")),
        ("duration", odd, _durations),
    ]:
        (tmp_path / "gt.json").write_text(json.dumps({"database": {"a": {**TRUTH["database"]["a"], key: value}}}))
        with pytest.raises(InputError, match="gt.json"):
            read(tmp_path / "gt.json")


HALF = "\\ud83d"  # of an emoji, as JSON and YAML write it


@pytest.mark.parametrize(
    ("content", "read"),
    [
        (json.dumps(TRUTH).replace("run", HALF), lambda file: read_annotations(file, VIDEOS)),
        (json.dumps(TRUTH).replace("run", HALF), lambda file: read_labels(file, ["a", "b"], 2)),
        (
            json.dumps(TRUTH).replace('"b"', f'"{HALF}"').replace("[]", '[{"label": "x", "segment": [0, 1]}]'),
            lambda file: read_annotations(file, VIDEOS),
        ),
        (json.dumps(FOUND).replace("run", HALF), read_predictions),
        (json.dumps(FOUND).replace('"a"', f'"{HALF}"'), read_predictions),
        (f'0: "a {HALF}"', lambda file: read_names(file, None)),
        (f'of: {{variant: a, seed: 0, iteration: 1, centres: b}}\nnames: {{0: "{HALF}"}}', read_corrections),
    ],
    ids=["label", "given label", "other video", "found label", "found video", "name", "correction"],
)
def test_half_a_character_is_named_before_it_ends_the_run(tmp_path, content, read):
    """A text that a program cut within an emoji can be read, and not be written."""
    (tmp_path / "some.json").write_text(content)
    with pytest.raises(InputError, match=r"some.json.*ud83d' has half of a character"):
        read(tmp_path / "some.json")


def test_an_emoji_in_two_escapes_is_one_character(tmp_path):
    """YAML reads what JSON writes as two halves."""
    (tmp_path / "names.yaml").write_text('0: "\\ud83d\\ude42 hello"')
    assert read_names(tmp_path / "names.yaml", None) == {0: "🙂 hello"}


@pytest.mark.parametrize(
    ("name", "content"),
    [("gt.json", "[" * 100_000), ("gt.csv", f'{ANNOTATIONS}a,"{"x" * 200_000}'), ("gt.tsv", '"' * 9)],
)
def test_texts_without_end(tmp_path, name, content):
    """Lists in lists until Python's stack ends, and a quote that is opened in a long file and never closed."""
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=name):
        read_annotations(tmp_path / name, VIDEOS)


def test_predictions(tmp_path):
    survives(read_predictions, tmp_path / "found.json", lambda rng: distort_json(json.dumps(FOUND).encode(), rng))


def test_tables_as_csv(tmp_path):
    survives(
        lambda file: read_annotations(file, VIDEOS), tmp_path / "gt.csv", lambda rng: damage(ANNOTATIONS.encode(), rng)
    )
    survives(lambda file: read_split(file, ["a", "b"], []), tmp_path / "s.csv", lambda rng: damage(SPLIT.encode(), rng))


def test_tables_of_the_run(tmp_path):
    columns = {"cluster": np.arange(3), "feature": np.ones((3, 4), np.float32)}
    tables.write(tmp_path / "good.parquet", "centres", columns)
    good = (tmp_path / "good.parquet").read_bytes()
    survives(lambda file: tables.read(file, "centres"), tmp_path / "centres.parquet", lambda rng: damage(good, rng))
    survives(tables.read_metadata, tmp_path / "centres.parquet", lambda rng: damage(good, rng))
    names = yaml.safe_dump({0: "waving", 2: "a bow"}).encode()
    tables.write(tmp_path / "iter/centres.parquet", "centres", columns)
    survives(
        lambda file: read_names(file, tmp_path / "iter"), tmp_path / "names.yaml", lambda rng: distort_yaml(names, rng)
    )


def test_weights(tmp_path):
    weights.save(weights.build("cola", 4, 3, hidden=4), tmp_path / "good.safetensors")
    good = (tmp_path / "good.safetensors").read_bytes()
    survives(weights.load, tmp_path / "model.safetensors", lambda rng: damage(good, rng))


def start(config: Any) -> None:
    """What happens to a config before the first job, as in rules/common.smk."""
    config, _ = settle_layout(spread(merge(DEFAULT, config)))
    check(config, SCHEMA)
    for variant in config["variants"]:
        resolve(config, variant)


def test_config_files(tmp_path, monkeypatch):
    """Each key of config.yaml with odd values, and damaged text."""
    monkeypatch.chdir(tmp_path)

    def content(rng: random.Random) -> bytes:
        key = rng.choice(list(DEFAULT))
        return distort_yaml(yaml.safe_dump({key: DEFAULT[key]}).encode(), rng)

    survives(lambda file: start(_read_settings(file)), tmp_path / "config.yaml", content, each=20)


def test_config_on_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = b"dataset={layout: videos, path: 2024_05_12, parts: 3}"

    def read(file: Path) -> None:
        entry = file.read_bytes().decode(errors="surrogateescape")
        start(read_arguments([entry], SCHEMA))

    survives(read, tmp_path / "entry", lambda rng: damage(given, rng), each=10)


def test_names(tmp_path):
    good = "day 1/Ünïcode-clip_01.mp4".encode()
    survives(
        lambda file: identifier(file.read_bytes().decode(errors="surrogateescape"), "a folder"),
        tmp_path / "name",
        lambda rng: rng.choice([damage(good, rng), b"/" + good, b"../" + good, rng.randbytes(8)]),
    )
