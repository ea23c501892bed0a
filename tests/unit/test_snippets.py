"""Features of many videos: in one matrix, or on disk and read where they are needed."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from feel_steps.errors import InputError
from feel_steps.tables import snippets, tables
from feel_steps.tables.snippets import Stored, load_snippets
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
    loaded = load_snippets(videos, folder)
    assert loaded.video_ids == ["a", "b", "c"] and loaded.lengths.tolist() == [3, 1, 2]
    for index, name in enumerate("abc"):
        assert (loaded.video(index) == ord(name)).all()


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


@pytest.fixture
def stored(run, monkeypatch):
    """The same videos, none of which is loaded; with one part open at a time."""
    folder, videos = run
    expected = load_snippets(videos, folder)
    monkeypatch.setattr(snippets, "HELD", 4 * 2 * 2)  # two rows
    monkeypatch.setattr(snippets, "BLOCK", 4 * 2 * 2)
    monkeypatch.setattr(snippets, "OPEN", 1)
    return expected, folder, videos


@pytest.mark.parametrize("rows", [None, 1, 2])
def test_rows_on_disk_are_those_in_memory(stored, rows):
    expected, folder, videos = stored
    if rows:
        table = pq.read_table(folder / "part-0000.parquet").replace_schema_metadata()
        pq.write_table(table, folder / "part-0000.parquet", row_group_size=rows)
    found = load_snippets(videos, folder)
    assert isinstance(found.features, Stored) or rows is None  # a row group of three rows is more than two
    for start in range(7):
        for stop in range(7):
            np.testing.assert_array_equal(found.features[start:stop], expected.features[start:stop])


def test_blocks_hold_whole_videos_and_few_of_them(stored):
    expected, folder, videos = stored
    table = pq.read_table(folder / "part-0000.parquet").replace_schema_metadata()
    pq.write_table(table, folder / "part-0000.parquet", row_group_size=1)
    blocks = list(load_snippets(videos, folder).blocks())
    assert [block.video_ids for _, block in blocks] == [["a"], ["b"], ["c"]]  # b and c are three rows
    for rows, block in blocks:
        np.testing.assert_array_equal(block.features, expected.features[rows])
        assert block.offsets[0] == 0 and block.offsets[-1] == len(block.features)
    assert [rows for rows, _ in expected.blocks()] == [slice(0, 6)]  # what is in memory is one block


def test_a_bad_value_on_disk_is_found_when_it_is_read(stored):
    _, folder, videos = stored
    with tables.write_features(folder / "part-0000.parquet") as writer:
        for row in (0, np.nan):
            writer.add("c", np.full((1, 2), row, np.float32))
        writer.add("a", np.zeros((1, 2), np.float32))
        writer.add("a", np.zeros((2, 2), np.float32))
    found = load_snippets(videos, folder)
    with pytest.raises(InputError, match="column 'feature', row 1: NaN"):
        list(found.blocks())


def test_the_digest_follows_the_content(stored):
    """A killed training goes on only from features that are the same."""
    _, folder, videos = stored
    paths = [folder / "part-0000.parquet", folder / "part-0001.parquet"]
    before = Stored(paths, np.empty((0, 4), np.int64), 2).digest()
    assert Stored(paths, np.empty((0, 4), np.int64), 2).digest() == before
    with tables.write_features(paths[1]) as writer:
        writer.add("b", np.ones((1, 2), np.float32))
    assert Stored(paths, np.empty((0, 4), np.int64), 2).digest() != before
