"""Where an artifact comes from, kept in the artifact itself, and a digest that shows if it is still what was written.

A command opens a recording. What is read meanwhile is noted as input; what is written is stamped with the step, its
options, its source and the digests of its inputs, and sealed: ``feel.digest`` is the SHA-256 of the file as it was with
64 zeros in the digest's own place. Parquet, safetensors and pages are sealed alike, so that no altered byte of any of
them passes for the original. Nothing absolute is kept: a run that is moved or renamed stays as it is, byte for byte.
"""

from __future__ import annotations

import hashlib
import html
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from feel_steps.errors import InputError
from feel_steps.tables import source

BLANK = "0" * 64
DIGEST = "feel.digest"
# the digest in a Parquet footer, in a safetensors header and in a page's head, each with its own few bytes between
SEAL = re.compile(rb"feel\.digest.{1,12}?([0-9a-f]{64})", re.DOTALL)
META = re.compile(r'<meta name="(feel\.\w+)" content="([^"]*)">')
# how report/base.html.j2 begins, which tells our pages, cut short wherever, from others
PAGE = b'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="feel.digest"'
BLOCK = 1 << 20  # bytes read at once


class Incomplete(ValueError):
    """A file does not end as one of its format does."""


@dataclass
class Recording:
    """What one command is, and what it has read so far.

    Attributes
    ----------
    step, source : str
        The command, and the digest of the modules that it runs.
    options : dict
        Its options that are no paths, settings in JSON parsed.
    apart : path or None
        A cache: what lies there is neither input nor output.
    inputs : dict of path to (str, str)
        Digest of each file that was read, and its place in its run ("" where it does not say).
    """

    step: str
    source: str
    options: dict[str, Any]
    apart: Path | None = None
    inputs: dict[Path, tuple[str, str]] = field(default_factory=dict)


_current: Recording | None = None


@contextmanager
def recording(step: str, options: Mapping[str, Any]) -> Iterator[None]:
    """Note what is read and stamp what is written, until the block ends.

    Parameters
    ----------
    step : str
        A command.
    options : mapping
        What it was called with. Paths, alone or in a list, are no part of what is kept: inputs count by their content.
    """
    global _current
    before, cache = _current, options.get("cache")
    kept = {key: _plain(value) for key, value in options.items() if value is not None and not _is_path(value)}
    _current = Recording(step, source.digest(step), kept, Path(os.path.abspath(cache)) if cache else None)
    try:
        yield
    finally:
        _current = before


