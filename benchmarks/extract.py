"""How fast the parts of extraction are, apart and together, and what memory they take.

    python benchmarks/extract.py                      # a rendered clip, small memory runs: two minutes
    python benchmarks/extract.py --videos FOLDER      # real clips
    python benchmarks/extract.py --flow tvl1          # the flow of published features
    python benchmarks/extract.py --minutes 10         # peak memory of ten minutes of video against ten seconds

The networks have random weights, which cost as much as trained ones. All stages share the processor's cores, so that
together they can be no faster than all their processor time spread over the cores: "bound" is that, or the slowest
stage, whichever is slower; "reached" is the share of it that the pipeline runs at.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import av
import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from feel_steps.dataset.folder import video_files
from feel_steps.dataset.video_file import probe, read_frames
from feel_steps.dataset.videos import Video
from feel_steps.features.descriptors import Descriptors
from feel_steps.features.frames import BATCH as FRAMES_BATCH
from feel_steps.features.frames import Frames
from feel_steps.features.i3d import CHANNELS, I3D, InceptionI3d
from feel_steps.features.pose import Pose
from feel_steps.features.windows import seen_pictures
from feel_steps.runtime.devices import describe, has_bfloat16

Times = tuple[float, float]  # wall, cpu seconds
CORES = len(os.sched_getaffinity(0))


def timed(function: Callable[[], Any], repeats: int = 1) -> tuple[Times, Any]:
    """Wall and processor seconds of a call, the fastest of several, and its result."""
    times = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        result = function()
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    return min(times), result


def memory(key: str) -> float:
    """A value of this process's /proc/self/status in MiB (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024


