"""The command line ``feel-steps``: one thin command a step, in files by theme."""

from feel_steps.cli import data, evaluation, explore, localizer, loop, parts, run  # noqa: F401  they register commands
from feel_steps.cli.app import app, main

__all__ = ["app", "main"]
