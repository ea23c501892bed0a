"""Files that change between runs: if this fails, a failing disk or a wrong clock changes the result unnoticed."""

from __future__ import annotations

import pytest

from . import disturb

KINDS = {
    "a file truncated": (disturb.truncate, 3),
    "a bit flipped": (disturb.flip_bit, 4),
    "a block of zeros": (disturb.erase_block, 2),
    "a file deleted": (disturb.delete, 1),
    "a file's time moved": (disturb.move_time, 2),
    "the clock set back": (disturb.set_clock_back, 1),
}
PLAN = {0: {name: (how, 2 * count) for name, (how, count) in KINDS.items()}} | dict.fromkeys([1, 2, 3], KINDS)


@pytest.mark.parametrize("seed", PLAN)
def test_damaged_files_are_found_and_made_again(campaign, seed):
    place = "feel/seed-0/iter-2" if seed else ""  # the earlier the damage, the more is made again
    files = [campaign.workspace.results / file for file in campaign.reference if file.startswith(place)]
    campaign.rng.shuffle(files)
    for how in campaign.shuffle(PLAN[seed]):
        target = campaign.workspace.folder if how == disturb.set_clock_back else files.pop()
        campaign.done.append(how(target, campaign.rng))
    campaign.resume()
    campaign.check()
