"""Tables on disk: what is written is read, what is damaged is named."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feel_steps.errors import InputError
from feel_steps.tables import tables


def pooled(rows=3, dimension=4):
    ids = np.array([f"v{row}" for row in range(rows)], object)
    return {"video_id": ids, "feature": np.arange(rows * dimension, dtype=np.float32).reshape(rows, dimension)}


def test_a_table_comes_back_as_it_was_written(tmp_path):
    tables.write(tmp_path / "new/pooled.parquet", "pooled", pooled(), {"seed": "0"})
    columns = tables.read(tmp_path / "new/pooled.parquet", "pooled")
    assert columns["video_id"].tolist() == ["v0", "v1", "v2"]
    np.testing.assert_array_equal(columns["feature"], pooled()["feature"])
    columns["feature"][0] = 1  # writable: torch refuses Arrow's read-only memory
    assert tables.read_metadata(tmp_path / "new/pooled.parquet")["seed"] == "0"


def test_nullable_columns_keep_their_gaps(tmp_path):
    rows = {"video_id": ["a", "b"], "split": ["train"] * 2, "path": ["a.mp4", None], "fps": [25.0] * 2}
    rows |= {"n_frames": [100, -1], "duration": [4.0] * 2, "part": [0, 1]}
    tables.write(tmp_path / "m.parquet", "manifest", rows)
    assert pq.read_table(tmp_path / "m.parquet")["n_frames"].to_pylist() == [100, None]
    columns = tables.read(tmp_path / "m.parquet", "manifest")
    assert columns["n_frames"].tolist() == [100, -1] and columns["path"].tolist() == ["a.mp4", None]


def test_the_same_columns_give_the_same_bytes(tmp_path):
    for name in "ab":
        tables.write(tmp_path / name, "pooled", pooled(), {"z": "1", "a": "2"} if name == "a" else {"a": "2", "z": "1"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_failed_write_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "pooled.parquet"
    tables.write(path, "pooled", pooled())
    before = path.read_bytes()
    with pytest.raises(RuntimeError), tables.write_features(path) as writer:
        writer.add("v", np.zeros((2, 4), np.float32))
        raise RuntimeError("the extractor died")
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["pooled.parquet"]


def test_each_video_of_a_feature_part_is_one_row_group(tmp_path):
    """Otherwise reading one video would read its neighbours."""
    with tables.write_features(tmp_path / "part.parquet") as writer:
        for video, length in (("a", 5), ("b", 1), ("c", 3)):
            writer.add(video, np.full((length, 2), length, np.float32))
    file = pq.ParquetFile(tmp_path / "part.parquet")
    assert [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)] == [5, 1, 3]
    assert tables.read(tmp_path / "part.parquet", "features")["snippet"].tolist() == [0, 1, 2, 3, 4, 0, 0, 1, 2]


def test_a_part_without_videos_is_an_empty_table(tmp_path):
    with tables.write_features(tmp_path / "part.parquet"):
        pass
    assert len(tables.read(tmp_path / "part.parquet", "features")["feature"]) == 0


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda t: t.drop_columns("feature"), ["column 'feature' is missing", "video_id"]),
        (lambda t: t.set_column(0, "video_id", pa.array(["a", None, "c"])), ["column 'video_id', row 1", "empty"]),
        (lambda t: t.set_column(0, "video_id", pa.array([1, 2, 3])), ["column 'video_id' is int64", "string"]),
        (lambda t: t.set_column(1, "feature", pa.array([1.0, 2.0, 3.0])), ["column 'feature'", "fixed_size_list"]),
    ],
)
def test_a_table_that_does_not_fit_its_schema_is_named(tmp_path, damage, words):
    path = tmp_path / "pooled.parquet"
    tables.write(path, "pooled", pooled())
    pq.write_table(damage(pq.read_table(path)).replace_schema_metadata(None), path)  # as another program would
    with pytest.raises(InputError) as error:
        tables.read(path, "pooled")
    assert str(path) in str(error.value) and all(word in str(error.value) for word in words)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_row_of_a_value_that_is_not_finite_is_named(tmp_path, value):
    columns = pooled()
    columns["feature"][2, 1] = value
    tables.write(tmp_path / "p", "pooled", columns)
    with pytest.raises(InputError, match="column 'feature', row 2: NaN or infinite"):
        tables.read(tmp_path / "p", "pooled")


def test_large_finite_features_are_not_taken_for_infinite(tmp_path):
    columns = pooled()
    columns["feature"][:] = np.finfo(np.float32).max
    tables.write(tmp_path / "p", "pooled", columns)
    assert np.isfinite(tables.read(tmp_path / "p", "pooled")["feature"]).all()


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all"])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "p.parquet").write_bytes(content)
    with pytest.raises(InputError, match="p.parquet: not a readable Parquet file"):
        tables.read(tmp_path / "p.parquet", "pooled")


def test_a_truncated_or_altered_file_is_never_an_unexplained_crash(tmp_path):
    path = tmp_path / "clusters.parquet"
    ids = [f"video-{row}" for row in range(200)]
    tables.write(path, "clusters", {"video_id": ids, "cluster": [0] * 200, "distance": [0.5] * 200})
    whole = path.read_bytes()
    for size in range(0, len(whole), 97):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError):
            tables.read(path, "clusters")


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(InputError, match="no such file; run the step that writes it"):
        tables.read(tmp_path / "nothing.parquet", "pooled")


def test_training_tables_keep_the_terms_of_the_loss(tmp_path):
    columns = {"step": [10], "loss": [0.5], "learning_rate": [1e-4], "contrast": [0.2]}
    tables.write(tmp_path / "t", "training", columns)
    assert tables.read(tmp_path / "t", "training")["contrast"].tolist() == [0.2]
    with pytest.raises(ValueError, match="has no columns"):
        tables.write(tmp_path / "p", "pooled", pooled() | {"extra": [1, 2, 3]})


def test_a_flipped_bit_in_the_data_is_never_read_and_never_an_unexplained_crash(tmp_path):
    """Else a failing disk changes features unnoticed. In the footer, only verify finds every flip."""
    path = tmp_path / "pooled.parquet"
    tables.write(path, "pooled", pooled())
    whole, generator = path.read_bytes(), np.random.default_rng(0)
    data = len(whole) - pq.read_metadata(path).serialized_size - 8
    for place in range(len(whole)):
        altered = bytearray(whole)
        altered[place] ^= 1 << int(generator.integers(8))
        path.write_bytes(altered)
        try:
            found = tables.read(path, "pooled")
        except InputError as error:
            assert "pooled.parquet: " in str(error)
        else:
            assert place >= data or all(np.array_equal(found[name], values) for name, values in pooled().items())


def test_a_table_of_another_program_is_read_without_a_digest(tmp_path):
    pq.write_table(pa.table({"video_id": ["a"], "label": ["x"], "t_start": [0.0], "t_end": [1.0]}), tmp_path / "t")
    assert tables.read(tmp_path / "t", "annotations")["label"].tolist() == ["x"]
