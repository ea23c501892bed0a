"""Make the pictures of the README and the docs from real pages, in headless Chromium.

Run it in the repository's root, after ``make demo``:  python -m docs.make_images
For the figures of docs/results:  python -m docs.make_images results/msrc12/studies.html --studies ablation localizers
It needs chromium and chromedriver (Debian packages chromium and chromium-driver), selenium, and the run's videos.
"""

from __future__ import annotations

import argparse
import base64
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tests.system.browser.chromium import browser, missing, show

IMAGES = Path(__file__).parent / "images"
WIDTH, MARGIN, GAP = 1120, 24, 40  # pixels
AT_MOST = 400_000  # bytes
INDEX = """
const {videos} = JSON.parse(document.getElementById('data').textContent);
return videos.findIndex((video) => arguments[0] ? video.id === arguments[0] : video.split === 'test');
"""
SEEK = """
const card = document.getElementById(`card-${arguments[0]}`);
card.blur();
const best = JSON.parse(document.getElementById('data').textContent).videos[arguments[0]].found[0] ?? [0, 0, 0];
card.seek((best[1] + best[2]) / 2);
"""


def rectangle(driver: Any, first: str, last: str) -> np.ndarray:
    """What the page shows from the top of one element to the bottom of another, uint8 [H, WIDTH, 3]."""
    top, bottom = driver.execute_script(
        "const box = (name) => document.querySelector(name).getBoundingClientRect();"
        "return [box(arguments[0]).top + scrollY - 12, box(arguments[1]).bottom + scrollY + 6]",
        first,
        last,
    )
    clip = {"x": 0, "y": top, "width": WIDTH, "height": bottom - top, "scale": 1}
    shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    return decode(base64.b64decode(shot["data"]))


def decode(png: bytes) -> np.ndarray:
    """Pixels of a picture, uint8 [H, W, 3]."""
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)


def picture_report(driver: Any, page: Path, video: str | None) -> None:
    """The clusters with their typical moments, and one video in its player with what was found in it."""
    show(driver, page, width=WIDTH, height=2400)
    index = driver.execute_script(INDEX, video)
    if index < 0:
        sys.exit(f"error: {page}: there is no {video or 'test video'} in it")
    time.sleep(2)  # the pictures of the moments load
    clusters = rectangle(driver, "#clusters", ".clusters")
    driver.execute_script("location.hash = `#video-${arguments[0]}`", index)
    time.sleep(2)  # the player loads its file
    driver.execute_script(SEEK, index)
    time.sleep(2)
    # Not by rectangle: a screenshot beyond the window lays out the cards above again, and this card moves.
    card = decode(driver.find_element("id", f"card-{index}").screenshot_as_png)
    left = (WIDTH - card.shape[1]) // 2
    card = np.pad(card, ((0, 0), (left, WIDTH - card.shape[1] - left), (0, 0)), constant_values=255)
    edge = [np.full((height, WIDTH, 3), 255, np.uint8) for height in (GAP, MARGIN)]
    write("report", np.concatenate([clusters, edge[0], card, edge[1]]))


def picture_studies(driver: Any, page: Path, names: list[str]) -> None:
    """The figures of each of these studies, with their key."""
    show(driver, page, width=WIDTH, height=2400)
    for name in names:
        if not driver.find_elements("css selector", f"#{name} .charts"):
            sys.exit(f"error: {page}: there is no study '{name}' in it")
        last = f"#{name} .key" if driver.find_elements("css selector", f"#{name} .key") else f"#{name} .charts"
        write(name, rectangle(driver, f"#{name} .charts", last))


def write(name: str, picture: np.ndarray) -> None:
    """Save a picture, small enough for a repository."""
    out = IMAGES / f"{name}.png"
    IMAGES.mkdir(exist_ok=True)
    cv2.imwrite(str(out), picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    size = out.stat().st_size
    print(f"{out}: {size / 1000:.0f} kB")
    if size > AT_MOST:
        sys.exit(f"error: {out}: more than {AT_MOST / 1000:.0f} kB; show less")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path, nargs="?", default=Path("results/demo/report.html"))
    parser.add_argument("--video", help="video to show; default: the first of the test videos")
    parser.add_argument("--studies", nargs="+", help="the page shows studies: names of those to picture")
    arguments = parser.parse_args()
    if reason := missing():
        sys.exit(f"error: {reason}")
    if not arguments.page.is_file():
        sys.exit(f"error: {arguments.page}: no such page; run make demo")
    with browser() as driver:
        if arguments.studies:
            picture_studies(driver, arguments.page, arguments.studies)
        else:
            picture_report(driver, arguments.page, arguments.video)


if __name__ == "__main__":
    main()