def note(path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Note that a file is read, and refuse it if it is not what was written.

    Parameters
    ----------
    path : path
        An artifact, or any other file that was given.
    metadata : mapping of str to str, optional
        Of an artifact.

    Raises
    ------
    InputError
        The artifact's digest does not fit.
    """
    own = metadata or {}
    if DIGEST in own:
        digest = own[DIGEST]
        if (digest, digest) != read_digests(path):
            raise InputError(f"{path}: altered since it was written; delete it and run its step again")
    else:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    place = Path(os.path.abspath(path))
    if _current and not _is_apart(place, _current) and not place.name.startswith("."):  # such as a checkpoint
        _current.inputs[place] = digest, own.get("feel.place", "")


def stamp(path: str | Path) -> dict[str, str]:
    """Metadata for an artifact that is about to be written at ``path``; :func:`seal` completes them."""
    out = Path(os.path.abspath(path))
    if _current is None or _is_apart(out, _current):
        return {DIGEST: BLANK}
    roots = [out.parent, *(_root(file, place) for file, (_, place) in _current.inputs.items())]
    root = min((root for root in roots if out.is_relative_to(root)), key=lambda root: len(root.parts))  # of the run
    inputs, outside = {}, []
    for file, (digest, _) in _current.inputs.items():
        if file.is_relative_to(root):
            inputs[Path(os.path.relpath(file, out.parent)).as_posix()] = digest
        else:
            outside.append([file.name, digest])
    options = dict(_current.options)
    seed = options.pop("seed", None)
    about = {
        DIGEST: BLANK,
        "feel.inputs": _json(inputs),
        "feel.options": _json(options),
        "feel.outside": _json(sorted(outside)),
        "feel.place": out.relative_to(root).as_posix(),
        "feel.source": _current.source,
        "feel.step": _current.step,
    }
    return about if seed is None else about | {"feel.seed": str(seed)}


def fits(path: Path, place: str) -> bool:
    """Whether a file lies where it was written, or there in another variant, which may share it."""
    made, found = PurePosixPath(place).parts, path.parts
    return found[-len(made) :] == made or (len(made) > 2 and found[-len(made) + 1 :] == made[1:])


def _root(path: Path, place: str) -> Path:
    """Folder of the run that an input belongs to, as far as it says."""
    return path.parents[len(PurePosixPath(place).parts) - 1] if place and fits(path, place) else path.parent


def _is_apart(path: Path, recording: Recording) -> bool:
    return recording.apart is not None and path.is_relative_to(recording.apart)


def _is_path(value: Any) -> bool:
    return isinstance(value, Path) or (isinstance(value, list) and any(isinstance(item, Path) for item in value))


def _plain(value: Any) -> Any:
    """An option's value; of settings given as JSON their values, where a file counts by its name."""
    try:
        values = json.loads(value) if isinstance(value, str) and value.startswith("{") else None
    except json.JSONDecodeError:  # the step will say so
        values = None
    if values is None:
        return value
    return {key: Path(v).name if isinstance(v, str) and os.path.isfile(v) else v for key, v in values.items()}


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


# ---------------------------------------------------------------------------------------------------- files


def seal(path: str | Path) -> None:
    """Put the digest of a file in the place that :func:`stamp` kept for it."""
    with open(path, "r+b") as file:
        place = _find(file)
        assert place is not None, f"{path}: written without a stamp"
        digest = _digest(file, place)
        file.seek(place)
        file.write(digest.encode())


def read_digests(path: str | Path) -> tuple[str, str] | None:
    """Digest that an artifact carries, and the one that it has: equal if no byte was altered.

    Returns
    -------
    pair of str, or None
        None for a file that carries none.

    Raises
    ------
    Incomplete
        The file is cut short.
    """
    with open(path, "rb") as file:
        place = _find(file)
        if place is None:
            return None
        file.seek(place)
        return file.read(len(BLANK)).decode(), _digest(file, place)


def read_provenance(path: str | Path) -> dict[str, str]:
    """What begins with ``feel.`` in the metadata of an artifact of any format; empty for a file that has none."""
    with open(path, "rb") as file:
        start, size, form = _window(file)
        file.seek(start)
        window = file.read(size)
    if form == "parquet":
        import pyarrow.parquet as pq

        raw = pq.read_metadata(path).metadata or {}
        return {key.decode(): value.decode() for key, value in raw.items() if key.startswith(b"feel.")}
    if form == "page":
        return {name: html.unescape(value) for name, value in META.findall(window.decode())}
    return json.loads(json.loads(window)["__metadata__"]["feel"])["provenance"]


def _digest(file: BinaryIO, place: int) -> str:
    """SHA-256 of a file that has the digits of its digest at ``place``."""
    digest = hashlib.sha256()
    file.seek(0)
    while place:
        block = file.read(min(place, BLOCK))
        digest.update(block)
        place -= len(block)
    digest.update(BLANK.encode())
    file.seek(len(BLANK), os.SEEK_CUR)
    while block := file.read(BLOCK):
        digest.update(block)
    return digest.hexdigest()


def _find(file: BinaryIO) -> int | None:
    """Where in a file the digits of its digest stand."""
    start, size, _ = _window(file)
    file.seek(start)
    found = SEAL.search(file.read(size))
    return start + found.start(1) if found else None


def _window(file: BinaryIO) -> tuple[int, int, str]:
    """Start and size of the part of a file that holds its metadata, and its format."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(8)
    file.seek(max(0, size - 16))
    tail = file.read()
    if b"PAR1" in (head[:4], tail[-4:]):
        footer = int.from_bytes(tail[-8:-4], "little")
        if tail[-4:] != b"PAR1" or not 0 < footer <= size - 12:
            raise Incomplete
        return size - 8 - footer, footer, "parquet"
    if head[:1] == b"<":
        file.seek(0)
        if PAGE.startswith(file.read(len(PAGE))) and not tail.rstrip().endswith(b"</html>"):
            raise Incomplete
        return 0, size, "page"
    header = int.from_bytes(head, "little")
    if not 0 < header <= size - 8:
        raise Incomplete
    file.seek(8)
    ends = [int(end) for end in re.findall(rb'"data_offsets":\[\d+,(\d+)\]', file.read(header))]
    if size < 8 + header + max(ends, default=0):
        raise Incomplete
    return 8, header, "safetensors"
