"""What holds for all tests: how hypothesis draws examples, and the marker of each folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# the same examples at every run, however long one takes: a failure comes from the change, not from chance
settings.register_profile("feel", derandomize=True, deadline=None)
settings.load_profile("feel")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by its folder: unit, workflow or system."""
    for item in items:
        item.add_marker(item.path.relative_to(Path(__file__).parent).parts[0])
