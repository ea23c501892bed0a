"""Features of many videos, loaded once into one matrix."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from feel_steps.errors import InputError
from feel_steps.snippets import load_snippets
from feel_steps.tables import tables
from feel_steps.tables.tables import runs


@pytest.fixture
def run(tmp_path):
    """Three videos in two parts; the videos table in another order than the parts."""
    lengths = {"a": 3, "b": 1, "c": 2}
    for part, names in (("part-0000.parquet", "ca"), ("part-0001.parquet", "b")):
        with tables.write_features(tmp_path / part) as writer:
            for name in names:
                writer.add(name, np.full((lengths[name], 2), ord(name), np.float32))
    videos = {
        "video_id": np.array(list("abc"), object),
        "split": np.array(["train", "test", "train"], object),
        "n_snippets": np.array([3, 1, 2], np.int32),
        "part": np.array(["part-0000.parquet", "part-0001.parquet", "part-0000.parquet"], object),
    }
    return tmp_path, videos


def test_rows_stand_in_the_order_of_the_videos_table(run):
    folder, videos = run
    snippets = load_snippets(videos, folder)
    assert snippets.video_ids == ["a", "b", "c"] and snippets.lengths.tolist() == [3, 1, 2]
    for index, name in enumerate("abc"):
        assert (snippets.video(index) == ord(name)).all()


def test_one_split_leaves_the_other_out(run):
    folder, videos = run
    assert load_snippets(videos, folder, "train").video_ids == ["a", "c"]
    assert load_snippets(videos, folder, "train").features.shape == (5, 2)


def test_a_part_that_changed_since_the_index_is_named(run):
    folder, videos = run
    videos["n_snippets"][0] = 4
    with pytest.raises(InputError, match="part-0000.parquet: video 'a' has 3 snippets, the videos table says 4"):
        load_snippets(videos, folder)


def test_a_video_that_its_part_lacks_is_an_error(run):
    folder, videos = run
    videos["part"][1] = "part-0000.parquet"
    with pytest.raises(InputError, match="part-0000.parquet: video 'b' has 0 snippets"):
        load_snippets(videos, folder)


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_a_part_that_another_program_cut_elsewhere_is_read_alike(run, rows):
    """Someone's own extractor may put half a video, or several, into a row group; snippets must not get lost."""
    folder, videos = run
    expected = load_snippets(videos, folder).features
    table = pq.read_table(folder / "part-0000.parquet").replace_schema_metadata()
    pq.write_table(table, folder / "part-0000.parquet", row_group_size=rows)
    np.testing.assert_array_equal(load_snippets(videos, folder).features, expected)


def test_a_bad_value_is_found_at_its_row_of_the_file(run):
    folder, videos = run
    with tables.write_features(folder / "part-0000.parquet") as writer:
        writer.add("c", np.zeros((2, 2), np.float32))
        writer.add("a", np.array([[0, 0], [0, np.nan], [0, 0]], np.float32))
    with pytest.raises(InputError, match="column 'feature', row 3: NaN"):
        load_snippets(videos, folder)


def test_an_altered_part_is_refused(run):
    folder, videos = run
    part = folder / "part-0000.parquet"
    data = part.read_bytes()
    value = np.float32(ord("a")).tobytes()
    part.write_bytes(data.replace(value, np.float32(7).tobytes(), 1))
    with pytest.raises(InputError, match="damaged Parquet file .*CRC"):
        load_snippets(videos, folder)


def test_parts_of_different_extractors_are_refused(run):
    folder, videos = run
    with tables.write_features(folder / "part-0001.parquet") as writer:
        writer.add("b", np.zeros((1, 5), np.float32))
    with pytest.raises(InputError, match="dimension 5, but 2"):
        load_snippets(videos, folder)


def test_runs_of_nothing_and_of_one():
    assert runs([]) == []
    assert runs(["x"]) == [("x", 0, 1)]
    assert runs(["x", "x", "y"]) == [("x", 0, 2), ("y", 2, 3)]
