"""Reading videos: if these fail, features belong to other moments than the tables say, or a bad file stops a run."""

import av
import numpy as np
import pytest
from av.stream import Disposition
from hypothesis import example, given, settings
from hypothesis import strategies as st

from feel_steps.dataset.video_file import VideoError, frame_at, probe, read_frames
from tests.clips import grey_frames, scene, write_sound, write_video
from tests.paths import SHARED

REAL = SHARED / "data/videos"


def numbers(path, fps, **options):
    """Which frame each picture is, for grey frames."""
    grey = np.concatenate(list(read_frames(path, fps=fps, short_side=16, pixels="gray", **options)))
    return np.round((grey.mean((1, 2)) - 20) / 10).astype(int).tolist()


@pytest.mark.parametrize(
    ("fps", "expected"),
    [
        (25, list(range(12))),
        (12.5, [0, 2, 4, 6, 8, 10]),
        (50, [i for i in range(12) for _ in range(2)]),
        (10, [1, 3, 6, 8, 11]),  # frame 1, at 0.4 of the grid, is the last that is nearest to picture 0
    ],
)
def test_constant_rate_is_resampled(tmp_path, fps, expected):
    path = write_video(tmp_path / "a.mp4", grey_frames(12))
    assert numbers(path, fps) == expected


def test_variable_rate_holds_a_frame_until_the_next(tmp_path):
    path = write_video(tmp_path / "a.mkv", grey_frames(5), ticks=[0, 100, 200, 1000, 1100])
    assert numbers(path, 10) == [0, 1] + [2] * 8 + [3]  # the last frame is too short for a picture


def test_jitter_of_time_stamps_drops_no_frame(tmp_path):
    """Matroska rounds to milliseconds: 30 fps is 0, 33, 67, 100 ..."""
    ticks = [round(i * 1000 / 30) for i in range(20)]
    assert numbers(write_video(tmp_path / "a.mkv", grey_frames(20), ticks=ticks), 30) == list(range(20))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(20, 300), min_size=1, max_size=8), st.sampled_from([5, 10, 15, 30]))
