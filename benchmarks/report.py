"""Does the page of 2,000 videos open within 3 s, and answer within 100 ms?

    python benchmarks/report.py [--videos 2000] [--snippets 400]
    python benchmarks/report.py --write --videos 100000 --snippets 40

With --write, the page is only written, by a command of its own whose peak memory is shown; no browser is needed.
Made-up results, real page, headless Chromium. Opening ends when the page's program has built the list of videos; an
interaction ends when the frame that follows it is drawn. Shown are the median and the worst of seven.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.memory import apart, measure
from feel_steps.report.page import report
from tests.synthetic_run import Shape, build
from tests.system.browser.chromium import browser, missing, show

REPEATS = 7
INTERACTIONS = {  # i counts the repeats
    "search": "type('search', `clip 0${i}`)",
    "clear the search": "type('search', '')",
    "filter by cluster": "type('cluster', i)",
    "sort by strongest moment": "type('sort', i % 2 ? 'duration' : 'score')",
    "all clusters again": "type('cluster', '')",
    "next page": "document.getElementById('next').click()",
    "another iteration on the map": "type('iteration', 1 + i % 4)",
    "highlight a cluster": "document.querySelectorAll('.legend button')[i].click()",
    "point at the map": "mouse(document.getElementById('map-canvas'), 'pointermove')",
    "go to a video": "location.hash = `#video-${100 + 37 * i}`",
    "click a curve": "mouse(document.querySelector('.card:focus .strips'), 'click')",
}
TIMED = """
const i = arguments[0], done = arguments[1];
const type = (id, value) => {
  const field = document.getElementById(id);
  field.value = value;
  field.dispatchEvent(new Event('input', {bubbles: true}));
};
const mouse = (element, kind) => {
  const box = element.getBoundingClientRect(), at = {clientX: box.left + 200 + 30 * i, clientY: box.top + 100};
  element.dispatchEvent(new PointerEvent(kind, {bubbles: true, ...at}));
};
const start = performance.now();
ACTION;
requestAnimationFrame(() => {
  const channel = new MessageChannel();
  channel.port1.onmessage = () => done(performance.now() - start);
  channel.port2.postMessage(0);
});
"""
OPENED = "return performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"


def write(shape):
    with tempfile.TemporaryDirectory() as folder:
        apart(build, Path(folder), shape)
        run = Path(folder) / "results" / "demo"
        page = run / "report.html"
        wall, cpu, peak = measure(["report", "--run", str(run), "--out", str(page)])
        size = page.stat().st_size / 1e6
        print(
            f"{shape.train + shape.test:,} videos: {wall:.1f} s, {cpu:.1f} processor s, {peak:.0f} MiB, {size:.1f} MB"
        )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--videos", type=int, default=2000)
    parser.add_argument("--snippets", type=int, default=400)
    parser.add_argument("--write", action="store_true", help="only write the page")
    options = parser.parse_args()
    test = options.videos // 4
    shape = Shape(options.videos - test, test, clusters=20, iterations=4, snippets=options.snippets, media=40)
    if options.write:
        return write(shape)
    if reason := missing():
        sys.exit(f"skipped: {reason}")
    with tempfile.TemporaryDirectory() as folder, browser() as driver:
        run = build(Path(folder), shape)
        page, start = run / "report.html", time.perf_counter()
        report(run, page)
        print(f"write the page of {options.videos} videos: {time.perf_counter() - start:.1f} s, ", end="")
        print(f"{page.stat().st_size / 1e6:.1f} MB")
        times = {"open": []}
        for _ in range(REPEATS):
            show(driver, page)
            times["open"].append(driver.execute_script(OPENED))
        for name, script in INTERACTIONS.items():
            times[name] = []
            for repeat in range(REPEATS):
                times[name].append(driver.execute_async_script(TIMED.replace("ACTION", script), repeat))
                time.sleep(0.4)
        errors = driver.get_log("browser")
        if errors:
            sys.exit(json.dumps(errors))
    print("| | median, ms | worst, ms |\n|---|---|---|")
    for name, values in times.items():
        print(f"| {name} | {statistics.median(values):.0f} | {max(values):.0f} |")


if __name__ == "__main__":
    main()
