"""Arrays of any backbone beside their videos, as docs/howto/own-features.md has it: one command, and new arrays."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from feel_steps.features.contract import read_contract
from feel_steps.tables import tables
from tests.clips import scene, write_video

from .conftest import Workspace
from .test_videos import feel_steps

D, CLASSES = 768, 4
FPS, WINDOW, STRIDE = 10, 8, 4
RNG = np.random.default_rng(0)
AXES = np.linalg.qr(RNG.normal(size=(D, CLASSES + 2)))[0].T  # of the classes, and of two backgrounds


def plant(actions: list[tuple[int, int, int]], T: int, seed: int) -> np.ndarray:
    """Features float16 [T, D] of two backgrounds, and along a class's axis where its action (class, start, end) is."""
    rng = np.random.default_rng(seed)
    features = rng.normal(scale=0.02, size=(T, D)) + np.where(rng.random((T, 1)) < 0.5, AXES[-2], AXES[-1])
    for label, start, end in actions:
        features[start:end] += 2 * AXES[label]
    return features.astype(np.float16)


def seconds(start: int, end: int) -> tuple[float, float]:
    """When snippets begin and end."""
    return start * STRIDE / FPS, ((end - 1) * STRIDE + WINDOW) / FPS


@pytest.fixture(scope="module")
def mine(tmp_path_factory) -> Workspace:
    """A finished run on 24 arrays of four classes, with videos of their names; a class a video, twice in each."""
    workspace = Workspace(tmp_path_factory.mktemp("arrays"))
    (workspace.folder / "npy").mkdir()
    with open(workspace.folder / "truth.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("video_id", "label", "t_start", "t_end"))
        for i in range(24):
            T, label = 30 + i % 5, i % CLASSES
            actions = [(label, 4 + i % 3, 10 + i % 3), (label, 18 + i % 4, 24 + i % 4)]
            np.save(workspace.folder / f"npy/clip_{i:02d}.npy", plant(actions, T, i))
            write_video(
                workspace.folder / f"videos/clip_{i:02d}.mp4", scene((T - 1) * STRIDE + WINDOW, seed=i), fps=FPS
            )
            rows.writerows((f"clip_{i:02d}", f"action-{c}", *seconds(a, b)) for c, a, b in actions)
    workspace.configure(
        iterations=1,
        clusters=CLASSES,
        dataset={"layout": "features", "path": "npy", "videos": "videos", "annotations": "truth.csv", "parts": 1},
        features={"fps": FPS, "window": WINDOW, "stride": STRIDE},
        train={"steps": 150, "batch": 8, "length": 32, "settings": {"hidden": 32}},
    )
    workspace.snakemake()
    return workspace


def test_one_command_reads_them_and_the_page_plays_the_videos(mine):
    videos = tables.read(mine.results / "videos.parquet", "videos")
    assert videos["path"].tolist() == [f"videos/clip_{i:02d}.mp4" for i in range(24)]
    contract = read_contract(mine.results / "features/part-0000.parquet")
    assert contract.extractor == "arrays" and contract.dimension == D
    page = (mine.results / "report.html").read_text("utf-8")
    assert '"url":"../../videos/clip_00.mp4"' in page and "data:image/jpeg;base64," in page
    metrics = tables.read(mine.results / "metrics.parquet", "metrics")
    value = dict(zip(zip(metrics["stage"], metrics["metric"], strict=True), metrics["value"], strict=True))
    assert value["refine", "nmi"] > 0.9 and value["localize", "mAP"] > 0.8
    assert "arrays" in feel_steps("inspect", mine.results / "features")


def test_new_arrays_show_the_classes_that_were_planted(mine):
    """The best moment of each is the planted one, in the cluster that its class became; a video gives a player."""
    actions = {f"new_{label}": (label, 6 + 3 * label, 14 + 3 * label) for label in range(CLASSES)}
    (mine.folder / "new").mkdir()
    for video_id, action in actions.items():
        np.save(mine.folder / f"new/{video_id}.npy", plant([action], 33, 99 + action[0]))
    clip = write_video(mine.folder / "new_2.mp4", scene(32 * STRIDE + WINDOW), fps=FPS)
    mapping = tables.read(mine.results / "feel/seed-0/iter-1/mapping.parquet", "mapping")
    one = mapping["protocol"] == "hungarian"
    clusters = dict(zip(mapping["label"][one], mapping["cluster"][one], strict=True))
    out = mine.folder / "found"
    feel_steps("predict", mine.results, clip, "--features", mine.folder / "new", "--out", out, "--device", "cpu")

    found = json.loads((out / "detections.json").read_text())["results"]
    assert sorted(found) == sorted(actions)
    for video_id, (label, first, last) in actions.items():
        best = max(found[video_id], key=lambda row: row["score"])
        assert best["label"] == f"cluster-{clusters[f'action-{label}']}"
        start, end, t_start, t_end = *best["segment"], *seconds(first, last)
        overlap = (min(end, t_end) - max(start, t_start)) / (max(end, t_end) - min(start, t_start))
        assert overlap > 0.7, (video_id, best, t_start, t_end)
    page = (out / "predicted.html").read_text("utf-8")
    assert page.count('"url":"../new_2.mp4"') == 1 and page.count('"url":null') == 3
    one = feel_steps(
        "predict", mine.results, "--features", mine.folder / "new/new_0.npy", "--out", out, "--device", "cpu"
    )
    assert f"cluster-{clusters['action-0']}" in one


def test_a_new_array_in_the_folder_is_noticed(mine):
    """Snakemake watches both folders."""
    np.save(mine.folder / "npy/clip_99.npy", plant([], 30, 50))
    assert {"import_videos", "extract_features", "train_localizer 1"} <= mine.planned()
    (mine.folder / "npy/clip_99.npy").unlink()
    assert mine.planned() == set()
    (mine.folder / "videos/clip_00.mp4").rename(mine.folder / "videos/other.mp4")
    assert "import_videos" in mine.planned()
    (mine.folder / "videos/other.mp4").rename(mine.folder / "videos/clip_00.mp4")
    assert mine.planned() == set()
