"""The one exception a user is meant to read, and words for it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from typing import Any

MOST_NAMES = 30  # in a hint: a data set may have thousands of videos
MOST_SHOWN = 200  # characters of a wrong value, which may be a whole file


class InputError(ValueError):
    """Something the user gave is wrong.

    The message is one line that names the file and the key, column or row, what was expected, and what to do. The
    command line prints it without a traceback and exits with status 1. Line breaks and other control characters, which
    names and values from damaged files may have, are shown as Python writes them.
    """

    def __init__(self, message: object) -> None:
        super().__init__("".join(char if char.isprintable() else repr(char)[1:-1] for char in str(message)))


def hint(name: object, known: Iterable[str]) -> str:
    """What may have been meant by a name that nothing has: ``did you mean 'x'?``, or the names that there are."""
    names = list(known)
    if close := get_close_matches(str(name), names, 1):
        return f"did you mean '{close[0]}'?"
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"there are {', '.join(names[:MOST_NAMES]) or 'none'}{more}"


def suggest(key: str, siblings: Sequence[str], keys: Sequence[str]) -> str:
    """What may have been meant by an unknown key: a key of that name elsewhere, a sibling, or a similar one."""
    if "." in key and key in keys:
        return f"write {key.split('.')[0]}={{{': {'.join(key.split('.')[1:])}: value{'}' * key.count('.')}"
    last = {name: name.rpartition(".")[2] for name in keys}
    same = [name for name in keys if last[name] == key]
    if not same and get_close_matches(key, siblings, 1):
        return hint(key, siblings)
    similar = same or [name for name in keys if last[name] in get_close_matches(key, last.values(), 1, 0.75)]
    return f"did you mean {' or '.join(repr(name) for name in similar)}?" if similar else hint(key, siblings)


def explain(error: Any, sections: Collection[str] = (), keys: Sequence[str] = ()) -> str:
    """One line for one violation of the JSON schema: the key, what is wrong, what to do.

    ``sections`` are names that may have been meant where a section of settings is given one value, and ``keys`` all
    keys with dots, which may have been meant by an unknown one.
    """
    key, found = ".".join(str(part) for part in error.absolute_path), repr(error.instance)
    if len(found) > MOST_SHOWN:
        found = f"{found[:MOST_SHOWN]}…"
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", ()))
        extra = next(k for k in error.instance if k not in known)
        place = f"{key}.{extra}" if key else extra
        return f"unknown key {place!r}; {suggest(extra, known, keys)}"
    if error.validator == "required":
        missing = error.message.split(" ")[0]  # in quotes
        return f"key '{key}': its key {missing} is missing" if key else f"missing key {missing}"
    if error.validator == "type" and error.schema["type"] == "object" and "explain" not in error.schema:
        known = [name for name in sections if name != key]
        instead = hint(key, known if get_close_matches(key, known, 1) else error.schema.get("properties", ()))
        return f"key '{key}' is {found}; expected settings, {key}={{setting: value}}; {instead}"
    if "explain" in error.schema:
        return f"key '{key}' is {found}; expected {error.schema['explain']}"
    return f"key '{key}': {error.message}"
