"""Files that users bring: where links in a folder may lead, what may be a video's id, how text is read."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from feel_steps.dataset.suffixes import ARRAY, VIDEO
from feel_steps.errors import InputError
from feel_steps.tables import provenance

LINKS = ("inside", "anywhere")
AT_MOST = 10  # names listed in a message


def list_files(folder: str | Path, links: str = "inside") -> dict[str, tuple[int, int]]:
    """List the files of a folder and its sub-folders; nothing is opened.

    The folder itself may be a link. Not seen are hidden files and folders, results (``results`` where the program runs,
    and folders of runs elsewhere), and what is no regular file (a pipe, a device). A link to nothing is listed. Every
    folder is read once, by its own name before a link's, so links that lead back come to an end.

    Parameters
    ----------
    folder : path
    links : {"inside", "anywhere"}
        Where links in it may lead: a data set that somebody else packed must not bring other files of this machine
        into a report.

    Returns
    -------
    dict of str to (int, int)
        Path below the folder, in sorted order: size in bytes, time of the last change in nanoseconds.

    Raises
    ------
    InputError
        There is no such folder, one cannot be read, or a link leads out of it and may not.
    """
    if links not in LINKS:
        raise InputError(f"links: '{links}' is unknown; expected {' or '.join(LINKS)}")
    if os.path.isfile(folder):
        raise InputError(f"{folder}: a file; name the folder that holds it, with all of the data set")
    if not os.path.isdir(folder):
        raise InputError(f"{folder}: no such folder; name the folder that holds the data set")
    top = os.path.realpath(folder)
    files: dict[str, tuple[int, int]] = {}
    places, linked, seen = [""], list[str](), set[str]()
    try:
        while places or linked:
            place = places.pop() if places else linked.pop(0)
            real = os.path.realpath(os.path.join(folder, place))
            if real in seen:
                continue
            seen.add(real)
            for entry in sorted(os.scandir(os.path.join(folder, place)), key=lambda entry: entry.name):
                if entry.name.startswith("."):
                    continue
                is_link = entry.is_symlink()
                if is_link and links == "inside" and not Path(os.path.realpath(entry.path)).is_relative_to(top):
                    raise InputError(
                        f"{entry.path}: a link to {os.path.realpath(entry.path)}, outside of the folder; if you trust "
                        "the links in it, set dataset.links: anywhere"
                    )
                if entry.is_dir() and _is_results(entry.path):
                    continue
                if entry.is_dir():
                    (linked if is_link else places).append(os.path.join(place, entry.name))
                elif entry.is_file() or not os.path.exists(entry.path):
                    status = entry.stat(follow_symlinks=entry.is_file())
                    files[os.path.join(place, entry.name)] = status.st_size, status.st_mtime_ns
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror}); fix it or take it out") from None
    return dict(sorted(files.items()))


def _is_results(folder: str) -> bool:
    """Whether the program writes into a folder; what it wrote is never input."""
    run = all(os.path.isfile(os.path.join(folder, f"{table}.parquet")) for table in ("manifest", "unreadable"))
    return run or os.path.realpath(folder) == os.path.realpath("results")


def identifier(name: str, where: object) -> str:
    """Check a video's id: a relative path that stays below the results folder, in Unicode's composed form.

    File systems differ in how they write an accented letter; composed, a name from a file system and the same name
    from a split file are equal.
    """
    path = PurePosixPath(name)
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InputError(f"{name.encode(errors='replace')!r} in {where}: not valid UTF-8; rename it") from None
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or str(path) != name:
        raise InputError(f"{where}: '{name}' cannot be a video id, which is a plain relative path without '..' or '\\'")
    return unicodedata.normalize("NFC", name)


def join_halves(text: str, where: object) -> str:
    """Make whole characters of the halves in which JSON writes an emoji, and YAML reads it.

    Raises
    ------
    InputError
        A half stands alone, as where a program cut a text; it could not be written to any file.
    """
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise InputError(f"{where}: '{text}' has half of a character, as of a cut emoji; write it again") from None


def read_text(path: str | Path) -> str:
    """Read a text file in UTF-8, with a byte order mark or without, and note it as input.

    Raises
    ------
    InputError
        There is no such file, it cannot be read, or it is not UTF-8.
    """
    try:
        content = Path(path).read_bytes()
        if os.path.isfile(path):  # a pipe has no name to record
            provenance.note(path, {provenance.DIGEST: hashlib.sha256(content).hexdigest()})
        return content.decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from None


def read_json(path: str | Path) -> Any:
    """Read a JSON file, as :func:`read_text` does.

    Raises
    ------
    InputError
        As there, or it is not JSON.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}, line {error.lineno}, column {error.colno}: not valid JSON ({error.msg}); correct it"
        ) from None
    except (ValueError, RecursionError) as error:  # a number of too many digits, or lists in lists without end
        raise InputError(f"{path}: not valid JSON ({error}); correct it") from None


def explain_yaml(error: Exception) -> str:
    """Say in one line where a text stops being YAML, and why."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return where + (problem or " ".join(str(error).split()))


def read_rows(path: str | Path, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Read the rows of a text table that are not empty, each with the number of its last line.

    Raises
    ------
    InputError
        As :func:`read_text`, or a value is longer than csv takes, as where a quote is not closed.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        raise InputError(f"{path}, row {reader.line_num}: {error}; is a quote not closed?") from None


def read_csv(path: str | Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Read the rows of a CSV that has these columns, each with the number of its line."""
    rows = read_rows(path)
    _, found = next(rows, (0, []))
    if missing := [name for name in columns if name not in found]:
        if len(found) == 1 and ";" in found[0]:  # as Excel saves it where numbers have a decimal comma
            raise InputError(f"{path}: its columns are separated by semicolons; save it with commas")
        raise InputError(
            f"{path}: column '{missing[0]}' is missing (there are: {', '.join(found)}); expected {','.join(columns)}"
        )
    for line, cells in rows:
        if len(cells) != len(found):
            raise InputError(f"{path}, row {line}: expected {len(found)} values; quote values with a comma")
        row = dict(zip(found, cells, strict=True))
        yield line, {name: row[name].strip() for name in columns}


def list_names(names: list[str]) -> str:
    """Names for a message; only the first ones if there are many."""
    tail = f" and {len(names) - AT_MOST} more" if len(names) > AT_MOST else ""
    return ", ".join(f"'{name}'" for name in names[:AT_MOST]) + tail


def guess_layout(folder: str | Path) -> str:
    """Say what a folder holds, by the names of its files: videos, features (arrays), or cola (CoLA's folders).

    Raises
    ------
    InputError
        There is no such folder, or nothing in it that can be used.
    """
    names = [PurePosixPath(name) for name in list_files(folder, "anywhere")]
    if Path(folder, "split_train.txt").is_file() and Path(folder, "features").is_dir():
        return "cola"
    suffixes = [name.suffix.lower() for name in names]
    arrays, videos = (sum(suffix in known for suffix in suffixes) for known in (ARRAY, VIDEO))
    if not arrays and not videos:
        shown = ", ".join(sorted({suffix or "no suffix" for suffix in suffixes})) or "nothing"
        raise InputError(f"{folder}: neither videos nor feature arrays in it (there is: {shown}); name another folder")
    return "features" if arrays > videos else "videos"
