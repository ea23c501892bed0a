"""The report's page and the terminal's table, without a browser (tests/system/browser opens the page in one)."""

from __future__ import annotations

import base64
import json
import re
import shutil
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feel_steps.errors import InputError
from feel_steps.explore.results import Run
from feel_steps.report import videos
from feel_steps.report.charts import LABEL_GAP, Series, line_chart, nice_ticks, spread_labels, thin
from feel_steps.report.clusters import _match, _project
from feel_steps.report.counts import compare_counts
from feel_steps.report.media import relative_url, thumbnail
from feel_steps.report.page import report
from feel_steps.report.segmentation import letter
from feel_steps.report.summary import left_out, summary
from feel_steps.report.videos import POINTS, _pack, records
from feel_steps.tables import provenance, tables
from feel_steps.tables.run import find_run
from tests.synthetic_run import AWKWARD, FPS, WINDOW, Shape, build, render_video


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("run"), Shape())


def page_of(run: Path, out: Path | None = None, **options: Any) -> str:
    out = out or run / "report.html"
    report(run, out, **options)
    return out.read_text(encoding="utf-8")


def data_of(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert found
    return json.loads(found[1])


def rewrite(path: Path, kind: str, **changes: Any) -> None:
    tables.write(path, kind, tables.read(path, kind) | changes)


# ------------------------------------------------------------------------------------------------------ the page


def test_the_same_run_gives_the_same_bytes(run: Path, tmp_path: Path) -> None:
    """Otherwise an unchanged page would look changed to Snakemake, and to anyone who compares."""
    copy = tmp_path / "results" / "demo"
    shutil.copytree(run, copy)
    # the copy's videos lie elsewhere as seen from it, so compare pages written to one place
    assert page_of(run, tmp_path / "a.html") == page_of(copy, tmp_path / "a.html")


def test_names_cannot_break_out(run: Path) -> None:
    """A video called <script> is a name; so are settings, labels, reasons and names of clusters."""
    evil = "</script><script>alert(1)</script>"
    html = page_of(run, config={"name": evil, "x": evil}, names={0: evil})
    assert len(re.findall(r"<script[ >]", html)) == 2  # data and program
    assert "<b>truncated" not in html
    data = data_of(html)
    assert [video["id"] for video in data["videos"][:4]] == AWKWARD
    assert data["names"][0] == evil


def test_annotations_that_do_not_fit_are_counted(tmp_path: Path) -> None:
    """Else a score on half of the annotations looks like one on all of them."""
    run = build(tmp_path, Shape(train=6, test=2, clusters=2, iterations=1, media=0))
    assert "Annotations that do not fit" not in page_of(run)
    times = {"t_start": np.zeros(3), "t_end": np.ones(3)}
    words = [("a", "ignored", "no video 'a'"), ("b", "clipped", "<i>late</i>"), ("a", "ignored", "no video 'a'")]
    ids, fates, reasons = (np.array(column, object) for column in zip(*words, strict=True))
    columns = {"video_id": ids, "label": ids, **times, "fate": fates, "reason": reasons}
    tables.write(run / "annotations_dropped.parquet", "dropped", columns)
    html = page_of(run)
    section = html[html.index('<section id="misfits"') :].partition("</section>")[0]
    cells = re.findall(r"<t[dh][^>]*>([^<]*)</t", section.partition("<tbody>")[2])
    assert cells == ["clipped", "1", "1", "&lt;i&gt;late&lt;/i&gt;", "ignored", "2", "1", "no video &#39;a&#39;"]
    assert '<a href="#misfits">' in html


def test_parts_stand_in_the_place_of_videos(tmp_path: Path) -> None:
    """Where parts are clustered, a video has a set of clusters, its parts have borders, and the map shows parts."""
    run = build(tmp_path, Shape(train=12, test=3, media=0, parts=True))
    data = data_of(page_of(run))
    parts = tables.read(run / "feel/parts.parquet", "parts")
    refined = tables.read(run / "feel/seed-0/iter-3/parts/refined.parquet", "refined")
    first = data["videos"][0]
    clusters = refined["cluster"][:2].tolist()
    assert clusters[0] != clusters[1]
    times = [parts[name][:2].round(2).tolist() for name in ("t_start", "t_end")]
    assert first["parts"] == [[clusters[0], times[0][0], times[1][0], 1], [clusters[1], times[0][1], times[1][1], 0]]
    assert len(data["videos"][-1]["parts"]) == 2  # of a test video, by the localizer
    assert data["map"]["video"] == np.repeat(np.arange(12), 2).tolist()
    assert data["map"]["start"][1] == times[0][1]
    assert data["map"]["iterations"][-1]["cluster"] == refined["cluster"].tolist()
    assert data["edit"] is None  # corrections are of whole videos
    shows = {(i // 2, c) for i, c in enumerate(refined["cluster"].tolist())}
    html = (run / "report.html").read_text()
    sizes = [int(n) for n in re.findall(r"<p class=\"counts\">(\d+) video", html)]
    assert sum(sizes) == len(shows)
    assert "no class" not in html  # what stands for parts that are not annotated


def test_a_segmentation_is_drawn_and_each_of_its_clusters_can_be_looked_at(tmp_path: Path) -> None:
    run = build(tmp_path, Shape(train=14, test=4, media=0, segments=True))
    html = page_of(run)
    section = html[html.index('<section id="segmentation"') :].partition("</section>")[0]
    assert section.count('class="name"') == 18  # a line per video
    assert section.count('class="bout ') == 54
    assert data_of(html)["letters"] == list("ABCDEFGHI")
    first = data_of(html)["videos"][0]
    assert [c for c, *_ in first["segments"]] == [0, 1, 2]
    assert first["segments"][2][2] == first["duration"]
    looked = re.findall(r'href="#video-(\d+)@([\d.]+)"', section)
    assert len(looked) == len(set(looked)) == 9 * 4
    for place, seconds in looked:  # it leads into a segment
        assert any(a < float(seconds) < b for _, a, b, _ in data_of(html)["videos"][int(place)]["segments"])
    assert "annotated as" in section
    assert [letter(c) for c in (0, 25, 26, 51, 52)] == ["A", "Z", "AA", "AZ", "BA"]


def test_a_segmentation_that_an_earlier_run_left_is_not_drawn(tmp_path: Path) -> None:
    """With new clusters, it would show what an older result found in the videos."""
    run = build(tmp_path, Shape(train=14, test=4, media=0, segments=True))
    with provenance.recording("gather", {}):
        rewrite(run / "metrics.parquet", "metrics")  # made of no segment_metrics.parquet
    assert 'id="segmentation"' not in page_of(run)
    with pytest.raises(InputError, match="no segmentation"):
        Run(run).segments()


def test_nothing_is_fetched(run: Path) -> None:
    """The page works offline and keeps people's videos to themselves."""
    html = page_of(run)
    assert set(re.findall(r"https?://[^\"' ]+", html)) == {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert "default-src 'none'" in html
    assert not re.search(r'(src|href)="(?!#|data:)', html)


def test_videos_are_found_from_the_page(run: Path) -> None:
    """A link that leads nowhere leaves people without their video."""
    urls = [video["url"] for video in data_of(page_of(run))["videos"]]
    assert all((run / unquote(url)).samefile(path) for url, path in zip(urls[:3], _paths(run), strict=False))
    assert urls[3:] == [None] * 19


def _paths(run: Path) -> list[str]:
    return tables.read(run / "videos.parquet", "videos")["path"].tolist()


def test_addresses_are_relative_and_encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spaces, hashes and other scripts in file names do not end an address early."""
    monkeypatch.chdir(tmp_path)
    page = Path("results/demo/report.html")
    assert relative_url("videos/a b#1?é%.mp4", page) == "../../videos/a%20b%231%3F%C3%A9%25.mp4"
    assert relative_url(str(tmp_path / "results/demo/x.mp4"), page) == "x.mp4"


def test_only_what_the_metrics_speak_of_is_shown(tmp_path: Path) -> None:
    """Iterations and variants left over from an earlier config do not reach the page."""
    run = build(tmp_path, Shape(train=6, test=2, clusters=2, iterations=2, media=0))
    shutil.copytree(run / "feel/seed-0/iter-2", run / "feel/seed-0/iter-3")
    shutil.copytree(run / "feel", run / "a-variant")
    html = page_of(run)
    assert "a-variant" not in html
    assert len(data_of(html)["map"]["iterations"]) == 2


def test_without_annotations_the_page_says_so(tmp_path: Path) -> None:
    """No empty NMI charts, no class names out of nowhere, no zeros that look like results."""
    run = build(tmp_path, Shape(annotations=False, media=0, test=0, skipped=False))
    html = page_of(run)
    assert "There are no annotations" in html
    assert "Silhouette" in html and "mAP" not in re.sub(r"<script.*", "", html, flags=re.DOTALL)
    assert "Left out" not in html and "Annotated as" not in html
    assert data_of(html)["names"] == [""] * 4


def test_annotations_of_test_videos_alone_are_not_denied(tmp_path: Path) -> None:
    """Who has annotated the test videos reads on the page that nobody annotated anything."""
    run = build(tmp_path, Shape(annotations=False, media=0))
    segment = {"video_id": find_run(run).videos["video_id"][-1:], "label": ["run"], "t_start": [0.0], "t_end": [1.0]}
    tables.write(run / "annotations.parquet", "annotations", segment)
    html = page_of(run)
    assert "None of them is annotated." in html
    assert "There are no annotations" not in html


def test_variants_and_seeds_are_compared(tmp_path: Path) -> None:
    run = build(tmp_path, Shape(train=8, test=2, media=0, variants=("feel", "no-cci"), seeds=(0, 1)))
    html = page_of(run)
    table = html[html.index('id="comparison"') :]
    table = table[: table.index("</section>")]
    assert table.count("mean ± sd") == 2 and table.count(" ± 0.") == 2 * 5
    assert 'id="comparison"' not in page_of(build(tmp_path / "one", Shape(train=6, test=0, media=0)))


def test_numbers_of_clusters_are_compared(tmp_path: Path) -> None:
    """Whoever tries several numbers sees which clusters split, and loses no video on the way."""
    variants = ("feel-k4", "feel-k2", "feel-k7", "aicl-k4")
    run = build(tmp_path, Shape(train=40, test=2, media=0, iterations=2, variants=variants))
    counts = compare_counts(find_run(run))
    assert counts and [row[0] for row in counts["rows"]] == ["2", "4", "7"], "the other localizer is no other number"
    for row in counts["rows"]:
        assert sum(map(int, row[1].split(", "))) == 40
    few = tables.read(run / "feel-k2/seed-0/iter-2/refined.parquet", "refined")["cluster"]
    more = tables.read(run / "feel-k4/seed-0/iter-2/refined.parquet", "refined")["cluster"]
    step, cluster, size, into, _ = counts["splits"][0]
    assert (step, cluster, int(size)) == ("2 → 4", "0", (few == 0).sum())
    goes = {int(a): int(b) for a, b in re.findall(r"(\d+) \((\d+)\)", into)}
    assert goes == {c: n for c in range(4) if (n := int(((few == 0) & (more == c)).sum()))}
    bars = counts["flow"]["bars"]
    assert len(bars) == 2 + 4 + 7 and all(0 <= bar["y"] <= counts["flow"]["h"] - bar["h"] + 1 for bar in bars)
    html = page_of(run)
    assert 'id="counts"' in html and 'href="#counts"' in html


def test_one_number_of_clusters_is_compared_with_none(run: Path) -> None:
    assert compare_counts(find_run(run)) is None
    assert 'id="counts"' not in page_of(run)


def test_names_by_a_person_win(run: Path) -> None:
    """Names in clusters.yaml are what people see; the annotations' classes fill the rest."""
    assert data_of(page_of(run, names={1: "Faustschlag"}))["names"] == ["jumping jack", "Faustschlag", "squat", "throw"]


@pytest.mark.parametrize("clusters", [1, 9])
def test_extreme_runs(tmp_path: Path, clusters: int) -> None:
    """One iteration, two videos of one snippet each, empty clusters, k-means without CCI: still a page."""
    shape = Shape(train=2, test=0, clusters=clusters, iterations=1, snippets=1, media=1)
    run = build(tmp_path, shape)
    place = run / "feel/seed-0/iter-1"
    rewrite(place / "refined.parquet", "refined", jaccard=np.full(2, np.nan), distance=np.array([3.0, 40.0]))
    detections = tables.read(place / "detections.parquet", "detections")
    tables.write(place / "detections.parquet", "detections", {k: v[:0] for k, v in detections.items()})
    moments = tables.read(place / "moments.parquet", "moments")
    tables.write(place / "moments.parquet", "moments", {k: v[:0] for k, v in moments.items()})
    html = page_of(run)
    assert "Stability" in html and "Reliability" not in html
    assert data_of(html)["videos"][0]["found"] == []


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    run = build(tmp_path, Shape(train=4, test=0, clusters=2, iterations=1, media=0))
    (run / "feel/seed-0/iter-1/refined.parquet").unlink()
    with pytest.raises(InputError, match=r"refined\.parquet: no such file"):
        report(run, run / "report.html")
    assert not (run / "report.html").exists()
    with pytest.raises(InputError, match=r"metrics\.parquet"):
        report(tmp_path, tmp_path / "report.html")


def test_the_page_says_what_not_to_trust(tmp_path: Path) -> None:
    """A cluster of four videos, or two that are one, must not look like a finding."""
    run = build(tmp_path, Shape(train=44, test=2, clusters=3, iterations=1, media=0))
    place = run / "feel/seed-0/iter-1"
    labels = np.repeat([0, 1, 2], [20, 20, 4]).astype(np.int32)
    features = np.random.default_rng(0).standard_normal((44, 8))
    features[40:] += 30
    rewrite(place / "refined.parquet", "refined", cluster=labels)
    rewrite(place / "pooled.parquet", "pooled", feature=features)
    html = page_of(run, names={0: "run", 1: "jog", 2: "dive"})
    assert "48% of the training videos seem to show several actions" in page_of(run, mixed=0.48)
    assert "several actions" not in html
    assert "dive has fewer than 10 videos" in html and "run and jog look alike" in html
    assert html.count("<li>run") + html.count("<li>jog") == 1
    features[20:40] += 60
    rewrite(place / "pooled.parquet", "pooled", feature=features)
    assert "look alike" not in page_of(run)


def test_annotations_of_a_part_are_said_to_be_of_a_part(tmp_path: Path) -> None:
    """Numbers of three videos read like numbers of all."""
    run = build(tmp_path, Shape(train=6, test=6, clusters=2, iterations=2, media=0))
    assert "Annotations cover" not in page_of(run)
    table = tables.read(run / "annotations.parquet", "annotations")
    kept = np.isin(table["video_id"], AWKWARD[:3])
    tables.write(run / "annotations.parquet", "annotations", {name: values[kept] for name, values in table.items()})
    html = page_of(run)
    assert re.search(r'class="verdict">[^<]*Annotations cover only 3 of 12 videos', html)


def test_moments_come_first_and_do_not_overlap(run: Path) -> None:
    """Detections overlap by design; the page lists each moment once, in order of time."""
    for video in data_of(page_of(run))["videos"]:
        moments = video["moments"]
        assert all(a[2] <= b[1] for a, b in zip(moments[:-1], moments[1:], strict=True))
        assert all(0 <= moment[3] <= 1 for moment in moments) and len(moments) < len(video["found"])


# ------------------------------------------------------------------------------------------------------ its parts


def test_a_typical_moment_is_where_the_class_is_most_active(run: Path) -> None:
    """A picture of idling would tell nobody what a cluster is about."""
    html, found = page_of(run), find_run(run)
    links = re.findall(r'href="#video-(\d+)@([\d.]+)"', html)
    assert links
    for row, time in links:
        video_id = found.videos["video_id"][int(row)]
        own = found.attention[found.snippets[video_id]]
        activation = own["activation"][:, found.assigned[int(row)]]
        middle = own["t_start"] + WINDOW / FPS / 2
        assert float(time) == pytest.approx(middle[activation.argmax()], abs=0.01)


def test_a_page_reads_attention_row_group_by_row_group(run: Path) -> None:
    """The attention of 100,000 videos takes gigabytes; a video that two row groups share must keep its curves."""
    whole = data_of(page_of(run))
    for path in run.glob("*/*/*/attention.parquet"):
        table = tables.read(path, "attention")
        with tables.write_in_pieces(path, "attention") as writer:
            for start in range(0, len(table["snippet"]), 15):
                writer.add({name: values[start : start + 15] for name, values in table.items()}, 0)
    assert data_of(page_of(run))["videos"] == whole["videos"]


def test_a_page_of_too_many_videos_says_what_it_leaves_out(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page of 100,000 videos would take hundreds of megabytes; its links must lead to the videos that it has."""
    whole, found = data_of(page_of(run)), find_run(run)
    monkeypatch.setattr(videos, "MOST", 3)
    html = page_of(run)
    data = data_of(html)
    held = [record["id"] for record in data["videos"]]
    typical = re.findall(r'href="#video-(\d+)@.*?class="id" title="(.*?)"', html)
    assert typical and all(held[int(place)] == unescape(video_id) for place, video_id in typical)
    assert 3 <= len(held) < len(whole["videos"])
    assert f"{len(whole['videos']) - len(held)} more are in the tables" in html
    clustered = set(found.refined["video_id"])
    assert [held[place] for place in data["map"]["video"]] == [
        whole["videos"][row]["id"] for row in whole["map"]["video"] if whole["videos"][row]["id"] in held
    ]
    assert {held[place] for place in data["map"]["video"]} == clustered & {*held}


def test_curves_survive_packing(run: Path) -> None:
    """What is drawn is the artifact's value to within half a level of 255, snippet by snippet."""
    found = find_run(run)
    for record in records(found, run / "report.html", np.arange(len(found.videos["video_id"]))):
        own = found.attention[found.snippets[record["id"]]]
        for pack, want in [
            (record["actionness"], own["actionness"][None]),
            (record["activation"], own["activation"][:, record["classes"]].T),
        ]:
            levels = np.array([np.frombuffer(base64.b64decode(c), np.uint8) for c in pack["curves"]])
            got = pack["low"] + levels / 255 * (pack["high"] - pack["low"])
            np.testing.assert_allclose(got, want, atol=(want.max() - min(0, want.min())) * 0.003)
        middle = own["t_start"] + WINDOW / FPS / 2
        got = record["start"] + record["step"] * np.arange(len(middle))
        np.testing.assert_allclose(got, middle, atol=0.02)


def test_long_videos_keep_their_peaks(tmp_path: Path) -> None:
    """In a video of more snippets than a screen has pixels, a single active snippet still shows, in its place."""
    run = build(tmp_path, Shape(train=2, test=0, clusters=2, iterations=1, snippets=1500, media=0))
    path = run / "feel/seed-0/iter-1/attention.parquet"
    attention, peak = tables.read(path, "attention"), 700
    assert attention["video_id"][peak] == AWKWARD[0]
    attention["actionness"][peak] = 50
    tables.write(path, "attention", attention)
    found = find_run(run)
    record = records(found, run / "report.html", np.arange(len(found.videos["video_id"])))[0]
    curve = np.frombuffer(base64.b64decode(record["actionness"]["curves"][0]), np.uint8)
    assert len(curve) <= POINTS and curve.max() == 255 and (curve > 128).sum() == 1
    middle = attention["t_start"][peak] + WINDOW / FPS / 2  # of the window, which is longer than the stride
    assert record["start"] + record["step"] * curve.argmax() == pytest.approx(middle, abs=record["step"])


def test_negative_and_constant_curves_pack() -> None:
    """A localizer whose activations are logits, or all zero, is drawn too."""
    assert _pack(np.zeros((1, 3)))["curves"] == [base64.b64encode(bytes(3)).decode()]
    pack = _pack(np.array([[-2.0, 0.0, 2.0]]))
    assert (pack["low"], pack["high"]) == (-2.0, 2.0)
    assert list(base64.b64decode(pack["curves"][0])) == [0, 128, 255]


def test_thumbnails_show_the_moment(tmp_path: Path) -> None:
    """The picture is of its time: the square crosses the frame, so its place tells the second."""
    render_video(tmp_path / "v.mp4", duration=4.0, hue=0)
    for seconds in (0.0, 1.0, 2.5, 99.0):
        uri = thumbnail(str(tmp_path / "v.mp4"), seconds, 4.0)
        assert uri
        image = cv2.imdecode(np.frombuffer(base64.b64decode(uri.split(",")[1]), np.uint8), cv2.IMREAD_COLOR)
        columns = np.flatnonzero(image[60, :, 1] > 150)
        assert columns.min() / image.shape[1] == pytest.approx(0.8 * min(seconds, 3.9) / 4, abs=0.03)


def test_an_unreadable_file_gives_no_thumbnail(tmp_path: Path) -> None:
    """A file that was moved or damaged since costs a picture, not the report."""
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    assert thumbnail(str(tmp_path / "broken.mp4"), 0, 4.0) is None
    assert thumbnail(str(tmp_path / "gone.mp4"), 0, 4.0) is None


def test_the_map_does_not_turn_between_iterations() -> None:
    """Axes of principal components flip at will; the same videos must not jump across the map for that."""
    features = np.random.default_rng(0).standard_normal((50, 8)) * np.arange(1, 9)
    before = _project(features, None)
    np.testing.assert_allclose(_project(features[:, ::-1] * -3, before), before, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 5), (2, 1), (3, 4)])
def test_the_map_of_few_videos(shape: tuple[int, int]) -> None:
    xy = _project(np.arange(np.prod(shape), dtype=float).reshape(shape), None)
    assert xy.shape == (shape[0], 2) and np.isfinite(xy).all()


def test_clusters_keep_their_colour_between_iterations() -> None:
    """k-means numbers clusters afresh; on the map each keeps the number of the final one it became."""
    assert _match(np.array([2, 2, 0, 0, 1]), np.array([0, 0, 1, 1, 2])).tolist() == [0, 0, 1, 1, 2]


# ------------------------------------------------------------------------------------------------------ charts


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_cover_the_values_roundly(low: float, extent: float) -> None:
    ticks = nice_ticks(low, low + extent)
    steps = np.diff(ticks)
    assert 1 <= len(steps) <= 7 and (steps > 0).all()
    assert ticks[0] <= low + steps[0] * 1e-6 and ticks[-1] >= low + extent - steps[0] * 1e-6


@given(st.lists(st.floats(0, 200), min_size=1, max_size=8))
def test_labels_of_lines_do_not_overlap(wanted: list[float]) -> None:
    places = sorted(spread_labels(wanted, 0, 200))
    assert all(b - a >= LABEL_GAP - 1e-9 for a, b in zip(places[:-1], places[1:], strict=True))
    assert places[-1] <= 200


def test_charts_of_little() -> None:
    """One iteration, equal values, nothing at all."""
    one = line_chart("t", "iteration", [Series("a", np.array([1.0]), np.array([0.5]))], unit=True)
    assert one and one["lines"][0]["marks"][0]["text"] == "a, iteration 1: 0.5"
    flat = line_chart("t", "step", [Series("a", np.arange(3.0), np.zeros(3))], dots=False)
    assert flat and flat["lines"][0]["marks"] == []
    x, y = zip(*re.findall(r"([\d.]+) ([\d.]+)", flat["lines"][0]["path"]), strict=True)
    assert [flat["box"]["left"], flat["box"]["right"]] == [float(x[0]), float(x[-1])]
    assert {float(place) for place in y} == {flat["y_ticks"][0][0]} and flat["y_ticks"][0][1] == "0"
    assert line_chart("t", "step", [Series("a", np.zeros(0), np.zeros(0))]) is None


def test_thinning_keeps_means() -> None:
    x, y = thin(np.arange(1000.0), np.arange(1000.0) * 2)
    assert len(x) <= 120 and y == pytest.approx(2 * x)


# ------------------------------------------------------------------------------------------------------ terminal


def make_column(type_, rows):
    """A column of ones, as numbers or as text."""
    return np.full(rows, "a", object) if type_ == "string" else np.ones(rows, type_)


def metrics(*rows: tuple[str, int, int, str, str, float]) -> tables.Columns:
    names = ("variant", "seed", "iteration", "stage", "metric", "value")
    return {n: np.array(c, object if n in ("variant", "stage", "metric") else None)
            for n, c in zip(names, zip(*rows, strict=True), strict=True)}  # fmt: skip


def test_summary_with_annotations() -> None:
    """The table at the end of a run: iteration, share, NMI, mAP, in order, aligned."""
    text = summary(
        metrics(
            ("feel", 0, 1, "cluster", "nmi", 0.5), ("feel", 0, 1, "refine", "nmi", 0.6),
            ("feel", 0, 1, "select", "share", 0.25), ("feel", 0, 1, "localize", "mAP", 0.1),
            ("feel", 0, 2, "cluster", "nmi", 0.7), ("feel", 0, 2, "refine", "nmi", 0.75),
            ("feel", 0, 2, "select", "share", 0.5), ("feel", 0, 2, "localize", "mAP", 0.2),
            ("feel", 0, 2, "refine", "stability", 0.9),
        )
    )  # fmt: skip
    assert text.splitlines() == [
        "iteration  selected  NMI k-means  NMI refined    mAP",
        "        1       25%        0.500        0.600  0.100",
        "        2       50%        0.700        0.750  0.200",
    ]


def test_summary_without_annotations_and_over_seeds() -> None:
    """Without truth: NMI with the previous iteration; several seeds as mean and deviation; a dash for no value."""
    text = summary(
        metrics(
            ("a", 0, 1, "select", "share", 1.0), ("a", 0, 1, "cluster", "silhouette", 0.1),
            ("a", 1, 1, "select", "share", 1.0), ("a", 1, 1, "cluster", "silhouette", 0.3),
            ("b", 0, 1, "select", "share", 1.0), ("b", 0, 1, "cluster", "nmi", np.nan),
        )
    )  # fmt: skip
    assert text.splitlines() == [
        "a: 2 seeds, mean ± sd",
        "iteration  selected  NMI previous     silhouette",
        "        1      100%             –  0.200 ± 0.141",
        "b",
        "iteration  selected  NMI previous  silhouette",
        "        1      100%             –           –",
    ]


def test_what_a_run_could_not_use_is_said_in_the_terminal(tmp_path):
    """Who reads only the table must not take 3 of 10 videos for all."""
    for kind, name in (("videos", "videos"), ("skipped", "skipped"), ("dropped", "annotations_dropped")):
        columns = tables.KINDS[kind].columns
        tables.write(tmp_path / f"{name}.parquet", kind, {n: make_column(t, 2) for n, t in columns.items()})
    said = "2 of 4 videos were left out and 2 annotated segments did not fit; the page says which, and why"
    assert left_out(tmp_path) == said
    assert left_out(tmp_path / "nowhere") == ""


def test_merged_clusters_are_one_on_the_page(tmp_path):
    """One card, one name without a number beside it, and all videos of both."""
    run = build(tmp_path, Shape(train=12, test=4, clusters=4, iterations=1, media=0))
    names = {"cluster": np.arange(4), "shown_as": np.array([0, 1, 0, 3]), "name": ["wave", None, "wave", None]}
    tables.write(run / "names.parquet", "names", names)
    report(run, run / "report.html", names={0: "wave", 2: "wave"})
    page = (run / "report.html").read_text("utf-8")
    assert '"names":["wave","punch","wave","throw"]' in page
    assert 'data-cluster="2"' not in page
    finished = find_run(run)
    before = tables.read(run / "feel/seed-0/iter-1/refined.parquet", "refined")["cluster"]
    assert (finished.refined["cluster"] == 0).sum() == np.isin(before, [0, 2]).sum()
    activation = tables.read(run / "feel/seed-0/iter-1/attention.parquet", "attention")["activation"]
    np.testing.assert_array_equal(finished.attention[:]["activation"][:, 0], activation[:, [0, 2]].max(1))
