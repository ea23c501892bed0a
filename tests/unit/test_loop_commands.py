"""The loop's commands on tables of our own and of other programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from feel_steps.cli import app
from feel_steps.errors import InputError
from feel_steps.tables import tables
from tests.tiny import make_snippets, make_videos


def call(command: str, **options: object) -> str:
    words = [command]
    for key, value in options.items():
        words += [f"--{key.replace('_', '-')}", str(value)]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Features of eight videos and their table; the part says what kind of features they are."""
    snippets = make_snippets((30, 12, 17, 45, 20, 16, 21, 33))
    columns = {
        "video_id": np.repeat(np.array(snippets.video_ids, object), snippets.lengths),
        "snippet": np.concatenate([np.arange(length) for length in snippets.lengths]),
        "feature": snippets.features,
    }
    tables.write(tmp_path / "features/part-0000.parquet", "features", columns, {"view_family": "network"})
    tables.write(tmp_path / "videos.parquet", "videos", make_videos(snippets))
    return tmp_path


def pool(folder: Path, views: str) -> Path:
    out = folder / "pooled.parquet"
    call("pool", videos=folder / "videos.parquet", features=folder / "features", views=views, out=out)
    return out


def cluster(folder: Path, pooled: Path) -> dict[str, Path]:
    files = {"out_clusters": folder / "clusters.parquet", "out_centres": folder / "centres.parquet"}
    call("cluster", pooled=pooled, clusters=2, seed=0, method="consensus", starts=5, **files)
    return files


def test_views_lie_side_by_side_and_are_clustered_one_by_one(folder):
    pooled = pool(folder, "second,lag")
    assert tables.read(pooled, "pooled")["feature"].shape == (8, 6 * 7 // 2 + 6 * 5 // 2)
    files = cluster(folder, pooled)
    clusters = tables.read(files["out_clusters"], "clusters")
    assert {"distance", "margin", "second"} <= clusters.keys()
    call("refine", pooled=pooled, clusters=files["out_clusters"], centres=files["out_centres"], method="none",
         out=folder / "refined.parquet")  # fmt: skip
    refined = tables.read(folder / "refined.parquet", "refined")
    assert all(np.array_equal(refined[name], clusters[name]) for name in ("cluster", "distance", "margin", "second"))


def test_a_pooled_table_of_another_program_is_one_view(folder):
    """Such a table says nothing of views, and must still work with every command."""
    pooled, own = pool(folder, "second,lag"), folder / "own.parquet"
    tables.write(own, "pooled", tables.read(pooled, "pooled"))
    files = cluster(folder, own)
    refined = folder / "refined.parquet"
    call("refine", pooled=own, clusters=files["out_clusters"], centres=files["out_centres"], k1=3, k2=1, out=refined)
    assert len(tables.read(refined, "refined")["cluster"]) == 8


def test_views_that_do_not_fit_the_vectors_are_refused(folder):
    pooled, own = pool(folder, "mean"), folder / "own.parquet"
    tables.write(own, "pooled", tables.read(pooled, "pooled"), {"settings": '{"views": {"second": 4, "lag": 3}}'})
    with pytest.raises(InputError, match=r"own.parquet: vectors of 6 numbers, but its views have \[4, 3\]"):
        cluster(folder, own)


def test_auto_takes_the_views_of_the_kind_of_features(folder):
    assert tables.read_metadata(pool(folder, "auto"))["settings"].startswith('{"views": {"whitened": 6}')


def test_auto_judges_features_of_unknown_kind_by_their_views(folder, monkeypatch):
    part = folder / "features/part-0000.parquet"
    tables.write(part, "features", tables.read(part, "features"))
    monkeypatch.setattr("feel_steps.pool.ALIKE", -1.1)
    assert '"second": 21, "lag": 15' in tables.read_metadata(pool(folder, "auto"))["settings"]


def iterate(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """Every table of an iteration, and of the pooling after it."""
    videos, features, n = folder / "videos.parquet", folder / "features", np.arange(8)
    names = np.array([f"v{i}" for i in n], object)
    selected = {"video_id": names, "cluster": n % 2, "distance": n * 1.0, "rank": n}
    tables.write(folder / "selected.parquet", "selected", selected)
    sure = {name: n / 8 for name in ("agreement", "stability", "clarity", "confidence")}
    tables.write(folder / "confidence.parquet", "confidence", {"video_id": names, "cluster": n % 2} | sure)
    kinds = ("training", "attention", "embeddings", "detections", "moments")
    files = {kind: folder / f"{kind}.parquet" for kind in kinds}
    model, data = folder / "model.safetensors", {"videos": videos, "features": features}
    call("train", **data, selected=folder / "selected.parquet", clusters=2, steps=6, batch=5, length=10, threads=1,
         settings='{"hidden": 8}', precision="float32", out=model, out_training=files["training"])  # fmt: skip
    call("attend", **data, model=model, length=25, precision="float32", threads=1, out=files["attention"],
         out_embeddings=files["embeddings"])  # fmt: skip
    call("localize", videos=videos, attention=files["attention"], embeddings=files["embeddings"],
         out=files["detections"], out_moments=files["moments"], confidence=folder / "confidence.parquet")  # fmt: skip
    found = {kind: tables.read(file, kind) for kind, file in files.items()}
    for views in ("auto", "mean,actionness,embedding", "second,lag,whitened"):
        out = folder / "pooled.parquet"
        call("pool", **data, attention=files["attention"], embeddings=files["embeddings"], views=views, out=out)
        found[views] = tables.read(out, "pooled")
    return found


def test_videos_that_are_read_one_by_one_give_the_tables_of_videos_in_memory(folder, monkeypatch):
    """Beyond 64 MiB features stay on disk; a run must not turn out otherwise for it."""
    tables_of_features = tables.read(folder / "features/part-0000.parquet", "features")
    with tables.write_features(folder / "features/part-0000.parquet", {"view_family": "network"}) as writer:
        for name, start, stop in tables.runs(tables_of_features["video_id"]):
            writer.add(name, tables_of_features["feature"][start:stop])
    expected = iterate(folder)
    monkeypatch.setattr("feel_steps.tables.snippets.HELD", 50 * 6 * 4)
    monkeypatch.setattr("feel_steps.tables.snippets.BLOCK", 50 * 6 * 4)  # of 50 snippets
    monkeypatch.setattr("feel_steps.tables.tables.GROUP", 1000)  # so that tables have many row groups
    found = iterate(folder)
    for kind in ("attention", "detections"):
        assert pq.ParquetFile(folder / f"{kind}.parquet").num_row_groups > 2
    for kind, table in expected.items():
        for name, values in table.items():
            if values.dtype == object:
                assert values.tolist() == found[kind][name].tolist()
            else:
                np.testing.assert_allclose(found[kind][name], values, rtol=1e-4, atol=1e-5, err_msg=f"{kind} {name}")
    np.testing.assert_array_equal(found["training"]["loss"], expected["training"]["loss"])  # the very same batches
