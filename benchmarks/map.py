"""How much faster is mAP than a plain reading of the ActivityNet kit, and is it the same number?

    python benchmarks/map.py [--predictions 200000] [--quick]

The kit's own way, written plainly: a pandas frame of predictions, one row at a time, and all segments of its video and
class for each. Both are timed by processor time, on the same made-up data set of THUMOS'14's size.
"""

import argparse
import time

import numpy as np
import pandas as pd

from feel_steps.evaluation.detection_map import TIOU, mean_average_precision


def make(predictions, seed=0, videos=210, classes=20, segments=3300):
    """Segments as in THUMOS'14, half of the predictions near one of them; scores with ties."""
    rng = np.random.default_rng(seed)
    names = np.array([f"video_{i:04d}" for i in range(videos)], object)
    labels = np.array([f"class {c:02d}" for c in range(classes)], object)
    class_of = rng.integers(0, classes, videos)
    video = rng.integers(0, videos, segments)
    start = rng.uniform(0, 200, segments)
    truth = {"video_id": names[video], "label": labels[class_of[video]], "t_start": start}
    truth["t_end"] = start + rng.gamma(2, 2, segments)
    near = rng.integers(0, segments, predictions)
    far = rng.random(predictions) < 0.5
    shift = np.where(far, rng.uniform(-100, 100, predictions), 0.5 * rng.standard_normal(predictions))
    length = (truth["t_end"] - truth["t_start"])[near] * rng.uniform(0.6, 1.6, predictions)
    found = {"video_id": truth["video_id"][near], "t_start": truth["t_start"][near] + shift}
    found["label"] = np.where(rng.random(predictions) < 0.2, rng.choice(labels, predictions), truth["label"][near])
    found["t_end"] = found["t_start"] + length
    found["score"] = (rng.random(predictions) + 0.3 * ~far).round(5)
    return found, truth


def plain(found, truth, tiou):
    """Mean average precision [H], prediction by prediction."""
    found, truth = pd.DataFrame(found), pd.DataFrame(truth)
    ap = []
    for label in sorted(set(truth["label"])):
        mine = truth[truth["label"] == label].reset_index(drop=True)
        by_video = mine.groupby("video_id")
        ranked = found[found["label"] == label].sort_values("score", ascending=False, kind="stable")
        locked = np.zeros((len(tiou), len(mine)), bool)
        hit = np.zeros((len(tiou), len(ranked)), bool)
        for rank, (_, row) in enumerate(ranked.iterrows()):
            try:
                here = by_video.get_group(row["video_id"])
            except KeyError:
                continue
            inner = np.minimum(row["t_end"], here["t_end"]) - np.maximum(row["t_start"], here["t_start"])
            inner = inner.clip(lower=0)
            overlap = inner / (row["t_end"] - row["t_start"] + here["t_end"] - here["t_start"] - inner)
            overlap = overlap.sort_values(ascending=False, kind="stable")
            for h, threshold in enumerate(tiou):
                for g, value in overlap.items():
                    if value < threshold:
                        break
                    if not locked[h, g]:
                        locked[h, g] = hit[h, rank] = True
                        break
        ap.append([interpolated(row, len(mine)) for row in hit])
    return np.mean(ap, axis=0)


def interpolated(hit, positives):
    """Area under the interpolated precision-recall curve."""
    precision = np.cumsum(hit) / np.arange(1, len(hit) + 1)
    recall = np.cumsum(hit) / positives
    precision, recall = np.r_[0, precision, 0], np.r_[0, recall, 1]
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    change = np.flatnonzero(recall[1:] != recall[:-1]) + 1
    return np.sum((recall[change] - recall[change - 1]) * precision[change])


def timed(function, *arguments):
    start = time.process_time()
    return function(*arguments), time.process_time() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--predictions", type=int, default=200_000)
    parser.add_argument("--quick", action="store_true", help="20,000 predictions")
    options = parser.parse_args()
    size = 20_000 if options.quick else options.predictions
    found, truth = make(size)
    timed(mean_average_precision, *make(1000, seed=1), TIOU)  # warm
    ours, fast = timed(mean_average_precision, found, truth, TIOU)
    theirs, slow = timed(plain, found, truth, TIOU)
    apart = np.abs(ours.map - theirs).max()
    print("predictions  feel-steps s  plain s  times faster  largest difference")
    print(f"{size:>11}  {fast:>12.2f}  {slow:>7.1f}  {slow / fast:>12.0f}  {apart:>18.1e}")
    if apart > 1e-9 or (slow < 100 * fast and not options.quick):
        raise SystemExit("expected the same numbers to 1e-9, at least 100 times faster")


if __name__ == "__main__":
    main()
