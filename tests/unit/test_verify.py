"""Whatever happens to a file of a run, ``feel-steps verify`` says it, and says nothing of the others."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from feel_steps import cli
from feel_steps.errors import InputError
from feel_steps.tables import source, tables
from feel_steps.tables.verify import delete, verify
from tests.small_run import ITERATIONS, build, call, iterate

FIRST, SECOND = ITERATIONS


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A run that is not to be changed."""
    return build(tmp_path_factory.mktemp("verify"))


@pytest.fixture
def run(built, tmp_path):
    """A copy of it, of another name and place."""
    return Path(shutil.copytree(built, tmp_path / "elsewhere/renamed"))


def states(run) -> dict[str, str]:
    return {finding.path.as_posix(): finding.state for finding in verify(run)[1]}


def flip(path, place):
    altered = bytearray(path.read_bytes())
    altered[place] ^= 4
    path.write_bytes(altered)


def test_a_run_that_was_moved_and_renamed_is_as_it_should_be(run):
    checked, findings = verify(run)
    assert findings == [] and checked == len([file for file in run.rglob("*") if file.is_file()])


@pytest.mark.parametrize("place", [10, -40, 200])
def test_a_flipped_bit_is_found(run, place):
    """In a page, in the footer; and the tables made of it before are not accused."""
    flip(run / FIRST / "pooled.parquet", place)
    assert states(run) == {f"{FIRST}/pooled.parquet": "altered"}


@pytest.mark.parametrize("size", [0, 3, 500])
def test_a_truncated_file_is_found(run, size):
    path = run / "videos.parquet"
    path.write_bytes(path.read_bytes()[:size])
    assert states(run) == {"videos.parquet": "truncated"}


def test_a_value_edited_with_another_program_is_found(run):
    """Parquet's own metadata survive such an edit, the digest among them."""
    path = run / FIRST / "clusters.parquet"
    table = pq.read_table(path)
    values = table["distance"].take(np.arange(len(table))[::-1])
    pq.write_table(table.set_column(2, table.schema.field(2), values), path)
    assert states(run) == {f"{FIRST}/clusters.parquet": "altered"}
    with pytest.raises(InputError, match="clusters.parquet: rewritten by another program"):
        tables.read(path, "clusters")


@pytest.mark.parametrize(
    "files",
    [
        [f"{place}/refined.parquet" for place in ITERATIONS],
        ["features/part-0000.parquet", "features/part-0001.parquet"],
    ],
)
def test_swapped_files_are_found(run, files):
    """Each is whole, and so are its inputs; but it is not of this place."""
    names = [run / file for file in files]
    names[0].rename(run / "aside")
    names[1].rename(names[0])
    (run / "aside").rename(names[1])
    assert states(run) == dict.fromkeys(files, "altered")


def test_a_table_that_variants_share_is_in_its_place_in_each(run):
    (run / "no-cci/seed-0/iter-1").mkdir(parents=True)
    shutil.copy(run / FIRST / "pooled.parquet", run / "no-cci/seed-0/iter-1")
    assert states(run) == {}
    flip(run / FIRST / "pooled.parquet", 10)
    assert states(run) == {f"{FIRST}/pooled.parquet": "altered"}
    shutil.copy(run / SECOND / "pooled.parquet", run / "no-cci/seed-0/iter-1")
    assert states(run)["no-cci/seed-0/iter-1/pooled.parquet"] == "foreign"


def test_a_folder_that_was_copied_is_foreign_and_never_deleted(run):
    shutil.copytree(run / FIRST, run / "feel/seed-7/iter-1")
    findings = verify(run)[1]
    assert {finding.path.parent.as_posix() for finding in findings} == {"feel/seed-7/iter-1"}
    assert {finding.state for finding in findings} == {"foreign"} and delete(run, findings) == []


def test_a_table_made_of_other_inputs_than_lie_there_now_is_stale(run):
    """As after a changed setting and a clock that went back, where Snakemake sees nothing to do."""
    place = run / FIRST
    out = ["--out-clusters", place / "clusters.parquet", "--out-centres", place / "centres.parquet"]
    call("cluster", "--pooled", place / "pooled.parquet", "--clusters", 2, "--seed", 0, *out)
    findings = verify(run)[1]
    assert [str(finding.path) for finding in findings] == [f"{FIRST}/refined.parquet"]
    assert findings[0].state == "stale" and "centres.parquet" in findings[0].why and findings[0].deletes


