"""The page on reliability: if this fails, it claims what is not tested."""

from __future__ import annotations

import re
from collections import Counter

from tests.workflow.conftest import ROOT

from . import test_damage, test_disk, test_kill, test_scheduler

ROW = re.compile(r"^\| ([^|]+) \| (\d+) \|", re.MULTILINE)


def test_the_page_counts_what_is_tested():
    counts: Counter[str] = Counter()
    for module in (test_kill, test_scheduler, test_disk, test_damage):
        for kinds in module.PLAN.values():
            for name, (_, count) in kinds.items():
                counts[name] += count
    rows = {name: int(count) for name, count in ROW.findall((ROOT / "docs/reliability.md").read_text())}
    assert rows.pop("together") == counts.total() >= 100
    assert rows == counts
