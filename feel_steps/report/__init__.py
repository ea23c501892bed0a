"""Shows the results of a run: an HTML page (page.py), and a table for the terminal (summary.py)."""
