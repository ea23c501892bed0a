"""FEEL: unsupervised temporal action localization by self-paced iteration (arXiv 2312.07384), one module a step.

From Python, ``feel_steps.run`` finds the actions in a folder of videos, and ``feel_steps.Run`` opens a result. Each
step is a function of its own module, such as ``feel_steps.localize.localize``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from feel_steps.errors import InputError
    from feel_steps.explore.launch import run
    from feel_steps.explore.results import Run

__version__ = "0.1.0"
__all__ = ["InputError", "Run", "__version__", "run"]

_MODULES = {"InputError": "errors", "Run": "explore.results", "run": "explore.launch"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that commands and jobs load only what they need."""
    if name not in _MODULES:
        raise AttributeError(f"module 'feel_steps' has no attribute '{name}'")
    return getattr(import_module(f"feel_steps.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
