"""Whether every file of a run is intact and up to date: same inputs and same source code as now."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from feel_steps.errors import InputError
from feel_steps.runtime.progress import track
from feel_steps.tables import source
from feel_steps.tables.folders import NAMES
from feel_steps.tables.kinds import KINDS
from feel_steps.tables.provenance import DIGEST, Incomplete, fits, read_digests, read_provenance

FORMATS = (".parquet", ".safetensors", ".html", ".checkpoint")
# not results: what was said, what was used, and the demo's videos, which are an input
PASSED_OVER = ("logs", "benchmarks", "demo")


@dataclass(frozen=True)
class Finding:
    """What is wrong with one file.

    Attributes
    ----------
    path : path
        Relative to the run's folder.
    state : str
        ``truncated`` (it ends too early), ``altered`` (its bytes are not those that were written), ``stale`` (an input
        or the source has changed since), ``missing`` (others were made of it), ``leftover`` (of a job that was killed)
        or ``foreign`` (no step wrote it, or not for this place).
    why, remedy : str
        One phrase each.
    deletes : bool
        Whether deleting the file, so that Snakemake makes it again, is the remedy.
    """

    path: Path
    state: str
    why: str
    remedy: str
    deletes: bool = False

    def __str__(self) -> str:
        return f"{self.state:<10}{self.path}: {self.why}; {self.remedy}"


AGAIN = "delete it, and snakemake makes it again"


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
        By path; files without one are as they should be.

    Raises
    ------
    InputError
        There is no such folder, or nothing in it.
    """
    if not run.is_dir():
        raise InputError(f"{run}: no such folder; name the results folder of a run, such as results/demo")
    files = sorted(_files(run))
    if not any(file.suffix in FORMATS for file in files):
        raise InputError(f"{run}: no artifact in it; name the results folder of a run, such as results/demo")
    whole: dict[Path, dict[str, str]] = {}  # metadata of each artifact whose digest fits
    findings: list[Finding] = []
    for file in track(files, "verifying", "file"):
        if found := _check_bytes(run, file):
            findings.append(found)
        elif file.suffix in FORMATS:
            about = read_provenance(run / file)
            if about.get("feel.kind") in (None, *KINDS):
                whole[file] = about
            else:
                why = f"a table of kind '{about['feel.kind']}', unknown here"
                findings.append(Finding(file, "foreign", why, "move it elsewhere"))
    misplaced = list(_check_places(whole))
    findings += misplaced
    here = {file: whole[file] for file in whole if file not in {finding.path for finding in misplaced}}
    unknown = {finding.path for finding in findings}  # what they were cannot be said
    for file, about in here.items():
        findings += _check_inputs(run, file, about, here, unknown)
        if "feel.step" in about and about["feel.source"] != _source(about["feel.step"]):
            why = f"made by another version of step {about['feel.step']}"
            findings.append(Finding(file, "stale", why, "run snakemake, which makes it again"))
    # of several findings about a file the first, which is the gravest
    first = {finding.path: finding for finding in reversed(findings)}
    return len(files), [first[path] for path in sorted(first)]


def delete(run: Path, findings: list[Finding]) -> list[Finding]:
    """Delete the files that deleting mends; give the findings about them."""
    gone = [finding for finding in findings if finding.deletes]
    for finding in gone:
        (run / finding.path).unlink()
    return gone


def summary(run: Path, checked: int, findings: list[Finding]) -> str:
    """One line on all files."""
    bad = [finding for finding in findings if finding.state != "missing"]
    states = Counter(finding.state for finding in findings)
    counts = [f"{checked - len(bad)} ok", *(f"{count} {state}" for state, count in sorted(states.items()))]
    return f"{run}: {checked} files, {', '.join(counts)}"


def _files(run: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(run):
        place = Path(folder).relative_to(run)
        folders[:] = [name for name in folders if not (place == Path() and name in PASSED_OVER)]
        yield from (place / name for name in names)


def _check_bytes(run: Path, file: Path) -> Finding | None:
    """Check what a file is, and that no byte of it was altered."""
    if file == Path(NAMES):
        return None  # a person's
    if file.suffix == ".tmp" and file.name.startswith("."):
        return Finding(file, "leftover", "a job was killed while it wrote", "delete it", deletes=True)
    if file.suffix not in FORMATS:
        return Finding(file, "foreign", "no step wrote it", "move it elsewhere, if it is not yours to keep here")
    try:
        digests = read_digests(run / file)
        if digests is None:
            return _check_origin(run, file)
        if digests[0] == digests[1]:
            return None
    except Incomplete:
        return Finding(file, "truncated", "it does not end as such a file does", AGAIN, deletes=True)
    return Finding(file, "altered", "its bytes are not those that were written", AGAIN, deletes=True)


def _check_origin(run: Path, file: Path) -> Finding:
    """Say what an artifact without a digest is."""
    try:
        about = read_provenance(run / file)
    except (ValueError, KeyError, OSError):
        return Finding(file, "altered", "its metadata cannot be read", AGAIN, deletes=True)
    if "feel.step" in about or any(key.startswith("feel.dig") for key in about):
        return Finding(file, "altered", f"it has lost its {DIGEST}", AGAIN, deletes=True)
    if "feel.version" in about:
        return Finding(file, "stale", "made before artifacts had digests", "run snakemake, which makes it again")
    return Finding(file, "foreign", "no step wrote it", "move it elsewhere")


def _check_places(whole: dict[Path, dict[str, str]]) -> Iterator[Finding]:
    """Find artifacts that were written for another place: two that were swapped, or a folder that was copied.

    Variants may share a table; then each has a copy of it.
    """
    wrong: dict[Path, str] = {}
    for file, about in whole.items():
        place = about.get("feel.place", file.name)
        made = Path(place)
        exact = file.parts[-len(made.parts) :] == made.parts
        shared = fits(file, place) and whole.get(made, about)[DIGEST] == about[DIGEST]
        if not exact and not shared:
            wrong[file] = place
    right = {file.parent for file in whole if file not in wrong}
    for file, place in wrong.items():
        if file.parent in right or Path(place).parent == file.parent:  # two of one folder, both in the other's place
            yield Finding(file, "altered", f"in its place lies {place}", AGAIN, deletes=True)
        else:
            yield Finding(file, "foreign", f"written as {place}", "move the folder elsewhere, or back")


def _check_inputs(
    run: Path, file: Path, about: dict[str, str], here: dict[Path, dict[str, str]], unknown: set[Path]
) -> Iterator[Finding]:
    """Hold the digests of an artifact's inputs against the files that now lie there."""
    for name, digest in json.loads(about.get("feel.inputs", "{}")).items():
        place = Path(os.path.normpath(file.parent / name))
        if place in unknown:
            continue
        if place in here:
            same = here[place][DIGEST] == digest
        elif (run / place).is_file():
            with open(run / place, "rb") as other:
                same = hashlib.file_digest(other, "sha256").hexdigest() == digest
        else:
            yield Finding(place, "missing", f"{file} was made of it", "run snakemake, which makes it again")
            continue
        if not same:
            yield Finding(file, "stale", f"made of another {place} than is there now", AGAIN, deletes=True)


def _source(step: str) -> str | None:
    try:
        return source.digest(step)
    except KeyError:
        return None  # no command any more
