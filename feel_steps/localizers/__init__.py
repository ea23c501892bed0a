"""Weakly supervised localizers that can stand in the loop, by name; see ``docs/localizers.md``.

Nothing here needs PyTorch, so that the workflow can check its config without it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

from feel_steps.errors import InputError

LOCALIZERS = {
    "cola": "feel_steps.localizers.cola:CoLA",
    "aicl": "feel_steps.localizers.aicl:AICL",
}
SHARED = ("adapter",)  # settings that every localizer has besides its own


def place_of(name: str) -> tuple[str, str]:
    """Module and class of a localizer.

    Raises
    ------
    InputError
        No localizer has that name.
    """
    if name not in LOCALIZERS:
        close = get_close_matches(name, LOCALIZERS, 1)
        hint = f"did you mean '{close[0]}'?" if close else f"choose one of {', '.join(sorted(LOCALIZERS))}"
        raise InputError(f"localizer '{name}': no such localizer; {hint}")
    module, _, attribute = LOCALIZERS[name].partition(":")
    return module, attribute


def settings_of(name: str) -> tuple[str, ...]:
    """Names of a localizer's own settings: its class's keyword-only parameters, read from the source.

    Raises
    ------
    InputError
        No localizer has that name.
    """
    module, attribute = place_of(name)
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise InputError(f"localizer '{name}': its module {module} is not there; install it, or mend LOCALIZERS")
    for node in ast.walk(ast.parse(Path(spec.origin).read_text("utf-8"))):
        if isinstance(node, ast.ClassDef) and node.name == attribute:
            builders = [f for f in node.body if isinstance(f, ast.FunctionDef) and f.name == "__init__"]
            return tuple(parameter.arg for builder in builders for parameter in builder.args.kwonlyargs)
    raise InputError(f"localizer '{name}': {module} has no class {attribute}; mend its line in LOCALIZERS")


def check_settings(name: str, settings: Iterable[str]) -> None:
    """Refuse settings that a localizer does not have.

    Raises
    ------
    InputError
        Names the first one, and one that it is close to.
    """
    known = (*settings_of(name), *SHARED)
    for setting in settings:
        if setting not in known:
            close = get_close_matches(setting, known, 1)
            hint = f"did you mean '{close[0]}'?" if close else f"it has {', '.join(known)}"
            raise InputError(f"localizer '{name}': it has no setting '{setting}'; {hint}")
