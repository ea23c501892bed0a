"""The one exception a user is meant to read."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """Something the user gave is wrong.

    The message is one line that names the file and the key, column or row, what was expected, and what to do. The
    command line prints it without a traceback and exits with status 1. Line breaks and other control characters, which
    names and values from damaged files may have, are shown as Python writes them.
    """

    def __init__(self, message: object) -> None:
        super().__init__("".join(char if char.isprintable() else repr(char)[1:-1] for char in str(message)))


def hint(name: object, known: Iterable[str]) -> str:
    """What may have been meant by a name that nothing has: ``did you mean 'x'?``, or all that there are."""
    names = list(known)
    close = get_close_matches(str(name), names, 1)
    return f"did you mean '{close[0]}'?" if close else f"there are {', '.join(names) or 'none'}"
