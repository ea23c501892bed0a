"""An adapter and second labels go through the real rules, from one iteration to the next."""

from __future__ import annotations

import numpy as np

from feel_steps import artifacts


def test_the_next_iteration_clusters_adapted_features(workspace):
    workspace.configure(
        select={"second": 0.5},
        pool={"method": "adapted"},
        train={"settings": {"hidden": 16, "adapter": 4}},
    )
    before = artifacts.read(workspace.results / "feel/seed-0/iter-1/selected.parquet", "selected")
    workspace.snakemake("--", "results/tiny/feel/seed-0/iter-2/pooled.parquet")
    first = workspace.results / "feel/seed-0/iter-1"
    selected = artifacts.read(first / "selected.parquet", "selected")
    assert selected["video_id"].tolist() == before["video_id"].tolist()
    assert (selected["second"] >= 0).sum() == round(len(selected["second"]) / 2 + 0.01)
    embeddings = artifacts.read(first / "embeddings.parquet", "embeddings")
    pooled = artifacts.read(workspace.results / "feel/seed-0/iter-2/pooled.parquet", "pooled")
    place = {video_id: row for row, video_id in enumerate(embeddings["video_id"])}
    rows = [place[video_id] for video_id in pooled["video_id"]]
    np.testing.assert_array_equal(pooled["feature"], embeddings["adapted"][rows])
