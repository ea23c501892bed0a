"""Contracts: if these fail, features of two extractions are mixed, or new videos get other features than the run's."""

import numpy as np
import pytest

from feel_steps import __version__
from feel_steps.dataset.folder import import_videos
from feel_steps.features.contract import COMMON, read_contract
from feel_steps.features.extract import extract_part
from feel_steps.tables import tables
from tests.unit.features.test_extract import RATE, folder


def test_what_extraction_writes_is_read(tmp_path):
    manifest, _ = import_videos(folder(tmp_path / "videos", a=20, b=7))
    extract_part(manifest, 0, tmp_path / "out", **RATE, on_bad_video="skip", grid=2, bins=4)
    contract = read_contract(tmp_path / "out")
    assert contract.extractor == "descriptors"
    assert contract.timing == (15.0, 8, 4)
    assert contract.dimension == tables.read(tmp_path / "out", "features")["feature"].shape[1]
    assert (contract.settings["grid"], contract.settings["bins"]) == ("2", "4")
    assert {*COMMON} - {*contract.made} == {"source", "streams", "scaled"}  # of a user's class, or of several streams
    assert {*contract.made} - {*COMMON} == {*contract.settings}
    assert list(contract.skipped) == ["b"] and "shorter than one window" in contract.skipped["b"]
    assert contract.seconds == pytest.approx(20 / 15, abs=1e-3)
    assert contract.version == __version__


def test_features_that_say_nothing(tmp_path):
    with tables.write_features(tmp_path / "out") as writer:
        writer.add("a", np.zeros((2, 3), np.float32))
    contract = read_contract(tmp_path / "out")
    assert (contract.made, contract.extractor, contract.skipped, contract.seconds) == ({}, "", {}, 0)
