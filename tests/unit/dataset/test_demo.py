"""The demo: if these fail, a newcomer's first run starts from wrong annotations, broken videos or other bytes."""

import csv
import hashlib
import json
from dataclasses import replace

import av
import numpy as np
import pytest

from feel_steps.demo.figure import ACTIONS, HIP_HEIGHT, idle, mirror, skeleton, walk
from feel_steps.demo.render import (
    FPS,
    HEIGHT,
    INSTANCE,
    SECONDS,
    WIDTH,
    Clip,
    Span,
    annotate,
    plan_clips,
    render,
    render_clip,
)
from feel_steps.errors import InputError


@pytest.fixture(scope="module", autouse=True)
def short_clips():
    """Render clips that end after their first action: frames take time, and one is as good as another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "feel_steps.demo.render.plan_clips",
            lambda *numbers: [
                replace(clip, n_frames=clip.spans[0].stop + 10, spans=clip.spans[:1]) for clip in plan_clips(*numbers)
            ],
        )
        yield


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Two training clips and a test clip, by two workers; two clips of an earlier demo, one file of the user's."""
    out = tmp_path_factory.mktemp("demo")
    (out / "videos" / "train").mkdir(parents=True)
    for name in ("clip-000", "clip-077", "mine"):
        (out / "videos" / "train" / f"{name}.mp4").write_bytes(b"old")
    render(out, train=2, test=1, seed=3, workers=2)
    return out


def digests(out):
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.stem != "mine"
    }


def test_same_seed_gives_the_same_bytes_whatever_the_workers(demo, tmp_path):
    render(tmp_path, train=2, test=1, seed=3, workers=1)
    assert digests(tmp_path) == digests(demo)


def test_split_and_annotations_name_the_files_and_no_earlier_clip_stays(demo):
    files = {p.relative_to(demo / "videos").with_suffix("").as_posix() for p in demo.glob("videos/*/*.mp4")}
    with open(demo / "split.csv", newline="") as file:
        split = {row["video_id"]: row["split"] for row in csv.DictReader(file)}
    database = json.loads((demo / "annotations.json").read_text())["database"]
    assert files - {"train/mine"} == set(split) == set(database)
    assert (demo / "videos" / "train" / "mine.mp4").read_bytes() == b"old"
    assert all(video_id.startswith(f"{name}/") for video_id, name in split.items())
    assert {video_id: entry["subset"] for video_id, entry in database.items()} == split


def test_every_video_decodes_with_the_promised_frames(demo):
    database = json.loads((demo / "annotations.json").read_text())["database"]
    for video_id, entry in database.items():
        with av.open(str(demo / "videos" / f"{video_id}.mp4")) as container:
            stream = container.streams.video[0]
            assert (stream.width, stream.height, stream.average_rate) == (WIDTH, HEIGHT, FPS)
            pictures = [frame.to_ndarray(format="gray") for frame in container.decode(stream)]
        assert len(pictures) / FPS == entry["duration"]
        assert pictures[0].std() > 5
        assert np.abs(pictures[0].astype(float) - pictures[-1]).mean() > 1  # it moves


@pytest.mark.parametrize("seed", range(5))
def test_annotations_are_sorted_apart_and_inside_the_video(seed):
    for entry in annotate(plan_clips(40, 20, seed))["database"].values():
        times = [0.0, *(t for a in entry["annotations"] for t in a["segment"]), entry["duration"]]
        assert np.all(np.diff(times) > 0)
        lengths = [np.diff(a["segment"])[0] for a in entry["annotations"]]
        assert len(lengths) >= 3
        assert min(lengths) >= INSTANCE[0] - 1 / FPS and max(lengths) <= INSTANCE[1] + 1 / FPS
        assert SECONDS[0] - 1 / FPS <= entry["duration"] <= SECONDS[1] + 1 / FPS
        assert 0.2 <= sum(lengths) / entry["duration"] <= 0.55


@pytest.mark.parametrize("seed", range(5))
def test_classes_are_balanced_in_both_splits_and_some_videos_have_two(seed):
    clips = plan_clips(40, 20, seed)
    for split, least in (("train", 6), ("test", 3)):
        main = [clip.spans[0].action for clip in clips if clip.split == split]
        assert {name: main.count(name) for name in ACTIONS} == pytest.approx(dict.fromkeys(ACTIONS, least), abs=1)
        two = [clip for clip in clips if clip.split == split and len({span.action for span in clip.spans}) == 2]
        assert len(two) == least  # 15 % of them
        for clip in two:
            assert min(sum(s.action == name for s in clip.spans) for name in {s.action for s in clip.spans}) >= 2
    assert len({clip.video_id for clip in clips}) == 60


def test_another_seed_gives_another_demo():
    assert plan_clips(4, 2, 0) != plan_clips(4, 2, 1)


def test_clip_is_rendered_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr("feel_steps.demo.render._act", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        render_clip(Clip(0, "train", 30, (Span("wave", 5, 20, 1),)), tmp_path, 0)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("wrong", [{"train": 0}, {"test": -1}, {"seed": -1}, {"workers": 0}])
def test_a_number_out_of_range_is_named(tmp_path, wrong):
    (name, value) = next(iter(wrong.items()))
    with pytest.raises(InputError, match=f"demo: {name} is {value}; expected at least"):
        render(tmp_path, **wrong)


@pytest.mark.parametrize("motion", [idle, walk, *(action.motion for action in ACTIONS.values())])
def test_bones_keep_their_length_and_feet_stay_above_the_ground(motion):
    joints = skeleton(motion(np.linspace(0, 3, 200)))
    for a, b in (("shoulder", "elbow"), ("elbow", "hand"), ("hip", "knee"), ("knee", "ankle"), ("pelvis", "neck")):
        assert np.ptp(np.linalg.norm(joints[a] - joints[b], axis=-1)) < 1e-9
    assert joints["ankle"][..., 1].min() > 0
    assert np.isfinite(np.stack(list(joints.values()))).all()


def test_mirrored_skeleton_is_the_mirror_image():
    pose = walk(np.linspace(0, 1, 20)) + idle(np.linspace(0, 1, 20)) * 0.3
    plain, mirrored = skeleton(pose), skeleton(mirror(pose))
    for name, joint in plain.items():
        np.testing.assert_allclose(mirrored[name], joint[:, ::-1] * [-1, 1, 1], atol=1e-12)
    assert 0.8 < plain["hip"][..., 1].mean() / HIP_HEIGHT < 1.4
