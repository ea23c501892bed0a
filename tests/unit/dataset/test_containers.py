"""The same stream in every container gives the same frames; else features depend on who stored the video, unseen."""

from fractions import Fraction

import av
import numpy as np
import pytest

from feel_steps.dataset.video_file import VideoError, frame_at, probe
from tests.painted import encode, frames_expected, frames_read, numbers_in, remux
from tests.paths import ROOT

N = 48
NTSC = Fraction(30_000, 1001)

# codec, B-frames, containers that carry it
MATRIX = [
    ("libx264", 0, "mp4 mov mkv flv avi ts asf 3gp"),
    ("libx264", 3, "mp4 mov mkv flv avi ts asf 3gp"),
    ("libx265", 0, "mp4 mov mkv flv ts"),
    ("libx265", 3, "mp4 mov mkv flv ts"),
    ("mpeg4", 0, "mp4 mov mkv avi asf 3gp"),
    ("mpeg4", 2, "mp4 mov mkv avi asf 3gp"),
    ("mpeg2video", 0, "mp4 mov mkv avi ts mpg asf"),
    ("mpeg2video", 2, "mp4 mov mkv avi ts mpg asf"),
    ("libvpx", 0, "mkv webm avi"),
    ("libvpx-vp9", 0, "mp4 mkv webm flv avi"),
    ("libsvtav1", 0, "mp4 mkv webm flv avi"),
    ("mjpeg", 0, "mp4 mov mkv avi asf"),
    ("ffv1", 0, "mkv avi"),
    ("prores", 0, "mov mkv"),
    ("wmv2", 0, "avi asf"),
    ("flv", 0, "flv avi"),
]


NAMES = {
    "libx264": "H.264",
    "libx265": "HEVC (H.265)",
    "mpeg4": "MPEG-4 part 2 (DivX, Xvid)",
    "mpeg2video": "MPEG-2",
    "libvpx": "VP8",
    "libvpx-vp9": "VP9",
    "libsvtav1": "AV1",
    "mjpeg": "Motion JPEG",
    "ffv1": "FFV1",
    "prores": "ProRes",
    "wmv2": "WMV 8",
    "flv": "Sorenson H.263",
}
COLUMNS = ["mp4", "mov", "3gp", "mkv", "webm", "flv", "avi", "asf", "ts", "mpg"]


def page_rows():
    """Rows of the table in docs/reference/containers.md."""
    for codec, b_frames, containers in MATRIX:
        cells = ("yes" if column in containers.split() else "" for column in COLUMNS)
        yield f"| {NAMES[codec]}{', B-frames' if b_frames else ''} | {' | '.join(cells)} |"


def test_the_page_lists_what_is_tested():
    page = (ROOT / "docs/reference/containers.md").read_text("utf-8")
    table = page[page.index("|---|") :].partition("\n\n")[0].splitlines()
    assert table[1:] == [*page_rows()]


def number_at(path, seconds):
    """Which frame the page shows of a moment."""
    frame = frame_at(path, seconds, probe(path).duration)
    return numbers_in(frame.to_ndarray(format="gray")[None])[0]


@pytest.mark.parametrize(("codec", "b_frames", "containers"), MATRIX, ids=lambda value: str(value).split()[0])
@pytest.mark.parametrize("rate", [30, NTSC], ids=["30", "29.97"])
def test_every_container_gives_the_same_frames(tmp_path, codec, b_frames, containers, rate):
    rate = Fraction(rate)
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    carrier = "mkv" if codec in ("prores", "libsvtav1") else "nut"
    source = encode(tmp_path / f"source.{carrier}", codec, N, rate, b_frames, options=options)
    moments = [0, 0.31, 0.9, 1.3, float(N / rate) - 0.001]
    shown = [min(N - 1, int((Fraction(t) + Fraction(1, 1_000_000)) * rate)) for t in moments]
    for container in containers.split():
        for offset in (0,) if container == "avi" or codec == "libsvtav1" else (0, 1.5):  # AVI has no start
            path = tmp_path / f"{offset}.{container}"
            if codec == "libsvtav1":  # PyAV copies no AV1
                encode(path, codec, N, rate)
            else:
                remux(source, path, offset)
            info = probe(path)
            assert (info.n_frames, info.duration) == (N, pytest.approx(float(N / rate), abs=1e-6)), path
            for fps in (15, rate):
                assert frames_read(path, fps, n_frames=info.n_frames) == frames_expected(N, rate, fps), path
            assert [number_at(path, t) for t in moments] == shown, path


@pytest.mark.parametrize("rate", [25, 50, 60, 120, Fraction(24_000, 1001), Fraction(37, 2)], ids=str)
@pytest.mark.parametrize("container", ["mp4", "mkv", "flv", "asf", "avi", "ts"])
def test_rates(tmp_path, rate, container):
    """Rates that milliseconds cannot say exactly; 18.5 is no standard, and 120 takes 8.3 ms a frame."""
    source = encode(tmp_path / "source.nut", "libx264", N, rate, 2)
    path = remux(source, tmp_path / f"a.{container}")
    for fps in (10, 15, 25, rate):
        assert frames_read(path, fps) == frames_expected(N, rate, fps)


