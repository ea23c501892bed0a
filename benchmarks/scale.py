"""What a run of 10³ to 10⁷ videos takes: bytes, operations, jobs, time; and what planning it takes, measured.

    python benchmarks/scale.py                          # the tables of docs/explanation/scale.md, from formulas
    python benchmarks/scale.py --plan 10000,100000      # snakemake --dry-run on so many (empty) video files, measured

The functions below hold the formulas. The rates of a core are measured (features.md, training.md and cci.md in
docs/explanation). The rates of a GPU are its maker's peak times an assumed share. No GPU was available.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from feel_steps.features.i3d import InceptionI3d

ROOT = Path(__file__).parents[1]
SIZES = [10**power for power in range(3, 8)]

# The videos: 200 s at 25 frames/s, 16 frames a snippet without overlap, as in THUMOS'14; half are for training.
SECONDS, FPS, WINDOW, TRAIN = 200, 25, 16, 0.5
T = SECONDS * FPS // WINDOW  # snippets of a video
# The run: two-stream I3D features, 100 clusters, the published network and steps, one variant, one seed.
D, K, HIDDEN, BATCH, LENGTH, STEPS, ITERATIONS = 2048, 100, 2048, 16, 750, 6000, 4
STARTS, ROUNDS = 10, 30  # of k-means
KMEANS, RANKING, CENTRE = 24e9, 85e9, 0.005  # FLOP/s of one core, on which both run; seconds of CCI for each centre
IN_A_PART, MOST_PARTS = 100, 9999


@dataclass(frozen=True)
class Machine:
    """FLOP/s in float32 and in training, pairs of pictures a second of DIS flow on its cores, bytes/s of its disk."""

    name: str
    float32: float
    bfloat16: float
    flow: float
    disk: float = 500e6  # of one Parquet reader


SHARE = 0.4  # of a GPU's peak that convolutions and products are assumed to reach; the CPU reaches 0.76
MACHINES = [
    Machine("2 cores", 115e9, 115e9, 2 * 220),  # training measured; flow of 341 × 256
    Machine("L4, 8 cores", SHARE * 30e12, SHARE * 121e12, 8 * 220),
    Machine("A100, 16 cores", SHARE * 19.5e12, SHARE * 312e12, 16 * 220),
    Machine("H100, 16 cores", SHARE * 67e12, SHARE * 989e12, 16 * 220),
]


@cache
def i3d_flop() -> float:
    """Operations of both streams for one snippet, counted in our own network."""
    with torch.device("meta"):
        networks = [
            (InceptionI3d(in_channels=channels), torch.empty(1, channels, WINDOW, 224, 224)) for channels in (3, 2)
        ]
    with FlopCounterMode(display=False) as counter:
        for network, pictures in networks:
            network.extract_features(pictures)
    return counter.get_total_flops()


def steps(N: int) -> int:
    """Published steps, or as many as let a training see every selected video once."""
    return max(STEPS, int(TRAIN * N) // BATCH)


def flop(N: int) -> dict[str, float]:
    """Floating-point operations of each stage; those of an iteration count once an iteration."""
    n = TRAIN * N
    step = 2 * 2 * BATCH * LENGTH * 3 * D * HIDDEN + 3 * 2 * BATCH * LENGTH * HIDDEN * K
    return {
        "extract": N * T * i3d_flop(),
        "k-means": STARTS * ROUNDS * 2 * n * K * D,
        "CCI": 1.8 * 2 * n * n * D,  # the ranking; the linear rest is below a tenth from 50,000 videos on
        "train": steps(N) * step,
        "attend": N * T * 2 * (3 * D * HIDDEN + HIDDEN * K),
    }


def size(N: int) -> dict[str, float]:
    """Bytes: on disk once a run, on disk an iteration, and the largest table that one job holds in memory."""
    snippets = N * T
    return {
        "features": 4 * D * snippets,
        "cache": 4 * D * snippets,
        "an iteration": 4 * (K + 4) * snippets + 4 * (2 * D + K) * N,
        "memory": 4 * D * TRAIN * N,  # the pooled vectors: features are read where they are needed
    }


def parts(N: int) -> int:
    """Feature parts of a hundred videos each."""
    return min(MOST_PARTS, max(1, N // IN_A_PART))


def jobs(N: int) -> int:
    """Extraction, nine jobs an iteration with its evaluation, and six for the run."""
    return parts(N) + 8 * ITERATIONS + 6


def hours(N: int, machine: Machine) -> dict[str, float]:
    """Hours of each stage, all iterations, on one machine."""
    work, read = flop(N), size(N)["features"] / machine.disk
    snippets_a_second = min(machine.flow / WINDOW, machine.float32 / i3d_flop())
    seconds = {
        "extract": N * T / snippets_a_second,
        "k-means": ITERATIONS * work["k-means"] / KMEANS,
        "CCI": ITERATIONS * (work["CCI"] / RANKING + K * CENTRE),
        "train": ITERATIONS * (work["train"] / machine.bfloat16 + TRAIN * read),
        "attend": ITERATIONS * (work["attend"] / machine.bfloat16 + read),
    }
    return {stage: value / 3600 for stage, value in seconds.items()}


def short(value: float, units: str = " kMGTPEZ", base: float = 1000) -> str:
    """Three digits and a unit."""
    power = 0
    while value >= base and power < len(units) - 1:
        value, power = value / base, power + 1
    return f"{value:.3g} {units[power]}".strip()


def duration(hours: float) -> str:
    """Minutes, hours, days or years, whichever reads best."""
    for unit, size in (("y", 8766), ("d", 24), ("h", 1)):
        if hours >= size:
            return f"{hours / size:.3g} {unit}"
    return f"{60 * hours:.2g} min"


def table(head: list[str], rows: list[list[str]]) -> None:
    """Print a Markdown table."""
    for row in [head, ["---"] * len(head), *rows]:
        print("| " + " | ".join(row) + " |")
    print()


def plan(N: int) -> list[str]:
    """Seconds and memory of a dry run on N empty video files: what Snakemake does before any job."""
    with tempfile.TemporaryDirectory() as place:
        for video in range(N):
            folder = Path(place, "videos", f"{video // 1000:05d}")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{video:08d}.mp4").touch()
        Path(place, "truth.json").write_text('{"database": {}}')
        dataset = {"layout": "videos", "path": "videos", "annotations": "truth.json", "parts": parts(N)}
        Path(place, "run.yaml").write_text(yaml.safe_dump({"name": "plan", "dataset": dataset}))
        command = [
            sys.executable,
            "-m",
            "snakemake",
            "--dry-run",
            "--quiet",
            "--cores",
            "2",
            "--configfile",
            "run.yaml",
        ]
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(
            [*command, "--snakefile", ROOT / "Snakefile", "--configfile", "run.yaml"],
            cwd=place,
            check=True,
            capture_output=True,
        )
        wall, used = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    return [f"{N:,}", str(parts(N)), str(jobs(N)), f"{wall:.1f}", f"{cpu:.1f}", f"{used.ru_maxrss / 1024:.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plan", help="measure dry runs on so many videos, such as 10000,100000, smallest first")
    options = parser.parse_args()
    if options.plan:
        sizes = [int(size) for size in options.plan.split(",")]
        table(["videos", "parts", "jobs", "wall s", "processor s", "MiB"], [plan(size) for size in sizes])
        return
    print(f"A snippet through both networks: {short(i3d_flop())}FLOP; {T} snippets a video\n")
    stages = list(flop(1))
    names = list(size(1))
    table(
        ["videos", "parts", "jobs", *names],
        [[f"{N:,}", str(parts(N)), str(jobs(N)), *(f"{short(size(N)[name])}B" for name in names)] for N in SIZES],
    )
    table(["videos", *stages], [[f"{N:,}", *(f"{short(flop(N)[stage])}FLOP" for stage in stages)] for N in SIZES])
    for machine in MACHINES:
        rows = [[f"{N:,}", *(duration(hours(N, machine)[stage]) for stage in stages)] for N in SIZES]
        table([machine.name, *stages], rows)


if __name__ == "__main__":
    main()
