"""Import: if these fail, a user's data set is read wrongly, or what is wrong with it is found hours later."""

import json
import shutil

import numpy as np
import pytest

from feel_steps.dataset import checks
from feel_steps.dataset.annotations import read_annotations
from feel_steps.dataset.checks import check_annotations, check_groups, check_labels, list_inputs
from feel_steps.dataset.cola import import_cola
from feel_steps.dataset.folder import import_videos
from feel_steps.dataset.videos import balance
from feel_steps.errors import InputError
from tests.clips import grey_frames, scene, write_sound, write_video


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """One second of video."""
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", grey_frames(20), fps=20)


def fill(folder, clip, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, folder / name)
    return folder


# ---------------------------------------------------------------------------------------------------- folder of videos


def test_ids_are_paths_without_suffix(tmp_path, clip):
    names = ["b.mp4", "day 1/a 'quoted' \"name\".MP4", "day 1/naïve – 行動.mov", "a.b.mp4", "no_suffix"]
    manifest, skipped = import_videos(fill(tmp_path, clip, *names))
    expected = ["a.b", "b", "day 1/a 'quoted' \"name\"", "day 1/naïve – 行動", "no_suffix"]
    assert manifest["video_id"].tolist() == expected
    assert manifest["path"][0] == str(tmp_path / "a.b.mp4")
    assert set(manifest["split"]) == {"train"}
    assert manifest["n_frames"].tolist() == [20] * 5
    assert np.allclose(manifest["duration"], 1)
    assert np.allclose(manifest["fps"], 20)
    assert all(len(column) == 0 for column in skipped.values())


def test_what_lies_beside_videos_is_passed_over(tmp_path, clip):
    fill(tmp_path, clip, "a.mp4", "b.avi", ".hidden.mp4", ".cache/c.mp4", "notes.txt")
    for name in ("readme.md", "a.srt", "gt.json", "split.csv", "cover.JPG", ".DS_Store"):
        (tmp_path / name).write_text("text")
    assert import_videos(tmp_path)[0]["video_id"].tolist() == ["a", "b"]


def test_links_are_followed_once(tmp_path, clip):
    """Videos on another disk are linked; a link that leads back must not go on for ever."""
    fill(tmp_path / "disk/more", clip, "b.mp4")
    fill(tmp_path / "set", clip, "a.mp4")
    (tmp_path / "set/far").symlink_to(tmp_path / "disk/more")
    (tmp_path / "set/c.mp4").symlink_to(tmp_path / "disk/more/b.mp4")
    (tmp_path / "disk/more/back").symlink_to(tmp_path / "set")
    assert import_videos(tmp_path / "set", links="anywhere")[0]["video_id"].tolist() == ["a", "c", "far/b"]


def test_names_in_either_unicode_form_are_one(tmp_path, clip):
    """A Mac writes é as two characters; the split file made elsewhere as one."""
    fill(tmp_path, clip, "cafe\u0301.mp4", "b.mp4")
    (tmp_path / "split.csv").write_text("video_id,split\ncaf\u00e9,train\nb,train\n", encoding="utf-8")
    assert import_videos(tmp_path, split=tmp_path / "split.csv")[0]["video_id"].tolist() == ["b", "caf\u00e9"]


@pytest.mark.parametrize("layout", ["videos", "features", "cola"])
def test_the_check_before_a_run_composes_names_as_import_does(tmp_path, layout):
    """A folder copied from a Mac must not be refused by a check for videos that import would find."""
    for name in ("cafe\u0301.mp4", "cafe\u0301.npy", "b.mp4", "b.npy"):
        (tmp_path / name).write_bytes(b"")
    files = {
        "split_train": "cafe\u0301\nb\n",
        "labels": "video_id,label\ncaf\u00e9,jump\n",
        "groups": "video_id,group\ncaf\u00e9,old\nb,young\n",
        "annotations": "video_id,label,t_start,t_end\ncaf\u00e9,jump,1,2\n",
    }
    paths = {name: str(tmp_path / f"{name}.txt") for name in files}
    for name, text in files.items():
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    dataset = {"layout": layout, "path": str(tmp_path), "links": "inside", "streams": None, **paths}
    config = {"dataset": dataset, "annotations": {"strict": True}, "groups": paths["groups"]}
    check_annotations(config)
    check_labels(config, {"feel": 2})
    check_groups(config)


