"""Processes that die: if this fails, a killed job or a lost node costs a run, or leaves another result."""

from __future__ import annotations

import pytest

from . import disturb

KINDS = {
    "a job killed": (disturb.kill_job, 4),
    "Snakemake killed, its jobs going on": (disturb.kill_snakemake, 2),
    "Snakemake killed, a job hanging": (disturb.leave_orphan, 2),
    "node gone": (disturb.lose_node, 2),
}
PLAN = dict.fromkeys(range(disturb.TIMES), KINDS)


@pytest.mark.parametrize("seed", PLAN)
def test_a_run_killed_again_and_again_ends_as_if_it_had_not_been(campaign, seed):
    """From the first step on; each kill hits a run that goes on with what the one before has left."""
    lost = ["."]
    campaign.forget(*lost)
    for kind in campaign.shuffle(PLAN[seed]):
        campaign.interrupt(kind, lost)
    campaign.resume()
    campaign.wake_orphans()
    campaign.check()
