"""Peak memory and time of the steps that look at snippets, at two numbers of videos.

    python benchmarks/memory.py [--videos 2000,10000] [--snippets 40] [--dimension 256] [--clusters 20] [--steps 100]
    python benchmarks/memory.py --videos 10000 --snippets 312 --dimension 2048 --folder /disk/with/30/GB
    python benchmarks/memory.py --vectors 1000000 --dimension 64 --clusters 100 [--n-init 10] [--starts 60]

Each step is a command in a process of its own, and its peak is what the operating system counted (Linux). The features
are random, with an action of its cluster in the middle third of each video; half of the videos are for training.
With --vectors, both ways to cluster so many pooled vectors are measured: a mixture of clusters that overlap.
With --folder, what a step has written there is kept, so that the next call goes on after it; without, it is temporary.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from feel_steps.tables import tables

IN_A_PART = 100


def make(folder, videos, snippets, dimension, clusters):
    """Feature parts, videos table and annotations of so many videos."""
    rng = np.random.default_rng(0)
    names = np.array([f"video_{i:06d}" for i in range(videos)], object)
    signs = rng.standard_normal((clusters, dimension)).astype(np.float32)
    a, b = snippets // 3, max(snippets // 3 + 1, 2 * snippets // 3)
    noise = rng.standard_normal((64 * snippets, dimension), np.float32)  # drawing 25 GB would take minutes
    for first in range(0, videos, IN_A_PART):
        path = folder / "features" / f"part-{first // IN_A_PART:04d}.parquet"
        with tables.write_features(path, metadata={"view_family": "motion"}) as writer:
            for i in range(first, min(first + IN_A_PART, videos)):
                start = int(rng.integers(0, 63 * snippets))
                features = noise[start : start + snippets] * np.float32(rng.uniform(0.8, 1.2))
                features[a:b] += signs[i % clusters]
                writer.add(names[i], features)
    split = np.where(np.arange(videos) < (videos + 1) // 2, "train", "test").astype(object)
    columns = {
        "video_id": names, "split": split, "path": [None] * videos, "fps": np.full(videos, 25.0),
        "n_frames": np.full(videos, -1), "duration": np.full(videos, snippets * 16 / 25),
        "n_snippets": np.full(videos, snippets), "snippet_stride": np.full(videos, 16),
        "snippet_window": np.full(videos, 16),
        "part": np.array([f"part-{i // IN_A_PART:04d}.parquet" for i in range(videos)], object),
    }  # fmt: skip
    truth = {"video_id": names, "label": np.array([f"class {i % clusters:03d}" for i in range(videos)], object)}
    truth |= {"t_start": np.full(videos, a * 16 / 25), "t_end": np.full(videos, b * 16 / 25)}
    tables.write(folder / "annotations.parquet", "annotations", truth)
    tables.write(folder / "videos.parquet", "videos", columns)


def make_vectors(folder, vectors, dimension, clusters):
    """Pooled vectors of a mixture whose clusters overlap."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((clusters, dimension), np.float32) * np.float32(0.5)
    features = centres[rng.integers(0, clusters, vectors)]
    features += rng.standard_normal(features.shape, np.float32)
    names = np.array([f"video_{i:07d}" for i in range(vectors)], object)
    tables.write(folder / "pooled.parquet", "pooled", {"video_id": names, "feature": features})


def ways_to_cluster(folder, clusters, starts, n_init):
    """Options of each way to cluster, and the table that it ends with."""
    ways = {"kmeans": f"--n-init {n_init}", "consensus": f"--starts {starts}"}
    return {
        way: (
            f"cluster --pooled {folder}/pooled.parquet --clusters {clusters} --seed 0 --method {way} {options}"
            f" --out-clusters {folder}/{way}_clusters.parquet --out-centres {folder}/{way}.parquet",
            way,
        )
        for way, options in ways.items()
    }