def pictures(n: int, height: int, width: int) -> Iterator[np.ndarray]:
    """A textured square that circles on a textured ground, again and again."""
    rng = np.random.default_rng(0)
    ground = rng.integers(60, 120, (height // 8, width // 8, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
    side = height // 4
    square = rng.integers(140, 255, (side // 4, side // 4, 3)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
    for i in range(n):
        frame = ground.copy()
        y = round(height / 2 + height / 5 * np.sin(i / 6)) - side // 2
        x = round(width / 2 + width / 5 * np.cos(i / 6)) - side // 2
        frame[y : y + len(square), x : x + len(square)] = square
        yield frame


def render(path: Path, seconds: float, height: int, width: int, fps: int = 25) -> Video:
    """Encode a video."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "veryfast"})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for frame in pictures(round(seconds * fps), height, width):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return measured(path)


def measured(path: Path) -> Video:
    """A row of a manifest."""
    info = probe(path)
    return Video(path.stem, "train", str(path), info.n_frames, info.duration)


def random_weights(folder: Path) -> dict[str, Path]:
    """Weight files of both streams."""
    for stream, channels in CHANNELS.items():
        torch.save(InceptionI3d(in_channels=channels).state_dict(), folder / f"{stream}.pt")
    return {f"weights_{stream}": folder / f"{stream}.pt" for stream in CHANNELS}


def stages(engine: I3D, video: Video, seconds: float, repeats: int) -> tuple[int, dict[str, Times]]:
    """Times of each part alone on the first seconds of a video, and of the whole."""
    assert video.path is not None
    path = video.path
    n = min(round(video.duration * engine.fps), round(seconds * engine.fps))

    def decode() -> np.ndarray:
        chunks = read_frames(path, fps=engine.fps, short_side=engine.short_side, chunk=n)
        return next(chunks)[:n]

    times: dict[str, Times] = {}
    times["decoding"], frames = timed(decode, repeats)
    whole = engine._frames

    def first(*given: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The pictures of these seconds alone."""
        left = n
        for chunk, flow in whole(*given):
            yield chunk[:left], flow[:left]
            left -= len(chunk[:left])
            if left <= 0:
                return

    with torch.inference_mode():
        both, _ = timed(lambda: list(whole_of(first, video)), repeats)
        times["flow"] = (max(both[0] - times["decoding"][0], 1e-9), max(both[1] - times["decoding"][1], 1e-9))
        engine._frames = first  # type: ignore[method-assign]
        windows = list(engine._windows(video, lambda frames: None))
        torch.set_num_threads(engine.threads)

        def networks() -> None:
            for pictures, flow in windows:
                engine._look(0, pictures)
                engine._look(1, flow)

        networks()  # the first call for each number of windows chooses kernels
        times["networks"], _ = timed(networks, repeats)
        times["together"], _ = timed(lambda: engine.extract(video, lambda frames: None), repeats)
    engine._frames = whole  # type: ignore[method-assign]
    return len(frames), times


def whole_of(frames: Callable[..., Iterator[Any]], video: Video) -> Iterator[Any]:
    """Go through pictures and flow, keeping none."""
    for _ in frames(video, lambda n: None):
        yield None


def speed(engine: I3D, videos: list[Video], seconds: float, repeats: int) -> Table:
    """Frames a second."""
    table = Table(
        title=f"i3d, {engine.flow}, short side {engine.short_side}, stride {engine.stride}, "
        f"{engine.threads} threads, networks on {describe(engine.device)}: frames/s (of {engine.fps:g} a second)"
    )
    for head in ("video", "frames", "decoding", "flow", "networks", "together", "bound", "reached"):
        table.add_column(head, justify="left" if head == "video" else "right")
    for video in videos:
        n, times = stages(engine, video, seconds, repeats)
        parts = [times[name] for name in ("decoding", "flow", "networks")]
        bound = max(max(wall for wall, _ in parts), sum(cpu for _, cpu in parts) / CORES)
        rates = [f"{n / times[name][0]:.1f}" for name in ("decoding", "flow", "networks", "together")]
        table.add_row(video.video_id, str(n), *rates, f"{n / bound:.1f}", f"{bound / times['together'][0]:.0%}")
    return table


def describe_speed(videos: list[Video]) -> Table:
    """Frames a second of the descriptors."""
    table = Table(title="descriptors, 15 fps, short side 120, stride 8, one thread")
    for head in ("video", "frames", "frames/s"):
        table.add_column(head, justify="left" if head == "video" else "right")
    engine = Descriptors(fps=15, window=16, stride=8)
    for video in videos:
        told: list[int] = []
        (wall, _), _ = timed(lambda video=video, told=told: engine.extract(video, told.append))  # type: ignore[misc]
        table.add_row(video.video_id, str(sum(told)), f"{sum(told) / wall:.1f}")
    return table


def pretrained(videos: list[Video], pose: Path | None) -> Table:
    """Milliseconds a frame that is looked at, and how many times faster than the video plays."""
    table = Table(title="15 fps, windows of 16 frames, stride 8, one thread beside the decoder's: ms a frame looked at")
    for head in ("extractor", "video", "frames", "decoding", "network", "together", "times real time"):
        table.add_column(head, justify="left" if head in ("extractor", "video") else "right")
    rate: dict[str, Any] = {"fps": 15, "window": 16, "stride": 8}
    engines: dict[str, Frames | Pose] = {"frames, float32": Frames(**rate, precision="float32", device="cpu")}
    if has_bfloat16(torch.device("cpu")):
        engines["frames, bfloat16"] = Frames(**rate, precision="bfloat16", device="cpu")
    if pose:
        models = {"detector": pose / "pose_detection.tflite", "landmarks": pose / "pose_landmark_full.tflite"}
        engines["pose"] = Pose(**rate, **models)
    torch.set_num_threads(1)
    for name, engine in engines.items():
        for video in videos:
            n, seconds = looked_at(engine, video)
            each = [f"{1000 * value / n:.1f}" for value in seconds]
            table.add_row(name, video.video_id, str(n), *each, f"{video.duration / seconds[-1]:.1f}")
    return table


def looked_at(engine: Frames | Pose, video: Video) -> tuple[int, list[float]]:
    """Frames that an extractor looks at, and seconds of decoding them, of looking at them, and of the whole."""

    def decode() -> list[np.ndarray]:
        batches = seen_pictures(video, engine.fps, engine.stride, engine.seen, engine.resize, FRAMES_BATCH)
        return [np.stack(some.pictures) for some in batches if some.pictures]

    (decoding, _), batches = timed(decode, 2)
    (network, _), _ = timed(lambda: [engine.look(pictures) for pictures in batches], 2)
    (together, _), _ = timed(lambda: engine.extract(video, lambda frames: None), 2)
    return sum(map(len, batches)), [decoding, network, together]


def peak(extractor: Callable[..., Any], settings: dict[str, Any], video: Video) -> float:
    """Peak memory of this process, MiB, after it has extracted one video."""
    extractor(**settings).extract(video, lambda frames: None)
    return memory("VmHWM")


def peaks(settings: dict[str, Any], folder: Path, minutes: float) -> Table:
    """Peak memory over a short and a long video, each in a process of its own."""
    table = Table(title="peak memory of the process, MiB")
    for head in ("extractor", "10 s", f"{minutes:g} min"):
        table.add_column(head, justify="left" if head == "extractor" else "right")
    short, long = render(folder / "short.mp4", 10, 240, 320), render(folder / "long.mp4", 60 * minutes, 240, 320)
    # it is about the length alone
    small = {"short_side": 64, "crop": 32, "stride": 64, "flow": "dis", "threads": 1}
    runs: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
        "i3d (crop 32, stride 64)": (I3D, settings | small),
        "descriptors": (Descriptors, {"fps": 15, "window": 16, "stride": 8}),
        "frames": (Frames, {"fps": 15, "window": 16, "stride": 8, "device": "cpu"}),
    }
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        for name, run in runs.items():
            table.add_row(name, *(f"{pool.submit(peak, *run, video).result():.0f}" for video in (short, long)))
    return table


def main(
    videos: Annotated[Path | None, typer.Option(help="folder of clips")] = None,
    count: Annotated[int, typer.Option("--clips", help="so many of them")] = 3,
    seconds: Annotated[float, typer.Option(help="of each clip")] = 4.0,
    repeats: Annotated[int, typer.Option(help="the fastest of so many counts")] = 2,
    minutes: Annotated[float, typer.Option(help="of the long video for memory; 0: leave memory out")] = 1.0,
    flow: Annotated[str, typer.Option(help="dis | tvl1")] = "dis",
    stride: int = 16,
    pose: Annotated[Path | None, typer.Option(help="folder of MediaPipe's two .tflite files")] = None,
    device: str = "auto",
    threads: int = 2,
) -> None:
    """Print tables of speed and memory."""
    console = Console()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if videos is None:
            chosen = [render(folder / "rendered.mp4", seconds, 360, 480)]
        else:
            chosen = [measured(file) for file in islice(video_files(videos, "inside").values(), count)]
        weights = random_weights(folder)
        settings = {"fps": 25, "window": 16, "device": device, "threads": threads} | weights
        console.print(speed(I3D(**settings, stride=stride, flow=flow), chosen, seconds, repeats))
        console.print(describe_speed(chosen))
        clips = [render(folder / "640x360.mp4", 4 * seconds, 360, 640, 30)] if videos is None else chosen
        console.print(pretrained(clips, pose))
        if minutes:
            console.print(peaks(settings, folder, minutes))


if __name__ == "__main__":
    typer.run(main)