def test_two_videos_of_one_name_keep_their_suffix(tmp_path, clip):
    for name in ("a.mp4", "a.avi", "b.mp4", "x/a.mp4"):
        (tmp_path / "v" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "v" / name).write_bytes(clip.read_bytes())
    manifest, _ = import_videos(tmp_path / "v")
    assert manifest["video_id"].tolist() == ["a.avi", "a.mp4", "b", "x/a"]


SIDECARS = "eaf pfsx LRV LRF THM srt description boris json pickle txt"  # of ELAN, GoPro, DJI, BORIS, downloads


@pytest.mark.parametrize("on_bad_video", ["fail", "skip"])
@pytest.mark.parametrize("suffix", [*SIDECARS.split(), "unheard-of", ""])
def test_sidecars_of_a_video_are_ignored(tmp_path, clip, capsys, suffix, on_bad_video):
    """A camera's small copy (LRV, LRF) is a video indeed, but the same one."""
    folder = tmp_path / "v"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.mp4").write_bytes(clip.read_bytes())
    content = clip.read_bytes() if suffix.startswith("LR") else b"about this video"
    (folder / f"a.{suffix}".rstrip(".")).write_bytes(content)
    manifest, skipped = import_videos(folder, on_bad_video=on_bad_video)
    assert manifest["video_id"].tolist() == ["a", "b"]
    assert not len(skipped["video_id"])
    kind = f".{suffix.lower()}" if suffix else "without a suffix"
    assert f"1 files are no videos and were ignored (1 {kind})" in capsys.readouterr().err


def test_a_damaged_video_is_not_ignored(tmp_path, clip):
    folder = tmp_path / "v"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.mp4").write_bytes(clip.read_bytes())
    (folder / "c.mkv").write_bytes(b"no video")
    with pytest.raises(InputError, match=r"c.mkv: not a video file that FFmpeg can open"):
        import_videos(folder)