def commands(folder, clusters, hidden, steps):
    """Options of each step, and the table that it ends with."""
    data = f"--videos {folder}/videos.parquet --features {folder}/features"
    pooled, c, m = (f"{folder}/{name}.parquet" for name in ("pooled", "clusters", "centres"))
    maps = f"--attention {folder}/attention.parquet --embeddings {folder}/embeddings.parquet"
    settings = json.dumps({"hidden": hidden})
    return {
        "cut": (f"cut {data} --out {folder}/parts.parquet", "parts"),
        "pool": (f"pool {data} --out {pooled}", "pooled"),
        "cluster": (
            f"cluster --pooled {pooled} --clusters {clusters} --seed 0 --n-init 1 --out-clusters {c} --out-centres {m}",
            "centres",
        ),
        "refine": (f"refine --pooled {pooled} --clusters {c} --centres {m} --out {folder}/refined.parquet", "refined"),
        "rate": (
            f"rate --pooled {pooled} --refined {folder}/refined.parquet --clusters {clusters}"
            f" --out {folder}/confidence.parquet",
            "confidence",
        ),
        "select": (
            f"select --refined {folder}/refined.parquet --rate 1 --out {folder}/selected.parquet",
            "selected",
        ),
        "train": (
            f"train {data} --selected {folder}/selected.parquet --clusters {clusters} --steps {steps} --threads 1"
            f" --length 64 --settings {settings.replace(' ', '')} --out {folder}/model.safetensors"
            f" --out-training {folder}/training.parquet",
            "training",
        ),
        "attend": (
            f"attend {data} --threads 1 --model {folder}/model.safetensors --out {folder}/attention.parquet"
            f" --out-embeddings {folder}/embeddings.parquet",
            "embeddings",
        ),
        "localize": (
            f"localize --videos {folder}/videos.parquet {maps} --out {folder}/detections.parquet"
            f" --out-moments {folder}/moments.parquet",
            "moments",
        ),
        "pool again": (f"pool {data} {maps} --views actionness,whitened --out {folder}/again.parquet", "again"),
        "evaluate": (
            f"evaluate --videos {folder}/videos.parquet --annotations {folder}/annotations.parquet --pooled {pooled}"
            f" --clusters {c} --refined {folder}/refined.parquet --selected {folder}/selected.parquet"
            f" --detections {folder}/detections.parquet --variant feel --seed 0 --iteration 1"
            f" --out {folder}/metrics.parquet --out-mapping {folder}/mapping.parquet",
            "mapping",
        ),
    }


def apart(function, *arguments):
    """Call a function in a process of its own: what this one has held would count as a command's memory."""
    process = get_context("spawn").Process(target=function, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        sys.exit(process.exitcode)


def measure(words):
    """Wall seconds, processor seconds and peak MiB of a command."""
    start = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", "feel_steps", *words], stderr=subprocess.PIPE)
    errors = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(errors.decode())
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", default="2000,10000")
    parser.add_argument("--snippets", type=int, default=40)
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--clusters", type=int, default=20)
    parser.add_argument("--hidden", type=int, default=256, help="channels of the localizer")
    parser.add_argument("--steps", type=int, default=100, help="of training")
    parser.add_argument("--only", default="", help="steps to run, such as pool,train,attend")
    parser.add_argument("--folder", type=Path, help="default: a temporary one")
    parser.add_argument("--vectors", type=int, help="only cluster so many vectors")
    parser.add_argument("--n-init", type=int, default=10, help="starts of k-means, with --vectors")
    parser.add_argument("--starts", type=int, default=60, help="k-means runs of a consensus, with --vectors")
    options = parser.parse_args()
    print("| videos | step | wall s | processor s | peak MiB |\n|---|---|---|---|---|")
    for videos in [options.vectors] if options.vectors else map(int, options.videos.split(",")):
        with tempfile.TemporaryDirectory() as temporary:
            folder = options.folder or Path(temporary)
            if options.vectors:
                first, maker, sizes = "pooled", make_vectors, (options.dimension, options.clusters)
                steps = ways_to_cluster(folder, options.clusters, options.starts, options.n_init)
            else:
                first, maker, sizes = "videos", make, (options.snippets, options.dimension, options.clusters)
                steps = commands(folder, options.clusters, options.hidden, options.steps)
            if not (folder / f"{first}.parquet").exists():
                apart(maker, folder, videos, *sizes)
            for step, (line, table) in steps.items():
                if (options.only and step not in options.only.split(",")) or (folder / f"{table}.parquet").exists():
                    continue
                wall, cpu, peak = measure(line.split())
                print(f"| {videos:,} | {step} | {wall:.1f} | {cpu:.1f} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main()