def test_avi_that_begins_late(tmp_path):
    """Its first packet is at zero all the same; the frame is shown when the decoder gives it, with the next packet."""
    source = encode(tmp_path / "source.nut", "libx264", N, 30, 3)
    path = remux(source, tmp_path / "a.avi", offset=1.5)
    assert frames_read(path, 15) == list(range(0, N, 2))


def test_gif_counts_hundredths(tmp_path):
    path = encode(tmp_path / "a.gif", "gif", N, 30)
    assert frames_read(path, 15) == list(range(0, N, 2))


# the times of a browser (rounded down), of an MP4 made from MKV (rounded), of a slow encoder (rounded up)
@pytest.mark.parametrize("rounded", [np.floor, np.round, np.ceil])
@pytest.mark.parametrize("container", ["mkv", "mp4", "mov"])
def test_milliseconds_in_any_container(tmp_path, rounded, container):
    times = rounded(np.arange(N) * 1000 / 30) / 1000
    path = encode(tmp_path / f"a.{container}", "libx264", N, b_frames=2, times=times)
    assert frames_read(path, 15) == list(range(0, N, 2))


@pytest.mark.parametrize("missing", [[], [7, 8, 30]])
def test_a_camera_whose_times_jitter(tmp_path, missing):
    """Telephones write about 30 frames/s, some ms early or late: even gaps, and one more where a frame is missing."""
    shown = [i for i in range(N + len(missing)) if i not in missing]
    jitter = np.random.default_rng(0).uniform(-0.004, 0.004, N) * (np.arange(N) > 0)
    times = np.array(shown) / 29.83 + jitter
    read = frames_read(encode(tmp_path / "a.mp4", "libx264", N, times=times), 15)
    assert np.abs(np.array(shown)[read] - 2 * np.arange(len(read))).max() <= 2
    if not missing:
        assert np.unique(np.diff(read)).tolist() == [2]


@pytest.mark.parametrize("seed", range(4))
def test_variable_rates_are_the_same_in_mp4_and_mkv(tmp_path, seed):
    """No grid fits: times in 1/90000 s and in milliseconds choose the same frames, but for a rounding at a border."""
    times = np.cumsum(np.random.default_rng(seed).uniform(0.02, 0.15, N))
    mp4 = encode(tmp_path / "a.mp4", "libx264", N, b_frames=2, times=times)
    mkv = remux(mp4, tmp_path / "a.mkv")
    a, b = frames_read(mp4, 15), frames_read(mkv, 15)
    assert abs(len(a) - len(b)) <= 1
    assert sum(x != y for x, y in zip(a, b, strict=False)) <= 1


def in_decoding_order(source, path):
    """Copy a stream whose presentation times a program lost; it writes those of decoding."""
    with av.open(str(source)) as read, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(read.streams.video[0])
        packets = [packet for packet in read.demux(read.streams.video[0]) if packet.size]
        for packet, time in zip(packets, sorted(p.pts for p in packets), strict=True):
            packet.pts = packet.dts = time
            packet.stream = stream
            target.mux(packet)
    return path


@pytest.mark.parametrize("container", ["mkv", "mp4", "flv", "ts"])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_times_in_decoding_order(tmp_path, container, codec):
    """As in MKV made from AVI: half of the pictures would repeat."""
    source = encode(tmp_path / "source.mp4", codec, N, 30, 3, options={"x265-params": "log-level=none"})
    path = in_decoding_order(source, tmp_path / f"a.{container}")
    assert probe(path).n_frames == N
    assert frames_read(path, 30) == list(range(N))
    assert frames_read(path, 15) == list(range(0, N, 2))
    assert [number_at(path, (i + 0.5) / 30) for i in (0, 11, 30, 47)] == [0, 11, 30, 47]


@pytest.mark.parametrize("container", ["avi", "asf"])
def test_damage_does_not_shift_what_is_counted(tmp_path, container):
    """Frames are counted where times are in decoding order; from the next key frame on the count is right again."""
    source = encode(tmp_path / "source.nut", "libx264", N, 30, 2, gop=12)
    path = tmp_path / f"a.{container}"
    with av.open(str(source)) as read, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(read.streams.video[0])
        for i, packet in enumerate(p for p in read.demux(read.streams.video[0]) if p.size):
            packet.stream = stream
            if i in (15, 16):
                broken = av.Packet(b"\0\0\0\1\x1f" + bytes(40))
                broken.pts, broken.dts, broken.time_base, broken.stream = (
                    packet.pts,
                    packet.dts,
                    packet.time_base,
                    stream,
                )
            target.mux(broken if i in (15, 16) else packet)
    read = np.array(frames_read(path, 30))
    assert len(read) == N
    assert read[:12].tolist() == list(range(12)) and read[26:].tolist() == list(range(26, N))


# frames, their times in seconds, seconds in all
RARE = [("a screen that changes little", [0, 0.3, 20, 50, 99], 99), ("a time lapse", [20 * i for i in range(30)], 580)]