@pytest.mark.parametrize("name", ["results", "old-run"])
def test_results_are_never_input(tmp_path, clip, monkeypatch, name):
    """With `dataset.path: .` a run took its own model and the demo's videos for new ones."""
    monkeypatch.chdir(tmp_path)
    run = tmp_path / name if name == "old-run" else tmp_path / "results/mine"
    for path in (tmp_path / "a.mp4", tmp_path / "b.mp4", run / "videos/c.mp4", tmp_path / ".cache/d.mp4"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(clip.read_bytes())
    for table in ("manifest", "unreadable"):
        (run / f"{table}.parquet").write_bytes(b"")
    assert import_videos(".")[0]["video_id"].tolist() == ["a", "b"]


def test_only_files_that_are_read_count_as_inputs(tmp_path, clip):
    """A note, or a corrected annotation, planned all jobs again."""
    (tmp_path / "a.mp4").write_bytes(clip.read_bytes())
    before = list_inputs(str(tmp_path), "inside", "videos")
    for name in ("notes.txt", "truth.csv", "a.eaf", "gt.json", ".DS_Store"):
        (tmp_path / name).write_text("text")
    checks._list.cache_clear()
    assert list_inputs(str(tmp_path), "inside", "videos") == before
    (tmp_path / "b.avi").write_bytes(clip.read_bytes())
    checks._list.cache_clear()
    assert list_inputs(str(tmp_path), "inside", "videos").keys() == {"a.mp4", "b.avi"}


def test_id_with_a_backslash(tmp_path, clip):
    with pytest.raises(InputError, match="cannot be a video id"):
        import_videos(fill(tmp_path, clip, "a.mp4", "x\\..\\b.mp4"))


def test_bad_videos_fail_or_are_skipped(tmp_path, clip):
    fill(tmp_path, clip, "a.mp4", "b.mp4")
    (tmp_path / "c.mp4").write_bytes(clip.read_bytes()[:500])
    write_sound(tmp_path / "d.mp4")
    write_video(tmp_path / "e.mp4", grey_frames(3))
    (tmp_path / "link.mp4").symlink_to(tmp_path / "gone.mp4")
    with pytest.raises(InputError, match=r"c\.mp4: not a video file .*; repair it, .* or set on_bad_video: skip"):
        import_videos(tmp_path)
    manifest, skipped = import_videos(tmp_path, on_bad_video="skip", min_duration=0.5)
    assert manifest["video_id"].tolist() == ["a", "b"]
    assert skipped["video_id"].tolist() == ["c", "d", "e", "link"]
    assert skipped["path"][0] == str(tmp_path / "c.mp4")
    assert "no video stream in it (audio only)" in skipped["reason"][1]
    assert "0.12 s long, but one window of frames takes 0.50 s" in skipped["reason"][2]


def test_truncated_video(tmp_path, clip):
    fill(tmp_path, clip, "a.mp4", "b.mp4")
    path = write_video(tmp_path / "c.mp4", scene(100), options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"c\.mp4: cut short: \d+ of the 100 frames that its header promises"):
        import_videos(tmp_path)


def test_too_few_videos(tmp_path, clip):
    with pytest.raises(InputError, match="no usable training video"):
        import_videos(tmp_path)
    (tmp_path / "b.mp4").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"no usable training video, 1 skipped \('b': not a video file .*\)"):
        import_videos(tmp_path, on_bad_video="skip")
    manifest, _ = import_videos(fill(tmp_path, clip, "a.mp4"), on_bad_video="skip")
    assert manifest["video_id"].tolist() == ["a"]  # one recording is enough where its parts are clustered
    with pytest.raises(InputError, match="no such folder"):
        import_videos(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,train\nb,train\nx,test\n", "row 4: no video 'x' in the folder"),
        ("a,train\nb,train\n", "no row for 'c'; give every video a split"),
        ("a,train\nb,val\nc,test\n", "row 3: split is 'val'; expected train or test"),
        ("a,train\na,test\nb,train\nc,test\n", "row 3: 'a' stands in the file twice"),
        ("a,train\n../b,train\nc,test\n", r"row 3: '\.\./b' cannot be a video id"),
        ("a,train\n/b,train\nc,test\n", "row 3: '/b' cannot be a video id"),
        ("a,train\nb\nc,test\n", "row 3: expected 2 values"),
        ("a,test\nb,test\nc,test\n", "no usable training video"),
    ],
)
def test_split_file_that_does_not_fit(tmp_path, clip, rows, message):
    fill(tmp_path, clip, "a.mp4", "b.mp4", "c.mp4")
    (tmp_path / "split.csv").write_text("video_id,split\n" + rows)
    with pytest.raises(InputError, match=message):
        import_videos(tmp_path, split=tmp_path / "split.csv")


def test_split_file_without_its_columns(tmp_path, clip):
    fill(tmp_path, clip, "a.mp4", "b.mp4")
    (tmp_path / "split.csv").write_text("name,split\na,train\n")
    with pytest.raises(InputError, match=r"column 'video_id' is missing \(there are: name, split\)"):
        import_videos(tmp_path, split=tmp_path / "split.csv")
    (tmp_path / "split.csv").write_text("video_id;split\na;train\n")  # as Excel saves it in half of Europe
    with pytest.raises(InputError, match=r"split\.csv: its columns are separated by semicolons; save it with commas"):
        import_videos(tmp_path, split=tmp_path / "split.csv")
    with pytest.raises(InputError, match="no such file"):
        import_videos(tmp_path, split=tmp_path / "gone.csv")


