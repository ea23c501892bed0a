"""Where tests find the project, its vendored goldens and, if it is there, the folder of shared data beside it."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
GOLDENS = ROOT / "tests/goldens"  # vendored, in every clone
SHARED = ROOT.parent / "shared"  # beside the repository, not in every clone
