"""The page on reliability: if this fails, it claims what is not tested."""

from __future__ import annotations

import re
from collections import Counter

from tests.workflow.conftest import ROOT

from . import disturb, test_damage, test_disk, test_kill, test_scheduler

ROW = re.compile(r"^\| ([^|]+) \| (\d+) \| (\d+) \|$", re.MULTILINE)


def test_the_page_counts_what_is_tested():
    """How often each was tried, and how often it ended well: always, or a test of that module would fail."""
    counts: Counter[str] = Counter()
    for module in (test_kill, test_scheduler, test_disk, test_damage):
        for kinds in module.PLAN.values():
            for name, (_, count) in kinds.items():
                counts[name] += count
    counts["together"] = counts.total()
    rows = ROW.findall((ROOT / "docs/explanation/reliability.md").read_text("utf-8"))
    assert len(rows) == len(counts)
    assert {(name, int(tried) * disturb.TIMES, int(ended) * disturb.TIMES) for name, tried, ended in rows} == {
        (name, count, count) for name, count in counts.items()
    }