def test_split_file_as_spreadsheets_write_it(tmp_path, clip):
    """A byte order mark, carriage returns, spaces, quotes, other columns, and a row for a skipped video."""
    fill(tmp_path, clip, "a.mp4", "b, c.mp4", "d.mp4")
    (tmp_path / "bad.mp4").write_bytes(b"broken")
    text = 'video_id,note,split\r\na,x, train\r\n"b, c",,train\r\nd,,test\r\nbad,,test\r\n'
    (tmp_path / "split.csv").write_text(text, encoding="utf-8-sig")
    manifest, _ = import_videos(tmp_path, split=tmp_path / "split.csv", on_bad_video="skip")
    assert dict(zip(manifest["video_id"], manifest["split"], strict=True)) == {
        "a": "train",
        "b, c": "train",
        "d": "test",
    }


def test_parts_take_equally_long():
    duration = np.array([10, 1, 2, 9, 3, 8], float)
    part = balance(duration, 3)
    assert part.tolist() == [0, 0, 1, 1, 2, 2]
    assert np.bincount(part, duration).tolist() == [11, 11, 11]
    assert balance(np.ones(2), 5).tolist() == [0, 1]
    assert balance(np.ones(0), 2).tolist() == []


# ---------------------------------------------------------------------------------------------------- CoLA's folders


def write_cola(root, lengths, *, test=(), dimension=6, dtype=np.float16):
    """Features whose numbers tell the snippet; lengths: name -> snippets, or (rgb, flow) snippets."""
    for name, T in lengths.items():
        split = "test" if name in test else "train"
        for i, stream in enumerate(("rgb", "flow")):
            n = T if isinstance(T, int) else T[i]
            path = root / "features" / split / stream / f"{name}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, np.arange(n, dtype=dtype)[:, None] + np.zeros(dimension, dtype))
    (root / "split_train.txt").write_text("\n".join(name for name in lengths if name not in test) + "\n")
    (root / "split_test.txt").write_text("\n".join(test))
    return root


def cola(root, **options):
    return import_cola(root, **{"fps": 25, "window": 16, "stride": 16} | options)


def test_cola_manifest(tmp_path):
    manifest = cola(write_cola(tmp_path, {"v2": 10, "v 1": (4, 5), "v3": 2}, test=["v3"]), stride=8)
    assert manifest["video_id"].tolist() == ["v 1", "v2", "v3"]
    assert manifest["split"].tolist() == ["train", "train", "test"]
    assert manifest["path"].tolist() == [None] * 3
    assert manifest["n_frames"].tolist() == [-1] * 3
    assert manifest["duration"].tolist() == [(3 * 8 + 16) / 25, (9 * 8 + 16) / 25, (8 + 16) / 25]


def test_cola_without_a_test_split(tmp_path):
    write_cola(tmp_path, {"a": 3, "b": 3})
    (tmp_path / "split_test.txt").unlink()
    assert cola(tmp_path)["split"].tolist() == ["train", "train"]
    (tmp_path / "split_train.txt").unlink()
    with pytest.raises(InputError, match=r"split_train.txt: no such file"):
        cola(tmp_path)


def test_cola_videos_without_features(tmp_path):
    write_cola(tmp_path, {"a": 3, "b": 3})
    with open(tmp_path / "split_train.txt", "a") as file:
        file.writelines(f"x{i:02d}\n" for i in range(12))
    with pytest.raises(InputError, match=r"24 files .* missing: 'train/rgb/x00.npy', .* and 14 more; add them"):
        cola(tmp_path)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ({"a": 3, "b": 0}, r"b.npy: float16\[0, 6\]: it is empty"),
        ({"a": 3, "b": (5, 3)}, "video 'b' in .*: streams of 5 and 3 snippets; at most one may be missing"),
    ],
)
def test_cola_lengths(tmp_path, lengths, message):
    with pytest.raises(InputError, match=message):
        cola(write_cola(tmp_path, lengths))


