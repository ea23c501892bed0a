"""Weakly supervised localizers that can stand in the loop, by name; see ``docs/howto/add-a-localizer.md``.

Nothing here needs PyTorch, so that the workflow can check its config without it.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from feel_steps.errors import InputError, hint

Limit = tuple[Callable[[Any], bool], str]  # whether a value is of use, and what is expected

LOCALIZERS = {
    "cola": "feel_steps.localizers.cola:CoLA",
    "aicl": "feel_steps.localizers.aicl:AICL",
    "co2net": "feel_steps.localizers.co2net:CO2Net",
}
SHARED = {"adapter": 0, "members": 1}  # settings that every localizer has besides its own
BELOW_1: Limit = (lambda value: value < 1, "a share below 1")
ABOVE_0: Limit = (lambda value: value > 0, "a number above 0")
ODD: Limit = (lambda value: value % 2 == 1, "an odd number of snippets")
HEADS: Limit = (lambda value: value in ("thumos", "activitynet"), "thumos or activitynet")
LIMITS: dict[str, dict[str, Limit]] = {  # what holds beside the types of the settings
    "cola": {
        **dict.fromkeys(("dropout", "contrast_dropout"), BELOW_1),
        **dict.fromkeys(("kernel", "class_kernel"), ODD),
        "temperature": ABOVE_0,
        "head": HEADS,
    },
    "aicl": {"q": ABOVE_0, "temperature": ABOVE_0, "kernel": ODD},
    "co2net": {"dropout": BELOW_1},
}


def place_of(name: str) -> tuple[str, str]:
    """Module and class of a localizer.

    Raises
    ------
    InputError
        No localizer has that name.
    """
    if name not in LOCALIZERS:
        raise InputError(f"localizer '{name}': no such localizer; {hint(name, LOCALIZERS)}")
    module, _, attribute = LOCALIZERS[name].partition(":")
    return module, attribute


def settings_of(name: str) -> dict[str, Any]:
    """A localizer's own settings and their defaults: its class's keyword-only parameters, read from the source.

    A default that is no plain value counts as None.

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
            builders = [f.args for f in node.body if isinstance(f, ast.FunctionDef) and f.name == "__init__"]
            pairs = [pair for own in builders for pair in zip(own.kwonlyargs, own.kw_defaults, strict=True)]
            return {own.arg: default.value if isinstance(default, ast.Constant) else None for own, default in pairs}
    raise InputError(f"localizer '{name}': {module} has no class {attribute}; mend its line in LOCALIZERS")


def check_settings(name: str, settings: Mapping[str, Any]) -> None:
    """Refuse settings that a localizer does not have, and values unlike the defaults.

    Whole numbers are sizes (1 or more; an adapter's may be 0: none), others are shares and weights (0 or more), within
    their :data:`LIMITS`.

    Raises
    ------
    InputError
        Names the first one, and one that it is close to, or what was expected.
    """
    known = {**settings_of(name), **SHARED}
    for setting, value in settings.items():
        if setting not in known:
            own = hint(setting, known)
            raise InputError(f"localizer '{name}': it has no setting '{setting}'; {own}{_elsewhere(name, setting)}")
        default = known[setting]
        if isinstance(default, float):
            fits, expected = type(value) in (int, float) and 0 <= value < math.inf, "a number of 0 or more"
        elif type(default) is int:
            least = min(default, 1)
            fits, expected = type(value) is int and value >= least, f"a whole number of {least} or more"
        else:
            fits, expected = default is None or type(value) is type(default), f"a {type(default).__name__}"
        if fits and setting in LIMITS.get(name, {}):
            within, expected = LIMITS[name][setting]
            fits = within(value)
        if not fits:
            raise InputError(
                f"localizer '{name}': setting '{setting}' is {value!r}; expected {expected}, such as {default!r}"
            )
    given = {**known, **settings}
    if name == "cola" and given["m"] >= given["M"]:
        raise InputError(f"localizer 'cola': m is {given['m']}, M {given['M']}; expected m < M, or no snippet is hard")


def _elsewhere(name: str, setting: str) -> str:
    """What to do where the setting is of another localizer, as a preset may have set it."""
    others = [other for other in LOCALIZERS if other != name and setting in settings_of(other)]
    return (
        f" ('{others[0]}' has it: choose another localizer under 'variants', where settings start anew)"
        if others
        else ""
    )
