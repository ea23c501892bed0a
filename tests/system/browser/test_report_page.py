"""The report as people meet it: in a browser. Each test names what would be broken for them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feel_steps.explore.groups import compare_groups, write
from feel_steps.explore.predict import Prediction
from feel_steps.report.page import predicted_page, report
from feel_steps.tables import tables
from tests.paths import ROOT
from tests.synthetic_run import AWKWARD, Shape, build
from tests.system.browser.chromium import missing, requested, show

if reason := missing():
    pytest.skip(reason, allow_module_level=True)

AXE = ROOT / "node_modules/axe-core/axe.min.js"
TYPE = (
    "const field = document.getElementById(arguments[0]);"
    " field.value = arguments[1]; field.dispatchEvent(new Event('input', {bubbles: true}))"
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with videos and annotations."""
    run = build(tmp_path_factory.mktemp("page"), Shape(train=24, test=6, media=3, segments=True))
    videos, moments = tables.read(run / "videos.parquet", "videos"), run / "feel/seed-0/iter-3/moments.parquet"
    durations = dict(zip(videos["video_id"], videos["duration"].tolist(), strict=True))
    of = {video: f"<b>group {i % 3}</b> & so on" for i, video in enumerate(durations)}
    compared = compare_groups(tables.read(moments, "moments"), durations, of, 4, permutations=99)
    write(compared, run / "groups", {})
    config = {"name": "demo", "note": "</pre><script>alert(2)</script>"}
    report(run, run / "report.html", config=config, groups=run / "groups")
    return run / "report.html"


@pytest.fixture(scope="module")
def bare_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of features alone: no videos, no annotations; several variants and seeds."""
    shape = Shape(media=0, annotations=False, skipped=False, test=0, variants=("feel", "no-cci"), seeds=(0, 1))
    run = build(tmp_path_factory.mktemp("bare"), shape)
    report(run, run / "report.html")
    return run / "report.html"


def wait(found: Callable[[], Any], seconds: float = 8.0) -> Any:
    """Wait until something holds; gives it, or fails."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := found():
            return value
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


def type_into(driver: Any, field: str, value: object) -> None:
    driver.execute_script(TYPE, field, str(value))


def titles(driver: Any) -> list[str]:
    return driver.execute_script("return [...document.querySelectorAll('.card h3')].map((h) => h.textContent)")


def player_card(driver: Any) -> Any:
    """The card of the first video, filled, its file loaded."""
    driver.execute_script("location.hash = '#video-0'")
    card = wait(lambda: driver.find_elements("css selector", "#card-0"))[0]
    wait(lambda: driver.execute_script("return arguments[0].querySelector('video').readyState >= 1", card))
    return card


def playhead(driver: Any, card: Any) -> float:
    """Where the playhead stands, as a share of the time axis, by its place on the screen."""
    return driver.execute_script(
        "const h = arguments[0].querySelector('.playhead').getBoundingClientRect(),"
        " s = arguments[0].querySelector('.strip svg').getBoundingClientRect();"
        " return (h.left + 1 - s.left) / s.width",
        card,
    )


@pytest.mark.parametrize("kind", ["page", "bare_page"])
def test_opens_silently_and_asks_for_nothing_but_the_videos(
    driver: Any, kind: str, request: pytest.FixtureRequest
) -> None:
    """A page opened offline works, and tells no server about anyone's videos."""
    requested(driver)
    driver.get_log("browser")
    show(driver, request.getfixturevalue(kind))
    wait(lambda: titles(driver))
    type_into(driver, "iteration", 1)
    if kind == "page":
        player_card(driver)
    time.sleep(0.3)
    assert driver.get_log("browser") == []
    assert {url.split(":")[0] for url in requested(driver)} <= {"file", "data", "about", "chrome"}


def test_names_are_text(driver: Any, page: Path) -> None:
    """Whatever a video, a reason or a setting is called, it is shown and never run."""
    show(driver, page)
    type_into(driver, "search", "script")
    assert set(titles(driver)) == {AWKWARD[0], AWKWARD[3]}
    assert "</pre><script>alert(2)" in driver.execute_script("return document.querySelector('pre').textContent")
    assert driver.find_elements("css selector", "#skipped b") == []


def test_a_click_on_the_curve_seeks_the_video(driver: Any, page: Path) -> None:
    show(driver, page)
    card = player_card(driver)
    duration = driver.execute_script(
        "const s = arguments[0].querySelector('.strip svg'), b = s.getBoundingClientRect();"
        " const at = {bubbles: true, clientX: b.left + 0.75 * b.width, clientY: b.top + 5};"
        " s.dispatchEvent(new MouseEvent('click', at));"
        " return +arguments[0].querySelector('.strips').getAttribute('aria-valuemax')",
        card,
    )
    at = driver.execute_script("return arguments[0].querySelector('video').currentTime", card)
    assert at == pytest.approx(0.75 * duration, abs=0.05)
    assert playhead(driver, card) == pytest.approx(0.75, abs=0.01)


