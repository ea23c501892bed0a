"""Every artifact says where it comes from, in the same bytes wherever it lies, and shows every change to itself."""

from __future__ import annotations

import ast
import json
import random
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from feel_steps import __version__
from feel_steps.errors import InputError
from feel_steps.localizers import weights
from feel_steps.report.page import write_page
from feel_steps.tables import provenance, source, tables
from tests.small_run import ITERATIONS, build


def bytes_of(run):
    return {file.relative_to(run): file.read_bytes() for file in sorted(run.rglob("*")) if file.is_file()}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that tests only read."""
    return build(tmp_path_factory.mktemp("provenance"))


def test_a_table_tells_its_step_options_seed_source_and_inputs(run):
    about = provenance.read_provenance(run / ITERATIONS[1] / "clusters.parquet")
    digests = json.loads(about["feel.inputs"])
    pooled = provenance.read_provenance(run / ITERATIONS[1] / "pooled.parquet")
    assert (about["feel.step"], about["feel.seed"], about["feel.version"]) == ("cluster", "1", __version__)
    assert json.loads(about["feel.options"]) == {"clusters": 3, "method": "kmeans", "n_init": 10, "starts": 60}
    assert about["feel.source"] == source.digest("cluster")
    assert digests == {"pooled.parquet": pooled["feel.digest"]}
    assert about["feel.place"] == f"{ITERATIONS[1]}/clusters.parquet"
    assert set(json.loads(pooled["feel.inputs"])) == {
        "../../../features/part-0000.parquet",
        "../../../features/part-0001.parquet",
        "../../../videos.parquet",
    }


def test_files_from_outside_the_run_are_kept_by_name_and_content(run):
    about = provenance.read_provenance(run / "annotations.parquet")
    assert [name for name, _ in json.loads(about["feel.outside"])] == ["gt.json"]
    assert set(json.loads(about["feel.inputs"])) == {"manifest.parquet", "unreadable.parquet"}


def test_a_file_beside_the_results_does_not_move_the_run(tmp_path):
    """Else annotations in the working folder make the run look altered, and ``verify --delete`` throws it away."""
    (tmp_path / "annotations.csv").write_text("video_id,label,t_start,t_end")
    out = tmp_path / "results/mine/videos.parquet"
    with provenance.recording("index", {}):
        provenance.note(tmp_path / "annotations.csv")
        tables.write(out, "pooled", {"video_id": ["v"], "feature": np.ones((1, 2))})
    about = provenance.read_provenance(out)
    assert about["feel.place"] == "videos.parquet"
    assert [name for name, _ in json.loads(about["feel.outside"])] == ["annotations.csv"]


def test_another_folder_and_name_give_the_same_bytes(run, tmp_path):
    """Otherwise a run that is moved, or made again elsewhere, could not be compared."""
    assert bytes_of(build(tmp_path / "deep/down", "other")) == bytes_of(run)


def test_a_cache_is_neither_input_nor_output(tmp_path):
    """Features must be the same bytes whether they were extracted before or not."""
    table = {"video_id": ["v"], "feature": np.ones((1, 2))}
    tables.write(tmp_path / "cache/kept.parquet", "pooled", table)
    for name in ("cold", "warm"):
        tables.write(tmp_path / name / "given.parquet", "pooled", table)
        with provenance.recording("pool", {"cache": tmp_path / "cache", "method": "mean", "usage": None}):
            tables.read(tmp_path / name / "given.parquet", "pooled")
            if name == "warm":
                tables.read(tmp_path / "cache/kept.parquet", "pooled")
            else:
                tables.write(tmp_path / "cache/new.parquet", "pooled", table)
            tables.write(tmp_path / name / "out.parquet", "pooled", table)
    assert (tmp_path / "cold/out.parquet").read_bytes() == (tmp_path / "warm/out.parquet").read_bytes()
    assert json.loads(provenance.read_provenance(tmp_path / "warm/out.parquet")["feel.options"]) == {"method": "mean"}
    assert "feel.step" not in provenance.read_provenance(tmp_path / "cache/new.parquet")


def test_settings_that_name_files_count_by_their_names(tmp_path):
    (tmp_path / "rgb.pt").write_bytes(b"weights")
    settings = json.dumps({"weights_rgb": str(tmp_path / "rgb.pt"), "flow": "dis"})
    with provenance.recording("extract", {"settings": settings, "out": tmp_path, "parts": [tmp_path]}):
        about = provenance.stamp(tmp_path / "part.parquet")
    assert json.loads(about["feel.options"]) == {"settings": {"weights_rgb": "rgb.pt", "flow": "dis"}}
    assert str(tmp_path) not in "".join(about.values())


def test_a_library_call_is_sealed_but_records_nothing(tmp_path):
    tables.write(tmp_path / "p.parquet", "pooled", {"video_id": ["v"], "feature": np.ones((1, 2))})
    about = provenance.read_provenance(tmp_path / "p.parquet")
    assert set(about) == {"feel.digest", "feel.kind", "feel.version"}
    assert provenance.is_intact(tmp_path / "p.parquet", about)


def make(form, path):
    """Write a small artifact of a format."""
    if form == "table":
        tables.write(path, "clusters", {"video_id": ["a", "b"], "cluster": [0, 1], "distance": [0.5, 0.25]})
    elif form == "features":
        with tables.write_features(path, metadata={"extractor": "none"}) as writer:
            writer.add("a", np.ones((2, 3), np.float32))
            writer.add("b", np.zeros((1, 3), np.float32))
    elif form == "empty":
        with tables.write_features(path):
            pass
    elif form == "weights":
        weights.write_tensors(path, {"w": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(2)}, {"x": 1})
    else:
        write_page(
            path, "predicted.html.j2", {}, name="n", run="r", unlike=0, clusters=[], splits=[], rated=False, unheld=0
        )


FORMS = {
    "table": "t.parquet",
    "features": "f.parquet",
    "empty": "e.parquet",
    "weights": "w.safetensors",
    "page": "p.html",
}


def passes(path) -> bool:
    """Whether verify would take the file for what its step wrote."""
    try:
        about = provenance.read_provenance(path)
    except Exception:
        return False
    return provenance.is_intact(path, about)


@pytest.mark.parametrize("form", FORMS)
def test_no_altered_byte_passes_for_the_original(tmp_path, form):
    """In values, headers and footers alike."""
    path = tmp_path / FORMS[form]
    make(form, path)
    assert passes(path)
    whole, generator = path.read_bytes(), random.Random(0)
    places = range(len(whole)) if len(whole) < 3000 else generator.sample(range(len(whole)), 1000)
    for place in places:
        altered = bytearray(whole)
        altered[place] ^= 1 << generator.randrange(8)
        path.write_bytes(altered)
        assert not passes(path), place


@pytest.mark.parametrize("form", FORMS)
def test_a_file_cut_short_never_passes_for_the_original(tmp_path, form):
    path = tmp_path / FORMS[form]
    make(form, path)
    whole = path.read_bytes()
    for size in [*range(20), len(whole) // 2, len(whole) - 20, len(whole) - 3]:
        path.write_bytes(whole[:size])
        assert not passes(path), size


def test_altered_weights_are_refused(tmp_path):
    """They have no checks of their own: a flipped bit would be another network."""
    make("weights", tmp_path / "w.safetensors")
    whole = bytearray((tmp_path / "w.safetensors").read_bytes())
    whole[-1] ^= 64
    (tmp_path / "w.safetensors").write_bytes(whole)
    with pytest.raises(InputError, match="w.safetensors: altered since it was written; delete it"):
        weights.read_tensors(tmp_path / "w.safetensors")


# ---------------------------------------------------------------------------------------------------- source


COMMANDS = ["demo", "import", "extract", "pool", "refine", "select", "train", "attend", "localize", "evaluate"]
COMMANDS += ["gather", "report", "label-classes", "groups"]


@pytest.fixture(scope="module")
def shipped() -> dict[str, str]:
    """Digests of the commands as they are."""
    return {command: source.digest(command) for command in COMMANDS}


@pytest.fixture
def package(tmp_path, monkeypatch, shipped):
    """A copy of the package to edit."""
    place = shutil.copytree(source.PACKAGE, tmp_path / "feel_steps", ignore=shutil.ignore_patterns("__pycache__"))
    studies = source.PACKAGE.parent / source.STUDIES
    shutil.copytree(studies, tmp_path / source.STUDIES, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(source, "PACKAGE", place)

    def changed(file: str, edit=lambda text: text + "\n# edited\n") -> set[str]:
        """Commands whose source an edit to a file changes."""
        (place / file).write_text(edit((place / file).read_text()))
        source.digest.cache_clear()
        source._imported_by.cache_clear()
        source._commands.cache_clear()
        return {command for command in COMMANDS if source.digest(command) != shipped[command]}

    yield changed
    source.digest.cache_clear()
    source._imported_by.cache_clear()
    source._commands.cache_clear()


@pytest.mark.parametrize(
    ("file", "within", "without"),
    [
        ("localizers/aicl.py", {"train", "attend"}, {"demo", "pool", "refine", "report"}),
        ("features/i3d.py", {"extract"}, {"pool", "train", "report"}),
        ("runtime/devices.py", {"train", "attend", "refine"}, {"evaluate", "report", "import"}),
        ("tables/snippets.py", {"pool", "train", "attend"}, {"import", "evaluate"}),
        ("report/page.css", {"report"}, {"refine", "select", "train", "evaluate", "gather", "label-classes", "groups"}),
        ("explore/predict.py", set(), {"report", "train", "groups"}),  # imported for its types only
    ],
)
def test_an_edit_changes_the_source_of_the_steps_that_run_it(package, file, within, without):
    changed = package(file)
    assert within <= changed and not without & changed


def test_no_import_is_overlooked():
    """Imports are found in the text. One written in another way would leave old results standing after an edit."""
    for file in source.PACKAGE.rglob("*.py"):
        tree = ast.parse(text := file.read_text("utf-8"))
        tree.body = [node for node in tree.body if not isinstance(node, ast.If)]  # imported for types only
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        assert not any(node.level for node in imports), f"{file}: a relative import"
        names = {f"{node.module}.{alias.name}" for node in imports for alias in node.names}
        names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        modules = {name for name in names if name.startswith("feel_steps.") and source._file(name).is_file()}
        assert modules <= source._imports(text), file


def test_an_edit_to_what_all_share_changes_all(package):
    assert len(package("tables/tables.py")) == 14


def test_of_the_command_line_only_the_commands_own_lines_count(package):
    """Otherwise a new command would make every finished run stale."""
    body = "from feel_steps.pool import pool as step"
    assert package("cli/loop.py", lambda text: text.replace(body, f"{body}\n    _ = 0")) == {"pool"}


def test_another_process_finds_the_same_source():
    """One that has imported nothing, as Snakemake's, which must not load PyTorch for it."""
    program = "import sys; from feel_steps.tables import source; print(source.digest('train'), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [source.digest("train"), "False"]
