"""Checks whether every file of a run is intact and up to date: same inputs and same source code as now."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from feel_steps.errors import InputError
from feel_steps.runtime.progress import track
from feel_steps.tables import source
from feel_steps.tables.folders import NAMES, SHEET, check_folder
from feel_steps.tables.kinds import KINDS
from feel_steps.tables.provenance import DIGEST, fits, hash_file, is_intact, read_provenance

FORMATS = (".parquet", ".safetensors", ".html", ".checkpoint")
PASSED_OVER = ("logs", "benchmarks", "demo")  # folders without results; the demo's videos are an input
FIRST = {Path("manifest.parquet"), Path("videos.parquet")}  # at the top of every run
ENDS = {".parquet": b"PAR1", ".html": b"</html>"}  # a file without this end was cut off
PAGE = (
    b'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="feel.digest"'  # start of our pages
)
RERUN = "delete it, and snakemake makes it again"
OUTDATED = "run snakemake, which makes it again"


@dataclass(frozen=True)
class Finding:
    """One problem with one file.

    Attributes
    ----------
    path : path
        Relative to the run's folder.
    state : str
        ``truncated`` (the end is missing), ``altered`` (the bytes differ from those that were written), ``stale`` (an
        input or the source code has changed since), ``missing`` (an input of another file), ``leftover`` (a temporary
        file of a killed job) or ``foreign`` (written by no step, or for another folder).
    why, remedy : str
        One phrase each.
    deletes : bool
        Whether to delete the file, so that Snakemake makes it again.
    """

    path: Path
    state: str
    why: str
    remedy: str = RERUN

    @property
    def deletes(self) -> bool:
        return self.remedy == RERUN or self.state == "leftover"

    def __str__(self) -> str:
        return f"{self.state:<10}{self.path}: {self.why}; {self.remedy}"


def verify(run: Path) -> tuple[int, list[Finding]]:
    """Check every file of a run.

    Parameters
    ----------
    run : path
        results/{run}

    Returns
    -------
    checked : int
        Number of files.
    findings : list of Finding
        At most one per file, sorted by path. A file without a finding is in order.

    Raises
    ------
    InputError
        The folder does not exist, or is none of a run: of a part of one, what its files were made of is not in it.
    """
    check_folder(run)
    files = sorted(_files(run))
    if not FIRST & set(files):
        raise InputError(f"{run}: not a whole run; name the results folder of a run, such as results/demo")
    intact: dict[Path, dict[str, str]] = {}  # provenance of each artifact whose bytes are as written
    findings: list[Finding] = []
    for file in track(files, "verifying", "file"):
        checked = _check_bytes(run, file)
        if isinstance(checked, Finding):
            findings.append(checked)
        elif checked:
            intact[file] = checked
    findings += _check_places(intact)
    faulty = {finding.path for finding in findings}  # their recorded digests mean nothing
    present = {file: about for file, about in intact.items() if file not in faulty}
    for file, about in present.items():
        findings += _check_inputs(run, file, about, present, faulty)
        if "feel.step" in about and about["feel.source"] != _source(about["feel.step"]):
            findings.append(Finding(file, "stale", f"made by another version of step {about['feel.step']}", OUTDATED))
    gravest = {finding.path: finding for finding in reversed(findings)}  # the first finding of each file
    return len(files), [gravest[path] for path in sorted(gravest)]


def delete(run: Path, findings: list[Finding]) -> list[Finding]:
    """Delete the files that Snakemake has to make again, and return their findings."""
    deleted = [finding for finding in findings if finding.deletes]
    for finding in deleted:
        (run / finding.path).unlink()
    return deleted


def summary(run: Path, checked: int, findings: list[Finding]) -> str:
    """One line with the number of files in each state."""
    bad = [finding for finding in findings if finding.state != "missing"]
    states = Counter(finding.state for finding in findings)
    counts = [f"{checked - len(bad)} ok", *(f"{count} {state}" for state, count in sorted(states.items()))]
    return f"{run}: {checked} files, {', '.join(counts)}"


def _files(run: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(run):
        relative = Path(folder).relative_to(run)
        folders[:] = [name for name in folders if not (relative == Path() and name in PASSED_OVER)]
        yield from (relative / name for name in names)


def _check_bytes(run: Path, file: Path) -> Finding | dict[str, str]:
    """Provenance of an intact artifact, nothing for a file that a person wrote, or what is wrong with the file."""
    if file in (Path(NAMES), Path(SHEET)) or (file.parent == Path("groups") and file.suffix == ".csv"):
        return {}
    if file.suffix == ".tmp" and file.name.startswith("."):
        return Finding(file, "leftover", "a job was killed while it wrote", "delete it")
    if file.suffix not in FORMATS:
        return Finding(file, "foreign", "no step wrote it", "move it elsewhere, if it is not yours to keep here")
    try:
        about = read_provenance(run / file)
    except Exception:  # whatever its library raises for damaged metadata
        about = None
    if about and is_intact(run / file, about):
        if about.get("feel.kind") in (None, *KINDS):
            return about
        return Finding(file, "foreign", f"a table of the unknown kind '{about['feel.kind']}'", "move it elsewhere")
    if not about and not _is_ours(run / file, about):
        return Finding(file, "foreign", "no step wrote it", "move it elsewhere")
    if _is_cut_off(run / file):
        return Finding(file, "truncated", "its end is missing")
    if about is None:
        return Finding(file, "altered", "its metadata cannot be read")
    if set(about) == {"feel.kind", "feel.version"}:
        return Finding(file, "stale", "made before artifacts had digests", OUTDATED)
    return Finding(file, "altered", "its bytes are not those that were written")


def _is_ours(path: Path, about: dict[str, str] | None) -> bool:
    """Whether a file without provenance was one of ours: its library cannot open it, or it is a page cut short."""
    with open(path, "rb") as file:
        return about is None or PAGE.startswith(file.read(len(PAGE)))


def _is_cut_off(path: Path) -> bool:
    end = ENDS.get(path.suffix, b"")
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 16))
        return not file.read().rstrip(b"\n").endswith(end) or not size


def _check_places(intact: dict[Path, dict[str, str]]) -> Iterator[Finding]:
    """Find artifacts that were written for another path: two files were swapped, or a folder was copied.

    Variants may share a table; each then has a copy of it.
    """
    misplaced: dict[Path, str] = {}  # and the path they were written for
    for file, about in intact.items():
        written = about.get("feel.place", file.name)
        parts = Path(written).parts
        exact = file.parts[-len(parts) :] == parts
        shared = fits(file, written) and intact.get(Path(written), about)[DIGEST] == about[DIGEST]
        if not exact and not shared:
            misplaced[file] = written
    folders = {file.parent for file in intact if file not in misplaced}
    for file, written in misplaced.items():
        if file.parent in folders or Path(written).parent == file.parent:  # both cases: not a copied folder
            yield Finding(file, "altered", f"it holds {written}")
        else:
            yield Finding(file, "foreign", f"written as {written}", "move the folder elsewhere, or back")


def _check_inputs(
    run: Path, file: Path, about: dict[str, str], present: dict[Path, dict[str, str]], faulty: set[Path]
) -> Iterator[Finding]:
    """Compare the recorded digests of an artifact's inputs with those of the present files."""
    for name, digest in json.loads(about.get("feel.inputs", "{}")).items():
        source_file = Path(os.path.normpath(file.parent / name))
        if source_file in faulty:
            continue
        if source_file not in present and not (run / source_file).is_file():
            yield Finding(source_file, "missing", f"{file} was made of it", OUTDATED)
        elif (present[source_file][DIGEST] if source_file in present else hash_file(run / source_file)) != digest:
            yield Finding(file, "stale", f"made of another {source_file} than the present one")


def _source(step: str) -> str | None:
    try:
        return source.digest(step)
    except KeyError:
        return None  # the command no longer exists
