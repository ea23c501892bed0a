"""Files that change between runs: if this fails, a failing disk or a wrong clock changes the result unnoticed."""

from __future__ import annotations

import pytest

from . import disturb

KINDS = {
    "a file truncated": (disturb.truncate, 6),
    "a bit flipped": (disturb.flip_bit, 8),
    "a block of zeros": (disturb.erase_block, 4),
    "a file deleted": (disturb.delete, 2),
    "a file's time moved": (disturb.move_time, 4),
    "the clock set back": (disturb.set_clock_back, 2),
    "two files swapped": (disturb.swap, 2),
    "a leftover temporary file": (disturb.leave_half, 2),
}
PLAN = dict.fromkeys(range(disturb.TIMES), KINDS)


@pytest.mark.parametrize("seed", PLAN)
def test_damaged_files_are_found_and_made_again(campaign, seed):
    """All in one run, so that damage to some files must not hide that to others."""
    files = [campaign.workspace.results / file for file in campaign.reference]
    campaign.rng.shuffle(files)
    twins = [file for file in files if file.parent.name == "iter-1"]
    target = {disturb.set_clock_back: lambda: campaign.workspace.folder, disturb.swap: twins.pop}
    # files are swapped first, as long as both are there
    for how in sorted(campaign.shuffle(PLAN[seed]), key=lambda how: how != disturb.swap):
        campaign.done.append(how(target.get(how, files.pop)(), campaign.rng))
    campaign.resume()
    campaign.check()
