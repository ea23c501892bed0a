"""How long do detections of many videos take, and how much memory?

    python benchmarks/localize.py [--videos 2000] [--snippets 750] [--quick]

Attention of two kinds: smooth, as a trained localizer's is, and noise, the worst case, where every threshold cuts
hundreds of proposals. Two of twenty clusters are predicted in each video. Expected: 30 s on 2 cores, 2 GiB.
"""

import argparse
import resource
import sys
import time

import numpy as np
from scipy.ndimage import gaussian_filter1d

from feel_steps.localize import Settings, localize


def make(videos, snippets, width, clusters=20, seed=0):
    """Tables for ``localize``; ``width``: snippets over which attention is smoothed, 0 for noise."""
    rng = np.random.default_rng(seed)
    names = np.array([f"video_{i:04d}" for i in range(videos)], object)
    activation = np.empty((videos * snippets, clusters), np.float32)
    for i in range(videos):
        signal = rng.standard_normal((snippets, clusters), np.float32)
        signal = gaussian_filter1d(signal, width, axis=0) if width else signal
        activation[i * snippets : (i + 1) * snippets] = signal.clip(0)
    attention = {
        "video_id": np.repeat(names, snippets),
        "actionness": activation.sum(1),
        "activation": activation,
    }
    scores = np.full((videos, clusters), 0.4 / (clusters - 2))
    two = np.argsort(rng.random((videos, clusters)), axis=1)[:, :2]
    np.put_along_axis(scores, two, 0.3, axis=1)
    table = {
        "video_id": names,
        "fps": np.full(videos, 25.0),
        "n_snippets": np.full(videos, snippets),
        "snippet_stride": np.full(videos, 16),
        "snippet_window": np.full(videos, 16),
    }
    return attention, {"video_id": names, "score": scores}, table


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=2000)
    parser.add_argument("--snippets", type=int, default=750)
    parser.add_argument("--quick", action="store_true", help="100 videos")
    options = parser.parse_args()
    videos = 100 if options.quick else options.videos
    print("attention  videos  snippets  detections  cpu s  wall s  peak GiB")
    for name, width in (("smooth", 5), ("noise", 0)):
        tables = make(videos, options.snippets, width)
        wall, cpu = time.perf_counter(), time.process_time()
        found = localize(*tables, Settings())
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
        size = f"{videos:>6}  {options.snippets:>8}  {len(found['score']):>10}"
        print(f"{name:<9}  {size}  {cpu:>5.1f}  {wall:>6.1f}  {peak:>8.2f}", flush=True)


if __name__ == "__main__":
    main()
