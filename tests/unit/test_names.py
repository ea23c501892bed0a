"""Names that a person gives to clusters."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from feel_steps.cli import app
from feel_steps.errors import InputError
from feel_steps.explore.names import read_names, write_names
from feel_steps.report.page import distinct
from feel_steps.tables import tables
from tests.synthetic_run import Shape, build


@pytest.fixture
def place(tmp_path):
    """An iteration of three clusters."""
    place = tmp_path / "run/feel/seed-0/iter-2"
    write_centres(place)
    return place


def write_centres(place, clusters=3):
    features = np.random.default_rng(0).normal(size=(clusters, 4))
    tables.write(place / "centres.parquet", "centres", {"cluster": np.arange(clusters), "feature": features})


def test_names_written_by_hand(tmp_path, place):
    (tmp_path / "clusters.yaml").write_text("0: waving\n2: 'été:  bow'\n", encoding="utf-8")
    assert read_names(tmp_path / "clusters.yaml", place) == {0: "waving", 2: "été: bow"}
    (tmp_path / "clusters.yaml").write_text("")
    assert read_names(tmp_path / "clusters.yaml", place) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0: [", r"not YAML \(line 1, column 5: "),
        ("- waving", "a list; expected lines such as 0: waving"),
        ("3: waving", "there is no cluster 3; expected numbers from 0 to 2"),
        ("wave: 0", "there is no cluster 'wave'"),
        ("true: 0", "there is no cluster True"),
        ("0: yes", "the name of cluster 0 is True; expected text"),
        ("0: ' '", "the name of cluster 0 is ' '"),
    ],
)
def test_a_bad_file_is_explained_in_one_line(tmp_path, place, text, message):
    (tmp_path / "clusters.yaml").write_text(text)
    with pytest.raises(InputError, match=message) as error:
        read_names(tmp_path / "clusters.yaml", place)
    assert "clusters.yaml: " in str(error.value) and "\n" not in str(error.value)


def test_clusters_of_no_iteration_can_be_named(tmp_path, place):
    """A segmentation has clusters of its own: names that say whose they are do not fit it."""
    (tmp_path / "clusters.yaml").write_text("7: waving")
    assert read_names(tmp_path / "clusters.yaml", None) == {7: "waving"}
    write_names(tmp_path / "clusters.yaml", {0: "waving"}, place)
    with pytest.warns(UserWarning, match="names the clusters of another result"):
        assert read_names(tmp_path / "clusters.yaml", None) == {}


def test_a_missing_file_is_named(tmp_path, place):
    with pytest.raises(InputError, match="no such file"):
        read_names(tmp_path / "gone.yaml", place)


def test_names_hold_wherever_one_stands(tmp_path, place, monkeypatch):
    """`feel-steps export` from within the iteration's folder would otherwise drop what a person typed."""
    write_names(tmp_path / "clusters.yaml", {0: "waving"}, place)
    monkeypatch.chdir(place)
    assert read_names(tmp_path / "clusters.yaml", Path(".")) == {0: "waving"}


def test_names_do_not_move_to_other_clusters(tmp_path, place):
    """One iteration more renumbers the clusters: "waving" must not become the name of whatever is number 0 then."""
    path, later = tmp_path / "clusters.yaml", place.with_name("iter-3")
    write_names(path, {1: "bow", 0: "waving"}, place)
    assert read_names(path, place) == {0: "waving", 1: "bow"}
    write_centres(later)
    with pytest.warns(UserWarning, match="another result, feel/seed-0/iter-2"):
        assert read_names(path, later) == {}
    write_centres(place, clusters=4)  # the same iteration, made again otherwise
    with pytest.warns(UserWarning, match="run feel-steps name again"):
        assert read_names(path, place) == {}


def test_equal_names_stay_apart():
    """Two clusters of one name could not be told in the legend."""
    assert distinct({0: "wave", 1: "bow", 3: "wave"}, 4) == ["wave (0)", "bow", "", "wave (3)"]


def test_a_person_is_shown_moments_and_asked(tmp_path):
    """Answers are kept, empty ones leave things as they are, and the names reach the report and exports."""
    run = build(tmp_path, Shape(train=8, test=2, clusters=3, iterations=1, snippets=8, media=1))
    place = run / "feel/seed-0/iter-1"
    write_centres(place)
    asked = CliRunner().invoke(app, ["name", "--ask", str(run)], input="Waving\n\nbow\n")
    sheet = cv2.imread(str(run / "contact-sheet.png"))
    assert sheet is not None and sheet.shape[1] >= 208 and "contact-sheet.png" in asked.output
    assert asked.exit_code == 0, asked.output
    assert asked.output.count("name of cluster") == 3 and "annotated as" in asked.output and "0:0" in asked.output
    assert read_names(run / "clusters.yaml", place) == {0: "Waving", 2: "bow"}
    again = CliRunner().invoke(app, ["name", "--ask", str(run)], input="\n")  # and then the person leaves
    assert "[Waving]" in again.output
    assert read_names(run / "clusters.yaml", place) == {0: "Waving", 2: "bow"}

    page, found = run / "report.html", tmp_path / "found.csv"
    assert CliRunner().invoke(app, ["report", "--run", str(run), "--out", str(page)]).exit_code == 0
    assert '"names":["Waving","punch","bow"]' in page.read_text(encoding="utf-8")
    options = ["--detections", place / "detections.parquet", "--videos", run / "videos.parquet", "--form", "csv"]
    options += ["--names", run / "clusters.yaml", "--out", found]
    assert CliRunner().invoke(app, ["export", *map(str, options)]).exit_code == 0
    assert {line.split(",")[-4] for line in found.read_text(encoding="utf-8").splitlines()[1:]} <= {
        *("Waving", "bow", "cluster-1"),
    }


def test_the_page_opens_where_a_browser_can_show_it(tmp_path, monkeypatch):
    """And the terminal asks where none can: over SSH, or before the page is written."""
    run = build(tmp_path, Shape(train=8, test=2, clusters=3, iterations=1, snippets=8, media=0))
    opened = list[str]()
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    monkeypatch.setenv("DISPLAY", ":0")
    asked = CliRunner().invoke(app, ["name", str(run)], input="\n\n\n")
    assert "name of cluster" in asked.output and not opened  # there is no page
    assert not CliRunner().invoke(app, ["report", "--run", str(run), "--out", str(run / "report.html")]).exit_code
    done = CliRunner().invoke(app, ["name", str(run)])
    assert opened == [f"{(run / 'report.html').resolve().as_uri()}#edit"] and "corrections.yaml" in done.output
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert "name of cluster" in CliRunner().invoke(app, ["name", str(run)], input="\n\n\n").output
