"""Systems other than Linux: what they lack must not stop an import. Nothing but this can be tested on Linux."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import feel_steps
from tests.paths import ROOT

# modules of Python that Windows does not have
MISSING = ("fcntl", "resource", "pwd", "grp", "termios", "syslog", "posix_ipc", "curses")
NEEDED_BY_OTHERS = (
    "torch",
    "pandas",
    "pyarrow",
    "sklearn",
    "scipy.stats",
    "cv2",
    "av",
    "rich.console",
    "jinja2",
    "typer",
)
PROGRAM = f"""
import contextlib, importlib, os, sys
for name in {NEEDED_BY_OTHERS}:  # these decide for themselves what to do on Windows
    importlib.import_module(name)
for name in {MISSING}:
    sys.modules[name] = None  # importing it raises ImportError
for name in ("getuid", "geteuid", "sched_getaffinity", "fork", "mkfifo"):
    if hasattr(os, name):
        delattr(os, name)
for name in sys.argv[1:]:
    importlib.import_module(name)
print(len(sys.argv) - 1)
"""


def test_every_module_is_imported_without_what_windows_lacks():
    names = [module.name for module in pkgutil.walk_packages(feel_steps.__path__, "feel_steps.")]
    names = [name for name in names if name != "feel_steps.__main__"]
    assert len(names) > 80
    done = subprocess.run([sys.executable, "-c", PROGRAM, *names], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(names)


def test_locks_of_gpus_need_no_user_number(monkeypatch, tmp_path):
    """Windows has no os.getuid."""
    import os
    import tempfile

    from feel_steps.runtime import gpus

    monkeypatch.delattr(os, "getuid")
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    assert gpus._lock_folder() == tmp_path / "feel-steps"
