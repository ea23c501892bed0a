"""What a run found, for people: one HTML page, and a table for the terminal."""

from feel_steps.report.page import report

__all__ = ["report"]