def test_cola_dimensions_that_differ(tmp_path):
    write_cola(tmp_path, {"a": 3, "b": 3})
    np.save(tmp_path / "features/train/flow/b.npy", np.zeros((3, 7), np.float32))
    with pytest.raises(InputError, match=r"flow.b.npy: flow features of dimension 7, but 6 in .*flow.a.npy"):
        cola(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a readable .npy file"),
        (b"text", "not a readable .npy file"),
        (None, r"int64\[3, 6\]: expected floating-point numbers"),
        ("objects", "an array of Python objects"),
        ("cut", "cut short"),
        ("flat", r"float32\[5\]: expected two dimensions"),
        ("archive", r"a zip archive \(.npz or .pt\) under the suffix .npy"),
    ],
)
def test_cola_arrays_that_are_none(tmp_path, content, message):
    path = write_cola(tmp_path, {"a": 3, "b": 3}) / "features/train/rgb/b.npy"
    if content == "objects":
        np.save(path, np.array([{}, []], object), allow_pickle=True)
    elif content == "flat":
        np.save(path, np.zeros(5, np.float32))
    elif content == "cut":
        path.write_bytes(path.read_bytes()[:-5])
    elif content is None:
        np.save(path, np.zeros((3, 6), np.int64))
    elif content == "archive":
        np.savez(path.with_suffix(".npz"), np.zeros((3, 6)))
        path.with_suffix(".npz").rename(path)
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=rf"rgb.b\.npy: {message}"):
        cola(tmp_path)


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ("a\n../b\n", "", r"split_train.txt, line 2: '\.\./b' cannot be a video id"),
        ("a\n/etc/b\n", "", "split_train.txt, line 2: '/etc/b' cannot be a video id"),
        ("a\nb\n\na\n", "", "split_train.txt, line 4: 'a' stands already in the same file"),
        ("a\nb\n", "a\n", "split_test.txt, line 1: 'a' stands already in split_train.txt"),
    ],
)
def test_cola_split_files(tmp_path, train, test, message):
    write_cola(tmp_path, {"a": 3, "b": 3})
    (tmp_path / "split_train.txt").write_text(train)
    (tmp_path / "split_test.txt").write_text(test)
    with pytest.raises(InputError, match=message):
        cola(tmp_path)


# ---------------------------------------------------------------------------------------------------- annotations

MANIFEST = {"video_id": np.array(["a", "b c"], object), "duration": np.array([10.0, 200.0])}


def write_json(path, **videos):
    path.write_text(json.dumps({"database": {name: {"annotations": rows} for name, rows in videos.items()}}))
    return path


def segment(start, end, label="jump"):
    return {"segment": [start, end], "label": label}


def test_json_and_csv_say_the_same(tmp_path):
    gt = write_json(
        tmp_path / "gt.json", **{"b c": [segment("5.5", 8), segment(1, 2, "a, b")], "a": [segment(0, 10.9)]}
    )
    (tmp_path / "gt.csv").write_text('video_id,label,t_start,t_end\nb c,jump,5.5,8\na,jump,0,10.9\nb c,"a, b",1,2\n')
    for path in (gt, tmp_path / "gt.csv"):
        columns, _ = read_annotations(path, MANIFEST)
        assert columns["video_id"].tolist() == ["a", "b c", "b c"]
        # a video's own keep the file's order: THUMOS numbers count the class that is annotated first
        assert columns["label"].tolist() == ["jump", "jump", "a, b"]
        assert columns["t_start"].tolist() == [0, 5.5, 1]
        assert columns["t_end"].tolist() == [10.9, 8, 2]


def test_no_annotations():
    for columns in read_annotations(None, MANIFEST):
        assert {"video_id", "label", "t_start", "t_end"} <= columns.keys()
        assert not any(map(len, columns.values()))


