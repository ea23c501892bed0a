"""``python -m feel_steps`` is ``feel-steps``."""

from feel_steps.cli import main

main()
