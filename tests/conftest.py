"""What holds for all tests: how hypothesis draws examples, and which files of tests begin first."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# the same examples at every run, however long one takes: a failure is the change's, not chance's or a busy machine's
settings.register_profile("feel", derandomize=True, deadline=None)
settings.load_profile("feel")

# Files that take long, in the order in which they begin; the others, which are short, fill the time that is left. Else,
# since a worker takes a whole file at a time, a long one that begins last is waited for. The first and the third do not
# begin with the fixture "finished", which would keep one worker waiting until the other has made it.
SLOW = [
    "slurm/test_cluster.py",
    "workflow/test_studies.py",
    "workflow/test_hostile.py",
    "workflow/test_conda.py",
    "faults/test_kill.py",
    "faults/test_disk.py",
    "faults/test_damage.py",
    "workflow/test_truth.py",
    "workflow/test_rerun.py",
    "workflow/test_videos.py",
    "faults/test_scheduler.py",
    "workflow/test_gpus.py",
    "workflow/test_verify.py",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by file; --no-loadscope-reorder keeps xdist from sorting by numbers of tests again."""
    places = {Path(__file__).parent / name: place for place, name in enumerate(SLOW)}
    items.sort(key=lambda item: places.get(item.path, len(SLOW)))
