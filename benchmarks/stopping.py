"""Would a criterion without labels stop a training at a better step than the last?

    python benchmarks/stopping.py results/msrc12 [--variant feel] [--steps 25 50 100 200]

Trains again what each seed and iteration of a finished run trained, on the same videos and pseudo-labels, and looks at
each of these steps: at mAP, by the annotations, and at what a criterion can see without them. Each criterion picks a
step; what it is worth is the mAP there less the mAP at the last step. "by labels" is the best there is to win, and
what choosing checkpoints by test mAP would report. Expected: a minute or two for each training on one core.

held-out     the step of the lowest loss on a fifth of the selected videos, of a training on the other four fifths
agreement    of the most training videos, beyond the selected ones, whose best class is their cluster
silhouette   of the highest silhouette of the clustering that would come next
"""

import argparse
import json
import re
import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import silhouette_score

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package studies is not installed

from feel_steps.attend import attend
from feel_steps.cluster import cluster
from feel_steps.evaluation.detection_map import mean_average_precision
from feel_steps.evaluation.evaluate import judged, map_clusters, relabelled
from feel_steps.localize import Settings, localize
from feel_steps.localizers import weights
from feel_steps.pool import pool
from feel_steps.runtime import devices
from feel_steps.tables import tables
from feel_steps.tables.snippets import load_snippets
from feel_steps.train import Adam, Batches, take_step, to_targets
from studies.tables import estimate

CRITERIA = ("held-out", "agreement", "silhouette")


class Run:
    """What all trainings of a run share."""

    def __init__(self, folder):
        self.videos = tables.read(folder / "videos.parquet", "videos")
        self.annotations = tables.read(folder / "annotations.parquet", "annotations")
        self.all = load_snippets(self.videos, folder / "features")
        self.training = load_snippets(self.videos, folder / "features", "train")
        self.is_training = self.videos["split"] == "train"


def train(run, rows, labels, options, seed, steps):
    """Train as the run did, and give the model at each of these steps."""
    K, localizer = options["clusters"], options["localizer"]
    model = weights.build(localizer, run.training.features.shape[1], K, **options["settings"])
    optimizer = Adam(model.parameters(), options["learning_rate"], options["weight_decay"])
    targets = to_targets(labels, K)
    batches = Batches(run.training, rows, targets, options["batch"], options["length"], seed, torch.device("cpu"))
    for step in range(steps[-1]):
        take_step(model.train(), optimizer, batches, step, torch.float32)
        if step + 1 in steps:
            yield model.eval()


def look(run, model, options):
    return attend(model, run.all, run.videos, length=options["length"], device="cpu", threads=1)


def measure(run, folder, seed, steps):
    """The mAP at each step, and each criterion's values there, the higher the better."""
    options = json.loads(tables.read_metadata(folder / "training.parquet")["feel.options"])
    refined = tables.read(folder / "refined.parquet", "refined")
    selected = tables.read(folder / "selected.parquet", "selected")
    place = {video: row for row, video in enumerate(run.training.video_ids)}
    rows, labels = np.array([place[video] for video in selected["video_id"]]), selected["cluster"]
    rest = np.setdiff1d(np.arange(len(place)), rows)
    mapping = map_clusters(refined, run.annotations)
    found = {"mAP": [], **{name: [] for name in CRITERIA}}
    with devices.deterministic(seed, 1):
        for model in train(run, rows, labels, options, seed, steps):
            attention, embeddings = look(run, model, options)
            kept, truth = judged(localize(attention, embeddings, run.videos, Settings()), run.annotations, run.videos)
            found["mAP"].append(mean_average_precision(relabelled(kept, mapping, "published"), truth).average)
            predicted = embeddings["score"][run.is_training].argmax(1)
            found["agreement"].append((predicted[rest] == refined["cluster"][rest]).mean() if len(rest) else 0)
            pooled = pool(run.training, views=["embedding"], embeddings=embeddings)["embedding"]
            found["silhouette"].append(silhouette_score(pooled, cluster(pooled, options["clusters"], seed)[0]))
        order = np.random.default_rng(seed).permutation(len(rows))
        held, fitted = np.split(order, [len(rows) // 5])
        for model in train(run, rows[fitted], labels[fitted], options, seed, steps):
            score = look(run, model, options)[1]["score"][run.is_training]
            found["held-out"].append(np.log(score[rows[held], labels[held]] + 1e-9).mean())
    return {name: np.array(values) for name, values in found.items()}


def best(values):
    """Place of the highest value, the last one of equals."""
    return len(values) - 1 - values[::-1].argmax()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--variant", default="feel")
    parser.add_argument("--steps", type=int, nargs="+", default=[25, 50, 100, 200])
    options = parser.parse_args()
    steps, run, found = sorted(options.steps), Run(options.run), {}
    print("iteration seed |", *(f"mAP@{step}" for step in steps), "| chosen by", *CRITERIA, flush=True)
    for folder in sorted((options.run / options.variant).glob("seed-*/iter-*")):
        seed, iteration = map(int, re.findall(r"\d+", "/".join(folder.parts[-2:])))
        one = found[iteration, seed] = measure(run, folder, seed, steps)
        chosen = [steps[best(one[name])] for name in CRITERIA]
        print(f"{iteration:>9} {seed:>4} |", *(f"{value:.3f}" for value in one["mAP"]), "|", *chosen, flush=True)
    print("\ngain in mAP over the last step, mean over seeds and its 95 % interval")
    for iteration in sorted({iteration for iteration, _ in found}):
        own = [one for (i, _), one in found.items() if i == iteration]
        last = np.array([one["mAP"][-1] for one in own])
        gains = {"by labels": [one["mAP"].max() for one in own]}
        gains |= {name: [one["mAP"][best(one[name])] for one in own] for name in CRITERIA}
        text = [f"{name} {(e := estimate(values - last)).mean:+.3f} [{e.low:+.3f}, {e.high:+.3f}]"
                for name, values in gains.items()]  # fmt: skip
        print(f"iteration {iteration}: {'; '.join(text)}")


if __name__ == "__main__":
    main()
