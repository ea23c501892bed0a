"""The documentation: a reader finds every page, follows every link, and reads what the program does today."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from feel_steps.dataset.folder import import_videos
from feel_steps.evaluation.evaluate import evaluate
from feel_steps.explore.new_videos import run_extractor
from feel_steps.features import extract
from feel_steps.features.contract import read_contract
from feel_steps.tables import tables
from tests.clips import write_video
from tests.paths import ROOT
from tests.unit.test_evaluate import FOUND, LABELS, TRUTH, VIDEOS

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
LINK = re.compile(r"\]\(([^)\s]+)\)|\bsrc=\"([^\"]+)\"")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def links(page: Path) -> list[tuple[str, str]]:
    """Relative links of a page: file and anchor, both as they are written."""
    found = ["".join(groups) for groups in LINK.findall(CODE.sub("", page.read_text("utf-8")))]
    return [(link.partition("#")[0], link.partition("#")[2]) for link in found if "://" not in link]


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as the site makes them."""
    from markdown.extensions.toc import slugify

    heads = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL), re.MULTILINE)
    return {slugify(re.sub(r"[`*\[\]]", "", head), "-") for head in heads}


def test_the_readme_is_short():
    """It answers in two minutes what this is, or people leave."""
    assert len((ROOT / "README.md").read_text("utf-8").split()) <= 600


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=lambda page: page.stem)
def test_relative_links_lead_somewhere(page):
    pytest.importorskip("markdown", reason="markdown comes with mkdocs")
    for file, anchor in links(page):
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"{page.relative_to(ROOT)}: there is no {file}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{page.relative_to(ROOT)}: {file} has no heading #{anchor}"


def test_the_index_links_every_page():
    linked = {(DOCS / file).resolve() for file, _ in links(DOCS / "index.md") if file}
    assert not [str(page.relative_to(DOCS)) for page in PAGES if page not in linked and page.name != "index.md"]
    assert DOCS / "results/index.md" in linked


def test_the_navigation_has_every_page():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"]
    entries = [
        entry for group in nav for own in group.values() for entry in (own if isinstance(own, list) else [group])
    ]
    assert sorted(file for entry in entries for file in entry.values()) == [str(p.relative_to(DOCS)) for p in PAGES]


def test_the_reference_is_current():
    run = subprocess.run(
        [sys.executable, "docs/make_reference.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert not run.returncode, run.stderr


def test_every_metric_is_explained():
    """Of an evaluation with annotations; thresholds and readings of one metric are explained once."""
    pooled = {"video_id": LABELS["video_id"], "feature": np.eye(4, dtype=np.float32)}
    table, _ = evaluate(TRUTH, VIDEOS, LABELS, LABELS, LABELS, FOUND, LABELS, pooled=pooled)
    page = (DOCS / "reference/metrics.md").read_text("utf-8")
    for stage, metric in {*zip(table["stage"], table["metric"], strict=True)}:
        name = re.sub(r"(_first|_single)$|(?<=mAP)@.*|(?<=hungarian)@.*|(?<=recall)[@\d].*", "", metric)
        assert stage == "class" or f"`{name}" in page, f"docs/reference/metrics.md does not explain {stage}: {metric}"


def test_the_design_page_lists_every_module():
    """One line a file, in the section of its folder, so that a newcomer finds where a change belongs."""
    sections = re.split(r"^### ", (DOCS / "explanation/design.md").read_text("utf-8"), flags=re.MULTILINE)[1:]
    listed = set()
    for section in sections:
        head, rows = section.split("\n", 1)
        folder = match.group(1) if (match := re.match(r"`(\w+)/`", head)) else ""
        cells = re.findall(r"^\| (`[^|]+`) \|", rows, re.MULTILINE)
        listed |= {f"{folder}/{file}".lstrip("/") for cell in cells for file in re.findall(r"`([^`]+\.py)`", cell)}
    modules = {str(file.relative_to(ROOT / "feel_steps")) for file in (ROOT / "feel_steps").rglob("*.py")}
    modules = {name for name in modules if not name.endswith("__.py")}
    assert not modules - listed, "docs/explanation/design.md: add a line for each of these"
    assert not listed - modules, "docs/explanation/design.md: these are gone"


def test_the_worked_extractor_extracts(tmp_path, monkeypatch):
    """The example in docs/howto/add-an-extractor.md is what people start from: it must run as it is printed."""
    page = (DOCS / "howto/add-an-extractor.md").read_text("utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (config,) = (yaml.safe_load(block)["features"] for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL))
    (tmp_path / "colour.py").write_text(example)
    assert example.count("\n") <= 25
    monkeypatch.syspath_prepend(tmp_path)
    pictures = np.full((40, 64, 96, 3), (200, 100, 50), np.uint8)
    for name in "ab":
        write_video(tmp_path / f"clips/{name}.mp4", list(pictures), fps=10)
    manifest, _ = import_videos(tmp_path / "clips")
    part, rate = tmp_path / "part.parquet", {"fps": 10.0, "window": 8, "stride": 4}
    extract.extract_part(manifest, 0, part, extractor=config["extractor"], **rate, **config["settings"])

    features = tables.read(part, "features")["feature"]
    assert features.shape == (18, 3)
    np.testing.assert_allclose(features, np.broadcast_to((200, 100, 50), (18, 3)), atol=8)
    contract = read_contract(part)
    assert contract.made["source"] == hashlib.sha256(example.encode()).hexdigest()
    assert contract.settings == {"short_side": "48"} and contract.view_family == "network"
    engine = run_extractor(contract, {}, "cpu", 1)  # as predict makes it
    assert engine.settings == {"short_side": 48}
