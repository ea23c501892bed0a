"""Asks a person for the names of clusters: on the page, or in the terminal."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Callable
from pathlib import Path

from feel_steps.explore.names import find_names, write_names
from feel_steps.report.clusters import cards
from feel_steps.report.media import contact_sheet
from feel_steps.tables.folders import NAMES, SHEET
from feel_steps.tables.run import find_run


def open_page(run: Path) -> bool:
    """Open the run's page in its edit mode; False where there is no page that has one, or no browser to show it."""
    page = run / "report.html"
    if not page.is_file() or 'id="edit-toggle"' not in page.read_text(encoding="utf-8", errors="replace"):
        return False
    if sys.platform.startswith("linux") and not {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
        return False  # else a browser in the terminal may be found, which runs no scripts
    try:
        return webbrowser.open(f"{page.resolve().as_uri()}#edit")
    except webbrowser.Error:
        return False


def ask_names(run: Path, ask: Callable[[str, str], str], say: Callable[[str], object]) -> Path:
    """Ask a person for the name of each cluster, and show its typical moments.

    Parameters
    ----------
    run : path
        Results folder of a finished run.
    ask : callable
        Takes a question and the present name ("" if none), and returns the answer ("" for no change).
    say : callable
        Shows a line.

    Returns
    -------
    path
        The file with the names. It is written after each answer, so that an interrupted session keeps its answers.
        Beside it is ``contact-sheet.png``, where videos can be decoded.
    """
    finished, path = find_run(run), run / NAMES
    iteration = finished.iteration_folder(finished.iterations)
    names = find_names(run, iteration)
    clusters = cards(finished, {})
    pictures = contact_sheet(clusters, run / SHEET) or run / "report.html"
    say(f"Typical moments have pictures in {pictures}. Enter leaves a name as it is; Ctrl-C ends.")
    for cluster in clusters:
        c = cluster["id"]
        labels = f"; annotated as {', '.join(cluster['labels'])}" if cluster["labels"] else ""
        say(f"\ncluster {c}: {cluster['size']} videos{labels}")
        for moment in cluster["moments"]:
            minutes, seconds = divmod(moment["time"], 60)
            say(f"  {minutes:.0f}:{seconds:04.1f}  {moment['path'] or moment['video']}")
        if answer := ask(f"name of cluster {c}", names.get(c, "")).strip():
            names[c] = answer
            write_names(path, names, iteration)
    return path