def test_the_playhead_follows_the_video(driver: Any, page: Path) -> None:
    show(driver, page)
    card = player_card(driver)
    driver.execute_script("const v = arguments[0].querySelector('video'); v.muted = true; v.play()", card)
    wait(lambda: playhead(driver, card) > 0.02)
    driver.execute_script("arguments[0].querySelector('video').pause()", card)
    time.sleep(0.2)
    share = driver.execute_script(
        "return arguments[0].querySelector('video').currentTime"
        " / +arguments[0].querySelector('.strips').getAttribute('aria-valuemax')",
        card,
    )
    assert playhead(driver, card) == pytest.approx(share, abs=0.02)
    driver.execute_script("arguments[0].querySelector('video').currentTime = 1", card)
    wait(lambda: driver.execute_script("return arguments[0].querySelector('.strips').ariaValueNow === '1.0'", card))


def test_the_keyboard_moves_through_a_video(driver: Any, page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    show(driver, page)
    card = player_card(driver)
    strips = card.find_element("css selector", ".strips")
    strips.send_keys(Keys.END)
    assert playhead(driver, card) == pytest.approx(1.0, abs=0.01)
    strips.send_keys(Keys.HOME)
    strips.send_keys(Keys.ARROW_RIGHT)
    assert 0 < playhead(driver, card) < 0.2


def test_a_typical_moment_leads_to_its_video(driver: Any, page: Path) -> None:
    show(driver, page)
    link = driver.find_elements("css selector", ".moments a")[-1]
    index, moment = link.get_attribute("href").split("#video-")[1].split("@")
    driver.execute_script("arguments[0].click()", link)
    card = wait(lambda: driver.find_elements("css selector", f"#card-{index}"))[0]
    wait(lambda: card == driver.switch_to.active_element)
    now = card.find_element("css selector", ".strips").get_attribute("aria-valuenow")
    assert float(now) == pytest.approx(float(moment), abs=0.06)


def test_filters_and_sorting(driver: Any, page: Path) -> None:
    show(driver, page)
    count = driver.find_element("id", "count")
    assert count.text == "30 videos"
    type_into(driver, "search", "clip 0003")
    assert (titles(driver), count.text) == (["clip 0003"], "1 of 30 videos")
    type_into(driver, "search", "no such thing")
    assert (titles(driver), count.text) == ([], "0 of 30 videos")
    type_into(driver, "search", "")
    type_into(driver, "split", "test")
    assert count.text == "6 of 30 videos"
    type_into(driver, "split", "")
    type_into(driver, "sort", "duration")
    lengths = driver.execute_script(
        "return [...document.querySelectorAll('.strips')].map((s) => +s.getAttribute('aria-valuemax'))"
    )
    assert lengths == sorted(lengths, reverse=True)
    type_into(driver, "cluster", 2)
    chips = driver.execute_script("return [...document.querySelectorAll('.chips')].map((c) => c.textContent)")
    assert chips and all("squat" in chip for chip in chips)


def test_pages_of_videos(driver: Any, page: Path) -> None:
    """Every video can be reached, in the order of the list."""
    show(driver, page)
    seen = titles(driver)
    while driver.find_element("id", "next").is_enabled():
        driver.execute_script("document.getElementById('next').click()")
        seen += titles(driver)
    assert len(seen) == len(set(seen)) == 30


def test_the_slider_changes_the_map_and_a_click_opens_the_video(driver: Any, page: Path) -> None:
    show(driver, page)
    picture = "return document.getElementById('map-canvas').toDataURL()"
    wait(lambda: driver.execute_script("return document.getElementById('map-canvas').width > 300"))
    last = driver.execute_script(picture)
    type_into(driver, "iteration", 1)
    wait(lambda: driver.execute_script(picture) != last)
    type_into(driver, "iteration", 3)
    wait(lambda: driver.execute_script(picture) == last)
    driver.execute_script(
        "const c = document.getElementById('map-canvas'), b = c.getBoundingClientRect();"
        " for (let x = 0; x < b.width; x += 8) for (let y = 0; y < b.height; y += 8) {"
        "   const at = {bubbles: true, clientX: b.left + x, clientY: b.top + y};"
        "   c.dispatchEvent(new PointerEvent('pointermove', at));"
        "   if (!document.getElementById('map-tip').hidden) {"
        "     window.tip = document.getElementById('map-tip').textContent;"
        "     return c.dispatchEvent(new MouseEvent('click', at)); } }"
    )
    focused = wait(lambda: driver.execute_script("return document.activeElement.querySelector('h3')?.textContent"))
    assert driver.execute_script("return window.tip").startswith(focused)


def test_parts_have_borders_and_a_video_has_a_set_of_clusters(driver: Any, tmp_path: Path) -> None:
    """In a run on parts, a person sees where a video was cut, what each part was taken for, and finds it by either."""
    run = build(tmp_path, Shape(train=12, test=3, media=0, parts=True))
    report(run, run / "report.html")
    show(driver, run / "report.html")
    driver.execute_script("location.hash = '#video-0'")
    card = wait(lambda: driver.find_elements("css selector", "#card-0 .part") and driver.find_element("id", "card-0"))
    parts = card.find_elements("css selector", ".part")
    told = [part.find_element("css selector", "title").get_attribute("textContent") for part in parts]
    assert len(told) == 2
    assert told[0].endswith(", selected for training")
    names = [text.partition(" 0:")[0] for text in told]
    chips = [chip.text for chip in card.find_elements("css selector", ".chips span")]
    assert chips[:2] == names
    for name in names:
        type_into(driver, "search", f"{name} alert(1)")
        assert driver.execute_script("return document.querySelectorAll('.card').length") == 1
    assert driver.find_element("id", "map-title").text == "Map of the parts"


def test_a_line_of_the_segmentation_leads_to_its_video(driver: Any, page: Path) -> None:
    """A person sees all videos at once, and goes to one of them, which shows the same segments."""
    show(driver, page)
    line = driver.find_elements("css selector", "#segmentation .timeline a")[2]
    driver.execute_script(
        "arguments[0].dispatchEvent(new MouseEvent('click', {bubbles: true, cancelable: true}))", line
    )
    card = wait(lambda: driver.find_elements("css selector", "#card-2 .part") and driver.find_element("id", "card-2"))
    told = [part.get_attribute("textContent") for part in card.find_elements("css selector", ".part title")]
    assert [text.split()[0] for text in told] == ["C", "D", "E"]


def test_a_missing_file_is_said(driver: Any, tmp_path: Path) -> None:
    """Videos that were moved leave a line in place of a dead player."""
    run = build(tmp_path, Shape(train=4, test=0, media=1, clusters=2, iterations=1))
    next((tmp_path / "videos").iterdir()).unlink()
    report(run, run / "report.html")
    show(driver, run / "report.html")
    driver.execute_script("location.hash = '#video-0'")
    wait(lambda: "cannot play" in driver.find_element("css selector", "#card-0 .media").text)


def test_the_page_of_new_videos_works_without_a_map(driver: Any, tmp_path: Path) -> None:
    """It shares the report's script: players, curves and filters, and says which videos look strange."""
    run = build(tmp_path, Shape(train=4, test=0, media=2, clusters=2, iterations=1))
    place = run / "feel/seed-0/iter-1"
    written = {
        kind: tables.read(place / f"{kind}.parquet", kind)
        for kind in ("attention", "embeddings", "detections", "moments")
    }
    seen = Prediction(tables.read(run / "videos.parquet", "videos"), **written, unlike=np.arange(4) == 0)
    predicted_page(seen, tmp_path / "predicted.html", run="demo", names={1: "bow"})
    driver.get_log("browser")
    show(driver, tmp_path / "predicted.html", width=390)
    wait(lambda: player_card(driver).find_elements("css selector", ".activation"))
    assert "unlike all training videos" in driver.find_element("css selector", "#card-0 .chips").text
    type_into(driver, "cluster", 1)
    assert all("bow" in chips.text for chips in driver.find_elements("css selector", ".chips"))
    assert driver.execute_script("return document.documentElement.scrollWidth") == 390
    assert driver.get_log("browser") == []


@pytest.mark.parametrize("kind", ["page", "bare_page"])
@pytest.mark.parametrize("width", [390, 768, 1280])
def test_nothing_runs_over_the_edge(driver: Any, kind: str, width: int, request: pytest.FixtureRequest) -> None:
    show(driver, request.getfixturevalue(kind), width=width, height=844)
    driver.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    for place in range(0, driver.execute_script("return document.body.scrollHeight"), 2000):
        driver.execute_script("scrollTo(0, arguments[0])", place)
        time.sleep(0.05)
    assert driver.execute_script("return document.documentElement.scrollWidth") == width


def test_dark_is_dark(driver: Any, page: Path) -> None:
    colours = (
        "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color].map((c) => +/\\d+/.exec(c)[0])"
    )
    show(driver, page)
    background, ink = driver.execute_script(colours)
    assert background > 200 > 60 > ink
    show(driver, page, dark=True)
    background, ink = driver.execute_script(colours)
    assert background < 60 < 200 < ink


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed (npm install --no-save axe-core)")
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("kind", ["page", "bare_page"])
def test_axe_finds_nothing_serious(driver: Any, kind: str, dark: bool, request: pytest.FixtureRequest) -> None:
    """People who use a keyboard, a screen reader or strong contrast can read the page."""
    show(driver, request.getfixturevalue(kind), dark=dark)
    driver.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    driver.execute_script("location.hash = '#video-0'")  # cards off the screen are not drawn, and not examined
    wait(lambda: driver.find_elements("css selector", "#card-0 svg.swatch"))
    driver.execute_script(AXE.read_text(encoding="utf-8"))
    found = driver.execute_async_script("axe.run().then(arguments[0])")["violations"]
    serious = [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] in ("serious", "critical")]
    assert serious == []