def test_annotations_of_videos_left_out(tmp_path):
    """A video that was skipped, and one without a segment, are no mistake."""
    gt = write_json(tmp_path / "gt.json", a=[segment(1, 2)], broken=[segment(1, 2)], unknown=[])
    assert read_annotations(gt, MANIFEST, skipped={"broken"}, strict=True)[0]["video_id"].tolist() == ["a"]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (segment(2, 2), r"database\['a'\].annotations\[1\]: segment from 2 s to 2 s; expected 0 <= start < end"),
        (segment(5, 2), "segment from 5 s to 2 s"),
        (segment(-1, 2), "segment from -1 s to 2 s"),
        (segment(5, 11.5), "segment ends at 11.5 s, but the video at 10.00 s"),
        (segment("x", 2), "time is 'x'; expected seconds as a number"),
        (segment(float("nan"), 2), "time is nan"),
        (segment(1, float("inf")), "time is inf"),
        (segment(None, 2), "time is None"),
        (segment(1, 2, ""), "label is ''; expected the name of a class"),
        (segment(1, 2, 3), "label is 3"),
        ({"segment": [1, 2]}, "expected an object with the keys 'segment' and 'label'"),
        ({"segment": [1], "label": "x"}, r"segment is \[1\]; expected \[start, end\]"),
    ],
)
def test_json_segments_that_make_no_sense(tmp_path, bad, message):
    with pytest.raises(InputError, match=message):
        read_annotations(write_json(tmp_path / "gt.json", a=[segment(1, 2), bad]), MANIFEST, strict=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"database": {', r"gt.json, line 1, column 15: not valid JSON"),
        ("{}", "the key 'database' is missing"),
        ("[]", "the key 'database' is missing"),
        ('{"database": []}', "'database' is a list"),
        ('{"database": {"a": {}}}', r"database\['a'\]: the list 'annotations' is missing"),
    ],
)
def test_json_of_another_form(tmp_path, text, message):
    (tmp_path / "gt.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_annotations(tmp_path / "gt.json", MANIFEST)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,jump,3,2", "row 3: segment from 3 s to 2 s"),
        ("a,jump,,2", "row 3: time is ''"),
        ("a,jump,3", "row 3: expected 4 values"),
        ("x,jump,1,2\ny,jump,1,2", "row 3: no video 'x' in the data set; correct it, or set annotations.strict: false"),
        ("b c,jump,1,203", "row 3: segment ends at 203 s, but the video at 200.00 s"),
    ],
)
def test_csv_rows_that_make_no_sense(tmp_path, row, message):
    (tmp_path / "gt.csv").write_text(f"video_id,label,t_start,t_end\na,jump,1,2\n{row}\n")
    with pytest.raises(InputError, match=message):
        read_annotations(tmp_path / "gt.csv", MANIFEST, strict=True)


PUBLISHED = [  # what published files have; times that are left of it, and what becomes of it
    ("THUMOS'14: later than the video", segment(5, 12.5), [(5, 10)], "clipped"),
    ("Charades: all of it, and more", segment(0, 233), [(0, 10)], "clipped"),
    ("before the video", segment(-1, 2), [(0, 2)], "clipped"),
    ("ActivityNet: [0, 0]", segment(0, 0), [], "dropped"),
    ("in the wrong order", segment(5, 2), [], "dropped"),
    ("behind the video's end", segment("120.5", "127"), [], "dropped"),
    ("at the video's end", segment(10, 10.5), [], "dropped"),
]


@pytest.mark.parametrize(("bad", "left", "fate"), [row[1:] for row in PUBLISHED], ids=[row[0] for row in PUBLISHED])
def test_published_annotations_do_not_stop_a_run(tmp_path, capsys, bad, left, fate):
    gt = write_json(tmp_path / "gt.json", a=[bad], **{"b c": [segment(1, 2)]})
    columns, dropped = read_annotations(gt, MANIFEST)
    in_a = columns["video_id"] == "a"
    assert list(zip(columns["t_start"][in_a], columns["t_end"][in_a], strict=True)) == left
    assert dropped["fate"].tolist() == [fate]
    assert [dropped["t_start"][0], dropped["t_end"][0]] == [float(time) for time in bad["segment"]]
    assert f"gt.json: 1 segment {fate}; annotations.strict: true refuses them" in capsys.readouterr().err