@example([20, 20, 20], 15)
def test_resampling_against_an_oracle(tmp_path_factory, gaps, fps):
    """Picture k is the last frame whose time, rounded to the grid, is not after k; 2 ms are the clock's rounding."""
    ticks = np.cumsum([0, *gaps]).tolist()
    path = write_video(tmp_path_factory.mktemp("v") / "a.mkv", grey_frames(len(ticks)), ticks=ticks)
    found = numbers(path, fps)

    def expected(shift):
        slots = [(2 * (t + shift) * fps + 1000) // 2000 if t else 0 for t in (*ticks, ticks[-1] + 40)]
        return [max(i for i, slot in enumerate(slots[:-1]) if slot <= k) for k in range(max(1, slots[-1]))]

    early, late = expected(-2), expected(2)
    assert len(early) <= len(found) <= len(late)
    early += [len(ticks) - 1] * (len(late) - len(early))  # where the clock decides whether there is one more picture
    assert all(late[k] <= frame <= early[k] for k, frame in enumerate(found))


@pytest.mark.parametrize("container", ["mp4", "mkv", "avi", "mov", "ts"])
def test_containers(tmp_path, container):
    """AVI has no presentation times, MPEG-TS does not begin at 0."""
    path = write_video(
        tmp_path / f"a.{container}", grey_frames(12), codec="mpeg4" if container != "ts" else "mpeg2video"
    )
    info = probe(path)
    assert info.n_frames == 12
    assert info.duration == pytest.approx(0.48, abs=1e-3)
    assert info.fps == pytest.approx(25, rel=1e-2)
    assert numbers(path, 25, n_frames=info.n_frames) == list(range(12))


def test_b_frames_come_in_order(tmp_path):
    path = write_video(tmp_path / "a.mp4", grey_frames(20), codec="libx264")
    assert numbers(path, 25) == list(range(20))


@pytest.mark.parametrize(("rotation", "corner"), [(0, (0, 0)), (90, (-1, 0)), (180, (-1, -1)), (-90, (0, -1))])
def test_rotation_is_applied(tmp_path, rotation, corner):
    """Telephones hold their upright videos lying, with a note of how to turn them."""
    frame = np.zeros((64, 96, 3), np.uint8)
    frame[:24, :24] = 255
    path = write_video(tmp_path / "a.mp4", [frame] * 3, rotation=rotation)
    picture = next(read_frames(path, fps=25, short_side=32))[0]
    assert picture.shape == ((32, 48, 3) if rotation % 180 == 0 else (48, 32, 3))
    assert picture[corner].min() > 200
    assert (picture.reshape(-1, 3).min(1) > 128).mean() == pytest.approx(24 * 24 / (64 * 96), abs=0.03)


@pytest.mark.parametrize(
    ("height", "width", "expected"), [(47, 63, (24, 32)), (63, 47, (32, 24)), (10, 301, (24, 722))]
)
def test_odd_sizes(tmp_path, height, width, expected):
    path = write_video(
        tmp_path / "a.mkv", [np.full((height, width, 3), 99, np.uint8)] * 3, codec="ffv1", pixels="yuv444p"
    )
    pictures = next(read_frames(path, fps=25, short_side=24))
    assert pictures.shape == (3, *expected, 3)
    assert np.abs(pictures.astype(int) - 99).max() <= 2


def test_chunks_do_not_matter(tmp_path):
    path = write_video(tmp_path / "a.mp4", grey_frames(10))
    chunks = [len(chunk) for chunk in read_frames(path, fps=25, short_side=16, chunk=4)]
    assert chunks == [4, 4, 2]
    assert numbers(path, 25, chunk=1) == numbers(path, 25, chunk=64)


def test_a_cover_picture_is_not_the_video(tmp_path):
    """Music files and downloads carry a cover as a video stream of one frame."""
    path = write_sound(tmp_path / "a.m4a")
    with av.open(str(path)) as source, av.open(str(tmp_path / "b.mp4"), "w") as target:
        sound = target.add_stream_from_template(source.streams.audio[0])
        cover = target.add_stream("mjpeg", rate=25)
        cover.height, cover.width, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        for packet in cover.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")):
            target.mux(packet)
        for packet in source.demux():
            if packet.size:
                packet.stream = sound
                target.mux(packet)
    with pytest.raises(VideoError, match="only a cover picture in it"):
        probe(tmp_path / "b.mp4")


def test_sound_alone_is_no_video(tmp_path):
    with pytest.raises(VideoError, match=r"no video stream in it \(audio only\)"):
        probe(write_sound(tmp_path / "a.mp4"))


@pytest.mark.parametrize("content", [b"", b"hello\n" * 100, bytes(10_000)])
def test_what_is_no_video(tmp_path, content):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(VideoError):
        probe(tmp_path / "a.mp4")


def test_a_still_picture_is_no_video(tmp_path):
    write_video(tmp_path / "a.png", grey_frames(1), codec="png", pixels="rgb24")
    (tmp_path / "a.png").rename(tmp_path / "a.mp4")
    with pytest.raises(VideoError, match="still picture"):
        probe(tmp_path / "a.mp4")


def cut(path, share):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


def test_truncated_before_the_index(tmp_path):
    """An MP4 whose end, with its index, is missing: an interrupted copy."""
    with pytest.raises(VideoError, match="cannot|can open"):
        probe(cut(write_video(tmp_path / "a.mp4", scene(40)), 0.8))


@pytest.mark.parametrize(("name", "options"), [("a.mp4", {"movflags": "faststart"}), ("a.mkv", {})])
def test_truncated_after_the_index(tmp_path, name, options):
    path = write_video(tmp_path / name, scene(100), options=options)
    assert probe(path).n_frames == 100
    with pytest.raises(VideoError, match="cut short: .* of the 100 frames|cut short: .* of the 4.0 seconds"):
        probe(cut(path, 0.5))


@pytest.mark.parametrize("name", ["a.flv", "a.mxf"])
def test_other_headers_promise_a_length_too(tmp_path, name):
    codec = "flv1" if name == "a.flv" else "mpeg2video"
    path = write_video(tmp_path / name, scene(150, height=120, width=160), codec=codec)
    assert probe(path).duration == pytest.approx(6, abs=0.1)
    with pytest.raises(VideoError, match="cut short: .* of the .* seconds that its header promises"):
        probe(cut(path, 0.5))


@pytest.mark.parametrize("codec", ["mpeg2video", "libx264"])
def test_joined_files_go_on_where_the_first_one_ends(tmp_path, codec):
    """Recorders restart their clock, and people join parts with cat: the rest of the video would be lost unseen."""
    part = write_video(tmp_path / "part.ts", scene(40, height=120, width=160), codec=codec)
    (tmp_path / "whole.ts").write_bytes(2 * part.read_bytes())
    info = probe(tmp_path / "whole.ts")
    assert (info.n_frames, info.duration) == (80, pytest.approx(3.2, abs=0.05))
    once, twice = (
        np.concatenate(list(read_frames(path, fps=25, short_side=32, pixels="gray")))
        for path in (part, tmp_path / "whole.ts")
    )
    assert len(once) == 40 and np.array_equal(twice, np.concatenate([once, once]))


@pytest.mark.parametrize("codec", ["mpeg2video", "libx264"])
def test_a_recording_may_begin_in_mid_stream(tmp_path, codec):
    """As television is recorded: what needs earlier frames is no damage, and shifts no time; alone or after another."""
    path = write_video(tmp_path / "a.ts", scene(100, height=120, width=160), codec=codec, gop=40)
    whole = path.read_bytes()
    late = whole[len(whole) // 4 // 188 * 188 :]
    for parts, least, most in [([late], 20, 60), ([whole, late], 120, 200), ([late, late, late], 100, 300)]:
        path.write_bytes(b"".join(parts))
        info = probe(path)
        pictures = sum(len(chunk) for chunk in read_frames(path, fps=25, short_side=32, n_frames=info.n_frames))
        assert least <= info.n_frames <= most
        assert info.duration * 25 == pytest.approx(pictures, abs=1)


@pytest.mark.parametrize("fps", [1, 2])
def test_reordered_frames_of_a_slow_video_are_no_restart(tmp_path, fps):
    """Time lapse: a frame that comes three places early comes seconds early."""
    path = write_video(tmp_path / "a.avi", scene(40), fps=fps, codec="libx264", b_frames=3)
    pictures = sum(len(chunk) for chunk in read_frames(path, fps=5, short_side=32))
    assert probe(path).duration * 5 == 40 / fps * 5 == pytest.approx(pictures, abs=5 / fps)


def test_a_live_recording_promises_no_length(tmp_path):
    """Its clock was running when it began; the header, without a length, makes FFmpeg guess one from the last time."""
    options = {"flvflags": "no_duration_filesize"}
    path = write_video(tmp_path / "a.flv", scene(50), codec="flv1", options=options, first=1500)
    assert probe(path).duration == pytest.approx(2, abs=0.05)


@pytest.mark.parametrize("seconds", [0.5, 2.5])
def test_a_moment_is_the_one_that_the_features_saw(tmp_path, seconds):
    """Else the page shows pictures of another action, here of the other part of a joined file."""
    dark = write_video(
        tmp_path / "a.ts", [np.full((64, 96, 3), 60 + i, np.uint8) for i in range(40)], codec="mpeg2video"
    )
    light = write_video(
        tmp_path / "b.ts", [np.full((64, 96, 3), 180 + i, np.uint8) for i in range(40)], codec="mpeg2video"
    )
    (tmp_path / "c.ts").write_bytes(dark.read_bytes() + light.read_bytes())
    frame = frame_at(tmp_path / "c.ts", seconds, probe(tmp_path / "c.ts").duration)
    seen = np.concatenate(list(read_frames(tmp_path / "c.ts", fps=25, short_side=64)))[round(seconds * 25)]
    assert frame.to_ndarray(format="rgb24").mean() == pytest.approx(seen.mean(), abs=3)


def test_a_name_is_never_a_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "day1:raw" / "http:a.mp4", grey_frames(12))
    assert probe("day1:raw/http:a.mp4").n_frames == 12


def test_damage_in_the_middle_is_bridged(tmp_path):
    """One bad spot on a disk must not cost the video, nor shift what comes after it."""
    path = write_video(tmp_path / "a.mp4", scene(60), options={"movflags": "faststart"})
    whole = np.concatenate(list(read_frames(path, fps=25, short_side=32)))
    data = bytearray(path.read_bytes())
    data[int(len(data) * 0.5) : int(len(data) * 0.55)] = bytes(int(len(data) * 0.55) - int(len(data) * 0.5))
    path.write_bytes(data)
    info = probe(path)
    damaged = np.concatenate(list(read_frames(path, fps=25, short_side=32, n_frames=info.n_frames)))
    assert damaged.shape == whole.shape
    assert np.array_equal(damaged[:10], whole[:10])


def test_nothing_decodes(tmp_path):
    path = write_video(tmp_path / "a.mp4", scene(30), options={"movflags": "faststart"})
    data = path.read_bytes()
    start = data.index(b"mdat") + 4
    path.write_bytes(data[:start] + bytes(len(data) - start))
    with pytest.raises(VideoError, match="none of its frames decodes"):
        probe(path)
    with pytest.raises(VideoError, match="damaged: 0 of 30 frames decode"):
        list(read_frames(path, fps=25, short_side=32, n_frames=30))


def test_far_fewer_frames_than_promised(tmp_path):
    path = write_video(tmp_path / "a.mp4", scene(10))
    with pytest.raises(VideoError, match="damaged: 10 of 100 frames decode"):
        list(read_frames(path, fps=25, short_side=32, n_frames=100))


def test_random_damage_gives_pictures_or_a_reason(tmp_path):
    """Whatever happens to a file, there is no traceback, and its pictures are no more than promised."""
    rng = np.random.default_rng(0)
    originals = [
        write_video(tmp_path / "a.mp4", scene(40), options={"movflags": "faststart"}),
        write_video(tmp_path / "a.mkv", scene(40), codec="libx264"),
        write_video(tmp_path / "a.avi", scene(40)),
    ]
    outcomes = {"pictures": 0, "reason": 0}
    for variant in range(60):
        data = bytearray(originals[variant % 3].read_bytes())
        for position in rng.integers(0, len(data), rng.integers(1, 40)):
            data[position] ^= 1 << rng.integers(8)
        path = tmp_path / f"damaged{originals[variant % 3].suffix}"
        path.write_bytes(data)
        try:
            info = probe(path)
            n = sum(len(chunk) for chunk in read_frames(path, fps=25, short_side=32, n_frames=info.n_frames))
            assert n <= info.duration * 25 + 25
            outcomes["pictures"] += 1
        except VideoError:
            outcomes["reason"] += 1
    assert min(outcomes.values()) > 5


@pytest.mark.skipif(not REAL.is_dir(), reason="the real clips are not here")
def test_real_clips():
    """Sports and surveillance clips: every container detail of theirs is read to the full length."""
    for path in sorted(REAL.rglob("*.mp4"))[:6]:
        info = probe(path)
        n = sum(len(c) for c in read_frames(path, fps=15, short_side=60, n_frames=info.n_frames, pixels="gray"))
        assert abs(n - info.duration * 15) <= 1
