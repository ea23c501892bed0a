"""The page of the studies: nothing in it that is not said, nothing loaded, nothing unescaped."""

from __future__ import annotations

import re

import numpy as np
import pytest

from studies.measures import NONE, to_table
from studies.page import write_studies

ABOUT = {"title": "Ablation", "question": "Does it <b>help</b>?", "paper": "It does.", "reference": "off"}


def table(settings, iterations=2, metric="mAP"):
    """Rows of settings (label, x, y, level), each over three seeds that differ by a little."""
    return to_table(
        (label, x, y, seed, iteration, metric, level + 0.1 * iteration + 0.001 * seed * (1 + (label == "on")))
        for label, x, y, level in settings
        for seed in range(3)
        for iteration in range(1, iterations + 1)
    )


def page(tmp_path, tables, **about):
    write_studies(tables, {name: {**ABOUT, **about} for name in tables}, tmp_path / "studies.html", name="<run>")
    return (tmp_path / "studies.html").read_text(encoding="utf-8")


def plain(html):
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def test_the_page_says_what_was_best_and_whether_chance_explains_it(tmp_path):
    html = page(tmp_path, {"ablation": table([("off", NONE, NONE, 0.1), ("on", NONE, NONE, 0.2)])})
    text = plain(html)
    assert "mAP: highest with “on”, 0.402 ± 0.002; +0.101 against “off”" in text
    assert "over 3 paired seeds, [+0.099, +0.103], excludes 0" in text
    assert "--config studies=ablation" in text
    assert html.count('class="line"') == 2  # over the iterations


def test_the_page_loads_nothing_runs_nothing_and_escapes_everything(tmp_path):
    html = page(tmp_path, {"ablation": table([("off", NONE, NONE, 0.1), ("<script>on", NONE, NONE, 0.2)])})
    assert "Content-Security-Policy" in html and "default-src &#39;none&#39;" in html.replace(
        "'none'", "&#39;none&#39;"
    )
    assert "<script" not in html and "http" not in re.sub(r"http-equiv", "", html)
    assert "Does it &lt;b&gt;help&lt;/b&gt;?" in html and "&lt;run&gt;" in html


def test_a_grid_is_a_heat_map_with_its_numbers(tmp_path):
    cells = [(f"{x} {y}", x, y, 0.1 * x + 0.01 * y) for x in (1.0, 2.0) for y in (1.0, 3.0)]
    html = page(tmp_path, {"grid": table(cells)}, figure="heat", reference="1.0 1.0", x="α", y="β")
    assert html.count('class="cell"') == 4 and "α 2, β 3: 0.431" in html
    assert "highest with “2.0 3.0”" in plain(html)


def test_a_curve_says_where_it_lies_above_its_reference(tmp_path):
    rows = [("CCI", x, NONE, 0.5 - 0.2 * x) for x in (0.0, 1.0, 2.0)] + [("k-means", NONE, NONE, 0.25)]
    html = page(tmp_path, {"noise": table(rows, 1)}, figure="curve", reference="k-means", x="noise")
    text = plain(html)
    assert "mAP, CCI: −0.150 to +0.250 against “k-means” over 3 places" in text
    assert html.count('class="line"') == 2 and ">noise<" in html


def test_settings_at_one_place_each_are_one_curve_unless_they_share_it(tmp_path):
    apart = page(tmp_path, {"a": table([("off", 1.0, NONE, 0.1), ("on", 2.0, NONE, 0.2)])}, figure="curve")
    together = page(tmp_path, {"a": table([("off", 1.0, NONE, 0.1), ("on", 1.0, NONE, 0.2)])}, figure="curve")
    assert [html.count('class="line"') for html in (apart, together)] == [1, 2]


@pytest.mark.parametrize("lower", [[], ["mAP"]])
def test_less_may_be_better(tmp_path, lower):
    html = page(tmp_path, {"a": table([("off", NONE, NONE, 0.1), ("on", NONE, NONE, 0.2)])}, lower=lower)
    assert ("lowest with “off”" in plain(html)) == bool(lower)


def test_several_references_are_each_compared(tmp_path):
    rows = table([("off", NONE, NONE, 0.1), ("on", NONE, NONE, 0.2), ("bound", NONE, NONE, 0.5)])
    text = plain(page(tmp_path, {"a": rows}, reference={"on": "off", "bound": "on"}))
    assert "“on” +0.101 against “off”" in text and "“bound” +0.299 against “on”" in text


def test_one_seed_is_not_taken_for_a_finding(tmp_path):
    one = table([("off", NONE, NONE, 0.1), ("on", NONE, NONE, 0.2)])
    one = {name: column[one["seed"] == 0] for name, column in one.items()}
    text = plain(page(tmp_path, {"a": one}))
    assert "in one seed, which says nothing about chance" in text and "nan" not in text
    along = table([("k-means", NONE, NONE, 0.1), *(("CCI", x, NONE, 0.2) for x in (1.0, 2.0))])
    along = {name: column[along["seed"] == 0] for name, column in along.items()}
    text = plain(page(tmp_path, {"a": along}, figure="curve", reference="k-means"))
    assert "over 2 places, in one seed, which says nothing about chance" in text


def test_without_annotations_the_page_shows_what_needs_none_and_says_so(tmp_path):
    rows = table([("off", NONE, NONE, 0.1), ("on", NONE, NONE, 0.2)], metric="silhouette")
    text = plain(page(tmp_path, {"a": rows}, metrics=["NMI refined", "mAP"]))
    assert "There are no annotations" in text and "silhouette: highest with “on”" in text


def test_the_same_tables_give_the_same_bytes(tmp_path):
    rows = {"a": table([("off", NONE, NONE, 0.1), ("on", NONE, NONE, 0.2)])}
    assert page(tmp_path, rows) == page(tmp_path, rows) and np.isfinite(rows["a"]["value"]).all()
