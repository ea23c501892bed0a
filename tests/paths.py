"""Where tests find the project, its golden cases and, if it exists, the folder of shared data beside it."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GOLDENS = ROOT / "tests/goldens"  # in every clone
SHARED = ROOT.parent / "shared"  # beside the repository, not in every clone


def find_golden(name: str) -> Path:
    """Path of a golden case; skips the test if it is neither in this clone nor in the shared folder."""
    for folder in (GOLDENS, SHARED / "goldens"):
        if (folder / name).is_file():
            return folder / name
    pytest.skip(f"the golden case {name} is not in tests/goldens or ../shared/goldens")
