"""What a release is made of says the same everywhere."""

from __future__ import annotations

import json
import re
import tomllib

import yaml

from feel_steps import __version__
from tests.paths import ROOT


def test_the_version_stands_in_one_place():
    """And in CITATION.cff, which is read as it is."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert project["project"]["dynamic"] == ["version"] and "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"] == {"version": {"attr": "feel_steps.__version__"}}
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))["version"] == __version__
    assert f"\n## {__version__}\n" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_citation_and_archive_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    archive = json.loads((ROOT / ".zenodo.json").read_text("utf-8"))
    assert archive["title"] == citation["title"] and archive["license"] == citation["license"]
    assert [person["name"] for person in archive["creators"]] == [person["name"] for person in citation["authors"]]


def test_the_catalog_is_told_the_truth():
    """The catalog writes commands from this file for people who do not know the workflow."""
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text("utf-8"))["usage"]
    deployment = usage["software-stack-deployment"]
    rules = "".join(file.read_text("utf-8") for file in (ROOT / "rules").glob("*.smk"))
    assert deployment["conda"] == ("conda:" in rules)
    image = yaml.safe_load((ROOT / "config.yaml").read_text("utf-8"))["container"]
    assert deployment["apptainer"] == bool(image), "without an image in the config, --sdm apptainer does nothing"
    assert usage["report"] == bool(re.search(r"\breport\(", rules))
    assert (ROOT / "config/README.md").is_file()