def test_videos_that_cannot_be_had_any_more(tmp_path, capsys):
    """One line counts them; a table lists their segments."""
    gt = write_json(tmp_path / "gt.json", a=[segment(1, 2)], **{f"gone-{i}": [segment(1, 2)] * 2 for i in range(386)})
    columns, dropped = read_annotations(gt, MANIFEST)
    assert columns["video_id"].tolist() == ["a"]
    assert set(dropped["fate"]) == {"ignored"} and len(dropped["fate"]) == 772
    assert "772 of 386 videos without features ignored" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("annotated", "known"), [("a.mp4", "a"), ("v_a", "a"), ("a", "v_a.MKV"), ("x/v_a.webm", "x/a")]
)
def test_ids_that_differ_by_a_suffix_or_prefix(tmp_path, capsys, annotated, known):
    manifest = {"video_id": np.array([known, "other"], object), "duration": np.array([10.0, 10.0])}
    columns, dropped = read_annotations(write_json(tmp_path / "gt.json", **{annotated: [segment(1, 2)]}), manifest)
    assert columns["video_id"].tolist() == [known] and not len(dropped["fate"])
    assert f"1 ids differ from the data set's by a suffix or the prefix v_ ('{annotated}', for example)" in (
        capsys.readouterr().err
    )


def test_ids_that_could_be_two_videos_are_not_guessed(tmp_path):
    manifest = {"video_id": np.array(["a.mp4", "v_a", "b"], object), "duration": np.array([10.0, 10.0, 10.0])}
    gt = write_json(tmp_path / "gt.json", a=[segment(1, 2)], b=[segment(1, 2)])
    columns, dropped = read_annotations(gt, manifest)
    assert (columns["video_id"].tolist(), dropped["video_id"].tolist()) == (["b"], ["a"])


def test_a_line_break_in_a_quoted_label_is_kept(tmp_path):
    (tmp_path / "gt.csv").write_text('video_id,label,t_start,t_end\na,"take\nthe cup",1,2\na,jump,x,2\n')
    with pytest.raises(InputError, match=r"gt.csv, row 4: time is 'x'"):
        read_annotations(tmp_path / "gt.csv", MANIFEST)
    (tmp_path / "gt.csv").write_text('video_id,label,t_start,t_end\na,"take\nthe cup",1,2\n')
    assert read_annotations(tmp_path / "gt.csv", MANIFEST)[0]["label"].tolist() == ["take\nthe cup"]


def test_annotations_of_another_form_stop_the_run_before_its_first_job(tmp_path):
    (tmp_path / "v").mkdir()
    (tmp_path / "v/a.mp4").write_bytes(b"")
    dataset = {"layout": "videos", "path": str(tmp_path / "v"), "links": "inside", "streams": None}

    def check(text, strict=False):
        (tmp_path / "gt.csv").write_text(f"video_id,label,t_start,t_end\n{text}")
        dataset["annotations"] = str(tmp_path / "gt.csv")
        check_annotations({"dataset": dataset, "annotations": {"strict": strict}})

    check("a,jump,1,99999\ngone,jump,1,2\n")  # how long the videos are is not known yet
    for text, strict, message in [
        ("a,jump,x,2\n", False, "row 2: time is 'x'"),
        ("a,,1,2\n", False, "label is ''"),
        ("other,jump,1,2\n", False, "none of its 1 videos is in the data set"),
        ("a,jump,1,2\ngone,jump,1,2\n", True, "no video 'gone' in the data set"),
        ("a,jump,0,0\n", True, "segment from 0 s to 0 s"),
    ]:
        with pytest.raises(InputError, match=message):
            check(text, strict)


def test_unknown_video_in_json(tmp_path):
    gt = write_json(tmp_path / "gt.json", x=[segment(1, 2)])
    with pytest.raises(
        InputError, match="none of its 1 videos is in the data set; an id there is 'x', in the data set 'a'"
    ):
        read_annotations(gt, MANIFEST)
    with pytest.raises(InputError, match=r"database\['x'\].annotations\[0\]: no video 'x' in the data set; correct it"):
        read_annotations(gt, MANIFEST, strict=True)
    with pytest.raises(InputError, match="no such file"):
        read_annotations(tmp_path / "gone.json", MANIFEST)