@pytest.mark.parametrize("container", ["mp4", "mkv", "mov", "flv", "ts"])
@pytest.mark.parametrize(("times", "last"), [row[1:] for row in RARE], ids=[row[0] for row in RARE])
def test_rare_frames_are_no_damage(tmp_path, container, times, last):
    path = encode(tmp_path / f"a.{container}", "libx264", len(times), b_frames=2, times=times)
    info = probe(path)
    assert info.n_frames == len(times)
    assert last <= info.duration <= last * 1.4
    read = frames_read(path, 1)
    for i, time in enumerate(times[:-1]):
        assert read[round(time)] == (i if i != 0 or len(times) > 5 else 1)  # the second comes 0.3 s after the first


def test_absurd_times_are_damage_with_numbers(tmp_path):
    """One time stamp that is off by days would make a million pictures of one frame."""
    path = encode(tmp_path / "a.mkv", "libx264", 8, times=[0, 1, 2, 3, 4, 5, 6, 3e5])
    with pytest.raises(VideoError, match="time stamps are damaged: 8 frames in 3.* s, 299994 s without one"):
        probe(path)


def test_avi_made_from_mp4_is_whole(tmp_path):
    """Its header counts repeated frames that are not stored, from before the first one."""
    source = encode(tmp_path / "a.mp4", "libx264", N, 30, 3)
    path = remux(source, tmp_path / "a.avi")
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames > N
    assert probe(path).n_frames == N
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    with pytest.raises(
        VideoError, match=r"cut short: \d+ of the \d+ frames that its header promises, 0.* of 1.6 seconds"
    ):
        probe(path)


RAW = [
    ("libx264", "h264", 40),
    ("libx264", "h264", Fraction(24_000, 1001)),
    ("libx265", "hevc", 30),
    ("libx265", "hevc", 50),
    ("mpeg2video", "mpeg2video", 50),
    ("mpeg4", "m4v", NTSC),
    ("mpeg4", "m4v", 12),
]


@pytest.mark.parametrize(("codec", "muxer", "rate"), RAW, ids=lambda value: str(value))
def test_raw_streams_have_the_rate_of_their_header(tmp_path, codec, muxer, rate):
    """FFmpeg counts them at 25 frames/s, whatever they say."""
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    path = encode(tmp_path / f"a.{muxer}", codec, N, rate, 2, options=options, muxer=muxer)
    info = probe(path)
    assert (info.n_frames, info.duration) == (N, pytest.approx(float(N / Fraction(rate)), abs=1e-6))
    assert frames_read(path, 15) == frames_expected(N, rate, 15)
    assert [number_at(path, float((i + 0.5) / Fraction(rate))) for i in (0, 11, 30, 47)] == [0, 11, 30, 47]


@pytest.mark.parametrize(
    ("codec", "muxer", "options"),
    [
        ("libx265", "hevc", {"x265-params": "log-level=none:vui-timing-info=0"}),
        ("mjpeg", "mjpeg", {}),
        ("libsvtav1", "obu", {}),
    ],
)
def test_raw_streams_without_a_rate_ask_for_it(tmp_path, codec, muxer, options):
    path = encode(tmp_path / f"a.{muxer}", codec, N, 30, options=options, muxer=muxer)
    with pytest.raises(VideoError, match=r"a raw \w+ stream without a frame rate; convert it with: ffmpeg -r RATE"):
        probe(path)


def test_pictures_in_one_file_are_no_still_picture(tmp_path):
    """FFmpeg takes motion JPEG with large frames for a list of pictures."""
    path = tmp_path / "a.mjpeg"
    noise = np.random.default_rng(0).integers(0, 255, (360, 480, 3), np.uint8)
    with av.open(str(path), "w", format="mjpeg") as target:
        stream = target.add_stream("mjpeg", rate=30, options={"qmin": "1", "qmax": "1"})
        stream.height, stream.width, stream.pix_fmt = 360, 480, "yuvj420p"
        for _ in range(4):
            target.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        target.mux(stream.encode())
    with pytest.raises(VideoError, match="a raw mjpeg stream without a frame rate"):
        probe(path)


@pytest.mark.parametrize("container", ["ts", "flv", "asf", "mkv", "mp4", "mpg"])
@pytest.mark.parametrize("gop", [12, 250])
def test_a_moment_after_a_seek(tmp_path, container, gop):
    """Containers without an index land behind the moment, or in the middle of a group of pictures."""
    codec = "mpeg2video" if container == "mpg" else "libx264"
    path = encode(tmp_path / f"a.{container}", codec, 200, 25, 2, gop=gop)
    for i in (0, 3, 11, 12, 13, 60, 120, 187, 199):
        assert number_at(path, (i + 0.5) / 25) == i
    assert number_at(path, 60) == 199


def test_a_moment_of_a_file_that_was_replaced(tmp_path):
    """A picture of another video would stand on the page as if it were this moment's."""
    path = encode(tmp_path / "a.mp4", "libx264", N, 30)
    with pytest.raises(VideoError, match="1.6 s long, but 9.0 s when it was read; it was replaced since"):
        frame_at(path, 1, 9.0)
