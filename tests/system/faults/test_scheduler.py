"""Jobs beyond their limits: if this fails, a job that was stopped and repeated changes the result."""

from __future__ import annotations

import pytest

from . import disturb

KINDS = {
    "a job out of time": (disturb.terminate, 3),
    "a job out of memory": (disturb.starve, 3),
    "a second and a third Snakemake": (disturb.start_second, 1),
}
PLAN = dict.fromkeys(range(disturb.TIMES), KINDS)


@pytest.mark.parametrize("seed", PLAN)
def test_jobs_beyond_their_limits_are_repeated_to_the_same_bytes(campaign, seed):
    """Snakemake goes on all the while, which must neither give up nor take what a stopped job left for its output."""
    lost = ["feel/seed-0/iter-2"]
    campaign.forget(*lost)
    for kind in campaign.shuffle(PLAN[seed]):
        campaign.interrupt(kind, lost, "--retries", "9")
    campaign.succeeds()
    campaign.check()
