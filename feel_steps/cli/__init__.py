"""The command line ``feel-steps``: one thin command a step, in files by theme."""

from feel_steps.cli import data, evaluation, explore, given, localizer, loop, parts, run  # noqa: F401  they register
from feel_steps.cli.app import app, main

__all__ = ["app", "main"]
