"""``python -m feel_steps`` is ``feel-steps``."""

import os

if "FEEL_STEPS_FORKSERVER" in os.environ:
    from feel_steps.runtime.forkserver import hand_over

    hand_over()

from feel_steps.cli import main

main()
