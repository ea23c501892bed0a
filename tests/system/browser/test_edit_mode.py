"""The page's edit mode as people use it: rename, merge, move, ignore, judge, drag and save; and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from feel_steps.dataset.corrections import list_constraints, read_corrections
from feel_steps.explore.corrections import correct_moments, load_corrections
from feel_steps.report.page import report
from feel_steps.tables import tables
from feel_steps.tables.run import find_run
from tests.synthetic_run import Shape, build
from tests.system.browser.chromium import missing, show
from tests.system.browser.test_report_page import AXE, type_into, wait

if reason := missing():
    pytest.skip(reason, allow_module_level=True)

CARD = 8  # a training video with a moment


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = build(tmp_path_factory.mktemp("edit"), Shape(train=16, test=2, media=0))
    pooled = run / "feel/seed-0/iter-3/pooled.parquet"
    noise = np.random.default_rng(0).normal(size=(16, 8))  # without structure, all clusters look alike
    tables.write(pooled, "pooled", {"video_id": tables.read(pooled, "pooled")["video_id"], "feature": noise})
    report(run, run / "report.html", names={1: "bow"})
    return run / "report.html"


@pytest.fixture
def saved(driver: Any, page: Path, tmp_path: Path) -> Callable[[], Path]:
    """Open the page with an empty memory; gives a function that presses Save and waits for the file."""
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    show(driver, page)
    driver.execute_script("localStorage.clear()")
    show(driver, page)

    def save() -> Path:
        driver.execute_script("window.showSaveFilePicker = undefined")  # a dialogue of the system: no test can press it
        driver.find_element("id", "edit-save").click()
        return wait(lambda: [file for file in tmp_path.iterdir() if file.name == "corrections.yaml"])[0]

    return save


def edit(driver: Any) -> Any:
    """Press Correct, and go to a video; gives its card."""
    driver.execute_script("document.getElementById('edit-toggle').click()")
    driver.execute_script(f"location.hash = '#video-{CARD}'")
    return wait(lambda: driver.find_elements("css selector", f"#card-{CARD}"))[0]


def press(driver: Any, node: Any, *keys: str) -> None:
    """Focus an element as the Tab key does, and type."""
    driver.execute_script("arguments[0].focus()", node)
    assert driver.switch_to.active_element == node
    for key in keys:
        node.send_keys(key)


def choose(driver: Any, select: Any, value: int) -> None:
    driver.execute_script(
        "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change', {bubbles: true}))",
        select,
        str(value),
    )


def settle(driver: Any, node: Any) -> None:
    """Scroll to an element, and wait until cards that are drawn on the way no longer move it."""
    driver.execute_async_script(
        """const [node, done] = arguments; let last = null, same = 0;
        const look = () => {
          node.scrollIntoView({block: 'center'});
          const top = node.getBoundingClientRect().top;
          same = top === last ? same + 1 : 0;
          last = top;
          if (same < 20) requestAnimationFrame(look); else done();
        };
        look();""",
        node,
    )


def test_every_correction_is_saved_kept_and_applied(driver: Any, page: Path, saved: Callable[[], Path]) -> None:
    """A person who corrected for an hour finds all of it in the file, in the browser, and in the next result."""
    from selenium.webdriver import ActionChains, Keys

    card = edit(driver)
    run = find_run(page.parent)
    video = str(run.videos["video_id"][CARD])
    field = driver.find_element("css selector", ".cluster[data-cluster='0'] .edit-row input")
    press(driver, field, Keys.CONTROL + "a", "wave: \"hello\" # 'é'")
    choose(driver, driver.find_element("css selector", ".cluster[data-cluster='3'] .edit-merge"), 2)
    old = int(run.assigned[CARD])
    choose(driver, card.find_element("css selector", ".edit-row select"), (old + 1) % 2)
    ignored = driver.find_element("css selector", f"#card-{CARD + 1} [type='checkbox']")
    driver.execute_script("arguments[0].click()", ignored)
    right, wrong = (card.find_elements("css selector", ".edit-moments li")[i] for i in (0, 1))
    driver.execute_script("arguments[0].click()", wrong.find_elements("tag name", "button")[2])
    driver.execute_script("arguments[0].click()", right.find_elements("tag name", "button")[1])
    handle = card.find_element("css selector", ".borders .end")
    before = float(handle.get_attribute("aria-valuenow"))
    settle(driver, handle)
    ActionChains(driver).drag_and_drop_by_offset(handle, 30, 0).perform()
    dragged = float(handle.get_attribute("aria-valuenow"))
    assert dragged > before
    press(driver, card.find_element("css selector", ".borders .start"), Keys.ARROW_LEFT)
    assert driver.find_element("id", "edit-count").text == "6 corrections"

    show(driver, page)  # the browser keeps the state
    assert driver.find_element("id", "edit-count").get_attribute("textContent") == "6 corrections"
    edit(driver)
    file = saved()
    found = read_corrections(file)
    assert found.names == {0: "wave: \"hello\" # 'é'"} and found.merges == [[2, 3]]
    assert found.moves == {video: (old + 1) % 2} and found.ignored == [run.videos["video_id"][CARD + 1]]
    marks = {mark.mark: mark for mark in found.moments}
    assert set(marks) == {"right", "wrong"} and marks["right"].borders[1] == dragged
    place = run.iteration_folder(run.iterations)
    given = load_corrections(file, run.videos, place / "centres.parquet")
    assert (video, "is", (old + 1) % 2) in list_constraints(given)
    assigned = dict(zip(run.videos["video_id"], run.assigned.tolist(), strict=True))
    moments = correct_moments(tables.read(place / "moments.parquet", "moments"), given, assigned)
    own = moments["video_id"] == video
    assert np.isclose(moments["t_end"][own], dragged).any() and moments["confidence"][own].max() == 1
    assert 3 not in moments["cluster"]


def test_undo_and_discard(driver: Any, saved: Callable[[], Path]) -> None:
    """A slip costs one press."""
    card = edit(driver)
    driver.execute_script("arguments[0].click()", card.find_element("css selector", "[type='checkbox']"))
    choose(driver, driver.find_element("css selector", ".cluster[data-cluster='3'] .edit-merge"), 2)
    driver.execute_script("document.querySelector('#edit-list button').click()")
    assert driver.find_element("id", "edit-count").text == "1 correction"
    driver.find_element("id", "edit-discard").click()
    assert driver.find_element("id", "edit-count").text == "0 corrections"
    assert yaml.safe_load(saved().read_text()).keys() == {"of"}


def test_what_the_run_has_applied_can_be_taken_back(driver: Any, page: Path, saved: Callable[[], Path]) -> None:
    """Undo took it out of the file, and left it on the page without a word; Discard could not bring it back."""
    run = find_run(page.parent)
    mark = {"video_id": str(run.videos["video_id"][CARD]), "cluster": 1, "t_start": 0.0, "t_end": 1.0, "mark": "wrong"}
    applied = {"names": {1: "bow"}, "merges": [[0, 2]], "moments": [mark]}
    report(page.parent, page.with_name("applied.html"), names={1: "bow"}, corrections=applied)
    show(driver, page.with_name("applied.html"))
    edit(driver)
    for _ in range(3):
        driver.execute_script("document.querySelector('#edit-list button').click()")
    choose(driver, driver.find_element("css selector", ".cluster[data-cluster='3'] .edit-merge"), 2)
    shown = (
        "return [...document.querySelectorAll('#edit-list li span, #edit-list .taken-back')].map((e) => e.textContent)"
    )
    assert driver.find_element("id", "edit-count").text == "1 correction, 3 taken back"
    assert driver.execute_script(shown)[:2] == [
        "Clusters 2, 3 are one",
        "Taken back, but shown until the next run: Cluster 1 is called bow",
    ]
    driver.find_element("id", "edit-discard").click()
    assert driver.find_element("id", "edit-count").text == "3 corrections"
    found = read_corrections(saved())
    assert (found.names, found.merges, [vars(own)["mark"] for own in found.moments]) == (
        {1: "bow"},
        [[0, 2]],
        ["wrong"],
    )


def test_clusters_that_are_merged_anew_are_in_one_group_with_one_name(driver: Any, saved: Callable[[], Path]) -> None:
    """The run would refuse the file."""
    edit(driver)
    for cluster, into in ((3, 2), (3, 1), (1, 3)):
        choose(driver, driver.find_element("css selector", f".cluster[data-cluster='{cluster}'] .edit-merge"), into)
    for cluster, name in ((3, "wave"), (1, "bow")):
        press(driver, driver.find_element("css selector", f".cluster[data-cluster='{cluster}'] .edit-name"), name)
    found = read_corrections(saved())
    assert found.merges == [[3, 1]] and found.names.keys() == {3}


def test_a_video_that_is_ignored_by_mistake_keeps_its_marks(driver: Any, saved: Callable[[], Path]) -> None:
    """They were gone. And a mark in an ignored video made a file that the run refused."""
    card = edit(driver)
    first, second = card.find_elements("css selector", ".edit-moments button + button:not(:last-child)")
    driver.execute_script("arguments[0].click()", first)
    driver.execute_script("arguments[0].click()", card.find_element("css selector", "[type='checkbox']"))
    assert driver.find_element("id", "edit-count").text == "1 correction"
    driver.execute_script("arguments[0].click()", second)
    found = read_corrections(saved())
    assert found.ignored == [] and [mark.mark for mark in found.moments] == ["right", "right"]


def test_borders_stop_at_the_next_moment_of_the_cluster(driver: Any, saved: Callable[[], Path]) -> None:
    """The run would refuse two that are right and overlap."""
    from selenium.webdriver import Keys

    card = edit(driver)
    press(driver, card.find_element("css selector", ".borders .end"), *[Keys.PAGE_UP] * 20)
    for button in card.find_elements("css selector", ".edit-moments button + button:not(:last-child)"):
        driver.execute_script("arguments[0].click()", button)
    first, second = read_corrections(saved()).moments
    assert first.cluster == second.cluster and first.segment[1] == second.t_start


def test_a_video_is_found_by_the_name_that_its_cluster_was_just_given(driver: Any, saved: Callable[[], Path]) -> None:
    edit(driver)
    press(driver, driver.find_element("css selector", ".cluster[data-cluster='0'] .edit-name"), "somersault")
    type_into(driver, "search", "somersault")
    assert driver.execute_script("return document.querySelectorAll('#cards .card').length")


def test_a_merge_that_the_page_suggests_is_filled_in(driver: Any, page: Path, saved: Callable[[], Path]) -> None:
    """The warning that two clusters look alike leads to the correction."""
    suggestions = driver.find_elements("css selector", "[data-merge]")
    pair = [int(c) for c in suggestions[0].get_attribute("data-merge").split(",")]
    driver.execute_script("arguments[0].click()", suggestions[0])
    assert read_corrections(saved()).merges == [pair]


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone_and_axe_finds_nothing_serious(
    driver: Any, page: Path, saved: Callable[[], Path], width: int, dark: bool
) -> None:
    show(driver, page, width=width, height=844, dark=dark)
    edit(driver)
    driver.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert driver.execute_script("return document.documentElement.scrollWidth") == width
    if AXE.exists():
        driver.execute_script(AXE.read_text(encoding="utf-8"))
        found = driver.execute_async_script("axe.run().then(arguments[0])")["violations"]
        assert [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] in ("serious", "critical")] == []
