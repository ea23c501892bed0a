"""Where an artifact comes from, kept in the artifact's own metadata, and a digest of its bytes.

While a command runs, the digests of its input files are recorded. Each output file gets the step, its options, the
digest of the source code and the digests of the inputs as metadata: in the footer of a Parquet file, in the header of a
safetensors file, in ``meta`` elements of a page. The metadata contain no absolute paths, so a run that is moved or
renamed keeps its bytes.

The entry ``feel.digest`` is the SHA-256 of the whole file with a placeholder where the digest stands. Only ``feel-steps
verify`` recomputes it for tables and pages. Steps take the digest of an input from its metadata, and rely on Parquet's
page checksums for the data.
"""

from __future__ import annotations

import hashlib
import html
import json
import mmap
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from feel_steps.tables import source

DIGEST = "feel.digest"
PLACEHOLDER = "the-digest-of-this-file".ljust(64, ".")  # as long as a digest; stands nowhere else in a file
META = re.compile(rb'<meta name="(feel\.\w+)" content="([^"]*)">')
BLOCK = 1 << 20  # bytes


@dataclass
class Recording:
    """What one command is, and which files it has read so far.

    Attributes
    ----------
    step, source : str
        The command, and the digest of the modules that it runs.
    options : dict
        Its options except paths, with JSON settings parsed.
    cache : path or None
        Files in this folder are recorded neither as inputs nor as outputs.
    inputs : dict of path to (str, str)
        Digest of each input file, and its path within its run (empty if the file does not say).
    """

    step: str
    source: str
    options: dict[str, Any]
    cache: Path | None = None
    inputs: dict[Path, tuple[str, str]] = field(default_factory=dict)


_current: Recording | None = None


@contextmanager
def recording(step: str, options: Mapping[str, Any]) -> Iterator[None]:
    """Record the inputs and stamp the outputs of a command until the block ends.

    Parameters
    ----------
    step : str
        A command.
    options : mapping
        Its options. Paths, alone or in a list, are left out: an input is identified by its content.
    """
    global _current
    before, cache = _current, options.get("cache")
    kept = {key: _plain(value) for key, value in options.items() if value is not None and not _is_path(value)}
    _current = Recording(step, source.digest(step), kept, Path(os.path.abspath(cache)) if cache else None)
    try:
        yield
    finally:
        _current = before


def note(path: str | Path, about: Mapping[str, str] | None = None) -> None:
    """Record a file as an input of the current command.

    Parameters
    ----------
    path : path
        An artifact, or any other file.
    about : mapping of str to str, optional
        Metadata of the artifact. A file without a digest in them is hashed.
    """
    file, about = Path(os.path.abspath(path)), about or {}
    if _current is None or _in_cache(file, _current) or file.name.startswith("."):  # such as a checkpoint
        return
    known, _ = _current.inputs.get(file, ("", ""))
    _current.inputs[file] = about.get(DIGEST) or known or hash_file(file), about.get("feel.place", "")


def stamp(path: str | Path) -> dict[str, str]:
    """Metadata for an artifact that is about to be written to ``path``; :func:`seal` fills in the digest."""
    out = Path(os.path.abspath(path))
    if _current is None or _in_cache(out, _current):
        return {DIGEST: PLACEHOLDER}
    # an input that does not say where in a run it was written, such as annotations, is in none
    placed = [(file, place) for file, (_, place) in _current.inputs.items() if place and fits(file, place)]
    folders = [out.parent, *(file.parents[len(PurePosixPath(place).parts) - 1] for file, place in placed)]
    root = min((folder for folder in folders if out.is_relative_to(folder)), key=lambda folder: len(folder.parts))
    inputs, outside = {}, []
    for file, (digest, _) in _current.inputs.items():
        if file.is_relative_to(root):
            inputs[Path(os.path.relpath(file, out.parent)).as_posix()] = digest
        else:
            outside.append([file.name, digest])
    options = dict(_current.options)
    seed = options.pop("seed", None)
    about = {
        DIGEST: PLACEHOLDER,
        "feel.inputs": _json(inputs),
        "feel.options": _json(options),
        "feel.outside": _json(sorted(outside)),
        "feel.place": out.relative_to(root).as_posix(),
        "feel.source": _current.source,
        "feel.step": _current.step,
    }
    return about if seed is None else about | {"feel.seed": str(seed)}


def seal(path: str | Path) -> None:
    """Replace the placeholder of :func:`stamp` by the digest of the file."""
    with open(path, "r+b") as file:
        position, digest = _hash_around(file, PLACEHOLDER)
        file.seek(position)
        file.write(digest.encode())


def is_intact(path: str | Path, about: Mapping[str, str]) -> bool:
    """Whether the bytes of an artifact still have the digest that its metadata state."""
    with open(path, "rb") as file:
        try:
            return _hash_around(file, about[DIGEST])[1] == about[DIGEST]
        except (KeyError, ValueError):  # without a digest, or one that stands nowhere in the file
            return False


def read_provenance(path: str | Path) -> dict[str, str]:
    """Metadata of an artifact whose key begins with ``feel.``; empty if the file has none.

    The format is taken from the name: ``.html``, ``.safetensors`` and ``.checkpoint``, or else Parquet. A file that
    its library cannot open raises that library's error.
    """
    suffix = Path(path).suffix
    if suffix == ".html":
        elements = META.findall(Path(path).read_bytes())
        return {name.decode(): html.unescape(value.decode(errors="replace")) for name, value in elements}
    if suffix in (".safetensors", ".checkpoint"):
        from safetensors import safe_open

        with safe_open(path, "numpy") as file:
            return json.loads(file.metadata()["feel"])["provenance"]
    import pyarrow.parquet as pq

    raw = pq.read_metadata(path).metadata or {}
    entries = ((key.decode(errors="replace"), value.decode(errors="replace")) for key, value in raw.items())
    return {key: value for key, value in entries if key.startswith("feel.")}


def hash_file(path: str | Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash_around(file: BinaryIO, text: str) -> tuple[int, str]:
    """Position of a digest or placeholder in a file, and the SHA-256 of the file with the placeholder there.

    Raises
    ------
    ValueError
        The text does not stand in the file.
    """
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        position = content.rfind(text.encode())  # from the end: the footer of a Parquet file comes last
    if position < 0:
        raise ValueError("no digest in the file")
    digest = hashlib.sha256()
    while before := file.read(min(BLOCK, position - file.tell())):
        digest.update(before)
    digest.update(PLACEHOLDER.encode())
    file.seek(len(text), os.SEEK_CUR)
    while after := file.read(BLOCK):
        digest.update(after)
    return position, digest.hexdigest()


def fits(path: Path, place: str) -> bool:
    """Whether a file lies at ``place`` in its run, or there in another variant, which may share it."""
    written, actual = PurePosixPath(place).parts, path.parts
    return actual[-len(written) :] == written or (len(written) > 2 and actual[-len(written) + 1 :] == written[1:])


def _in_cache(path: Path, recording: Recording) -> bool:
    return recording.cache is not None and path.is_relative_to(recording.cache)


def _is_path(value: Any) -> bool:
    return isinstance(value, Path) or (isinstance(value, list) and any(isinstance(item, Path) for item in value))


def _plain(value: Any) -> Any:
    """Value of an option, JSON settings parsed; in these, a file is represented by its name."""
    try:
        settings = json.loads(value) if isinstance(value, str) and value.startswith("{") else None
    except json.JSONDecodeError:  # the step reports it
        settings = None
    if settings is None:
        return value
    return {key: Path(v).name if isinstance(v, str) and os.path.isfile(v) else v for key, v in settings.items()}


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
