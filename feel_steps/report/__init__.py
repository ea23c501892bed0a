"""What a run found, for people: one HTML page (page.py), and a table for the terminal (summary.py)."""
