"""A run on names that a shell, Snakemake, HTML or a file system could take for something else."""

from __future__ import annotations

import json
import re

from feel_steps.tables import tables

from .conftest import Workspace, make_cola_folder

FOLDER = "-x --out 'a' \"b\" $(touch pwned) `touch pwned`; touch pwned & #"
IDS = ["$(touch pwned)", "'; touch pwned;'", "--out", "{part}", "<script>alert(1)</script>", 'a b/"c"', "été", "*"]


def test_hostile_names_are_names(tmp_path):
    """Folder, cache, ids and labels."""
    workspace = Workspace(tmp_path)
    data = tmp_path / FOLDER
    make_cola_folder(data)
    truth = json.loads((data / "gt.json").read_text())["database"]
    new = dict(zip([f"train_{index:02d}" for index in range(len(IDS))], IDS, strict=True))
    for old, name in new.items():
        for stream in ("rgb", "flow"):
            place = data / "features/train" / stream
            (place / f"{name}.npy").parent.mkdir(parents=True, exist_ok=True)
            (place / f"{old}.npy").rename(place / f"{name}.npy")
        truth[name] = truth.pop(old)
    for video in truth.values():
        for annotation in video["annotations"]:
            annotation["label"] += " <img src=x onerror=alert(1)> $(touch pwned)"
    (data / "gt.json").write_text(json.dumps({"database": truth}))
    names = (data / "split_train.txt").read_text().splitlines()
    (data / "split_train.txt").write_text("".join(f"{new.get(name, name)}\n" for name in names))

    dataset = {"path": FOLDER, "annotations": f"{FOLDER}/gt.json"}
    workspace.configure(iterations=1, dataset=dataset, features={"cache": f"{FOLDER}/cache"})
    workspace.snakemake()
    assert not list(tmp_path.rglob("pwned"))
    videos = tables.read(workspace.results / "videos.parquet", "videos")["video_id"].tolist()
    assert set(IDS) <= set(videos) and len(videos) == 16
    page = (workspace.results / "report.html").read_text()
    assert "<script>alert" not in page and not re.search(r"<img[^>]*onerror", page)