def test_an_artifact_of_other_source_is_stale_and_kept(run, monkeypatch):
    """An edited comment must not cost a training: making it again is left to Snakemake."""
    known = source.digest
    monkeypatch.setattr(source, "digest", lambda step: "other" if step == "select" else known(step))
    findings = verify(run)[1]
    assert {finding.path.name for finding in findings} == {"selected.parquet"}
    assert {finding.state for finding in findings} == {"stale"} and not any(finding.deletes for finding in findings)


def test_a_file_that_others_were_made_of_is_missed(run):
    (run / "features/part-0001.parquet").unlink()
    assert states(run) == {"features/part-0001.parquet": "missing"}


def test_what_no_step_wrote_is_foreign_and_leftovers_are_told_apart(run):
    (run / "notes.txt").write_text("mine")
    (run / FIRST / ".refined.parquet.abc.tmp").write_bytes(b"PAR1 half")
    pq.write_table(pq.read_table(run / "videos.parquet").replace_schema_metadata({}), run / "mine.parquet")
    (run / "mine.html").write_text("<!doctype html><title>mine")
    (run / "clusters.yaml").write_text("0: waving")
    for folder in ("logs", "benchmarks", "demo/videos"):
        (run / folder).mkdir(parents=True)
        (run / folder / "anything").write_text("")
    mine = dict.fromkeys(["notes.txt", "mine.html", "mine.parquet"], "foreign")
    assert states(run) == mine | {f"{FIRST}/.refined.parquet.abc.tmp": "leftover"}


def test_tables_of_an_earlier_version_are_not_taken_for_damaged(run):
    """They have no digest; deleting them all after an upgrade would cost days."""
    table = pq.read_table(run / "manifest.parquet")
    kept = {b"feel.kind": b"manifest", b"feel.version": b"0.0.1"}
    pq.write_table(table.replace_schema_metadata(kept), run / "manifest.parquet")
    finding = next(finding for finding in verify(run)[1] if finding.path == Path("manifest.parquet"))
    assert finding.state == "stale" and not finding.deletes


def test_deleting_and_making_again_ends_in_the_same_bytes(built, run):
    flip(run / FIRST / "centres.parquet", 30)
    (run / FIRST / "selected.parquet").write_bytes(b"")
    (run / FIRST / ".x.tmp").write_bytes(b"")
    (run / "notes.txt").write_text("mine")
    gone = delete(run, verify(run)[1])
    assert {finding.path.name for finding in gone} == {"centres.parquet", "selected.parquet", ".x.tmp"}
    iterate(run, run / FIRST, 0)
    assert states(run) == {"notes.txt": "foreign"}
    for name in ("clusters", "centres", "refined", "selected"):
        assert (run / FIRST / f"{name}.parquet").read_bytes() == (built / FIRST / f"{name}.parquet").read_bytes()


def test_the_command_lists_counts_and_sets_its_status(run):
    def command(*options):
        result = CliRunner().invoke(cli.app, ["verify", str(run), *options])
        return result.exit_code, result.stdout.splitlines()

    status, lines = command()
    assert status == 0 and lines[-1].endswith(" files, 17 ok") and len(lines) == 1
    flip(run / FIRST / "pooled.parquet", 10)
    status, lines = command()
    assert status == 1 and len(lines) == 2
    assert lines[0] == (
        f"altered   {FIRST}/pooled.parquet: its bytes are not those that were written; "
        "delete it, and snakemake makes it again"
    )
    status, lines = command("--delete")
    assert status == 0 and lines[0].endswith("(deleted)") and lines[-1].endswith("1 deleted, run snakemake again")
    assert not (run / FIRST / "pooled.parquet").exists()


@pytest.mark.parametrize("make", [lambda folder: None, lambda folder: folder.mkdir()])
def test_a_folder_that_is_no_run_is_said(tmp_path, make):
    make(tmp_path / "run")
    with pytest.raises(InputError, match="name the results folder of a run"):
        verify(tmp_path / "run")


@pytest.mark.parametrize("part", ["feel", "features", ".."])
def test_a_part_of_a_run_or_the_folder_of_all_is_refused(run, part):
    """Its files' inputs lie outside of it, so that --delete would take all that is in order."""
    with pytest.raises(InputError, match="name the results folder of a run"):
        verify(run / part)
