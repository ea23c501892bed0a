"""The app: commands register themselves here, and ``main`` runs them.

A command reads tables, calls the step's function and writes tables. Steps are imported inside their commands, so that
``--help`` answers at once and no command loads what it does not need.
"""

from __future__ import annotations

import atexit
import gc
import math
import os
import signal
import sys
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any

import typer

from feel_steps.errors import InputError


class Steps(typer.Typer):
    """An app whose commands record what they are and read, so that artifacts say where they come from."""

    def command(  # type: ignore[override]
        self, name: str | None = None, **settings: Any
    ) -> Callable[[Callable], Callable]:
        """Register a function as a command; called as a function, it records nothing."""
        register = super().command(name, **settings)

        def record(function: Callable) -> Callable:
            @wraps(function)
            def step(**options: Any) -> None:
                from feel_steps.tables import provenance

                for option, value in options.items():
                    if isinstance(value, float) and not math.isfinite(value):  # click lets NaN and infinity pass
                        raise InputError(f"--{option.strip('_').replace('_', '-')} {value}: expected a finite number")
                with provenance.recording(name or function.__name__.replace("_", "-"), options):
                    function(**options)

            register(step)
            return function

        return record


app = Steps(
    help="Find which actions happen in untrimmed videos, and when, without a label: one command a step.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def main(app: typer.Typer = app) -> None:
    """Run the command line; what a user can mend is said in one line, without a traceback."""
    # Read when PyTorch or scikit-learn is loaded: threads that wait for work give up the processor sooner. With two
    # threads, a training step of the demo takes 24 instead of 46 ms on a busy machine, and 18 instead of 15 on an idle
    # one; OMP_WAIT_POLICY=passive would take 22 and 23.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("error: terminated"))  # in good order: no half file stays
    # Python would search all that PyTorch or scikit-learn loads for cycles, while they load and again at exit. That is
    # a quarter of the processor time of a short job.
    gc.set_threshold(100_000, 50, 50)
    atexit.register(gc.freeze)
    try:
        app()
    except InputError as error:
        sys.exit(f"error: {error}")
    except MemoryError as error:
        sys.exit(f"error: out of memory ({error or 'no details'}); give the job more and run the same command again")
    except OSError as error:  # no space, no permission, no such folder
        sys.exit(f"error: {error.filename or 'file'}: {error.strerror or error}")
