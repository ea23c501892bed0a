"""Does incremental instance selection help beyond localization? On scikit-learn's digits.

    python benchmarks/digits.py              # both
    python benchmarks/digits.py images       # clustering by self-training: six minutes
    python benchmarks/digits.py anomalies    # detection, learning from a training set that holds some: one minute

Prints the mean and the standard deviation over seeds of each setting and iteration.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import MLPClassifier

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package studies is not installed

from feel_steps.cluster import cluster, keep_clusters
from feel_steps.evaluation.evaluate import clustering_scores
from feel_steps.jaccard import refine
from feel_steps.runtime.progress import track
from feel_steps.selection import schedule, select
from feel_steps.tables.kinds import Columns
from studies.measures import NONE, Row, judge, to_rows, to_table

SPEEDS = {"all at once": "none", "constant speed": "constant", "variable speed": "variable"}
BETA = 2.0  # of the variable speed
BATCH = 64


def image_clustering(
    *,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    iterations: int = 5,
    dimension: int = 32,
    hidden: int = 64,
    steps: int = 300,
    images: int | None = None,
) -> Columns:
    """Cluster images by self-training: features, clusters, the easy ones as labels, a network, its features, again.

    Parameters
    ----------
    seeds : sequence of int
    iterations : int
        With the published α = 0.25 the fourth trains on all, and the fifth is clustered by what it has learnt.
    dimension : int
        Of the first features, by PCA.
    hidden : int
        Units of the network's one hidden layer, whose activations are the features from iteration 2 on.
    steps : int
        Of the network's training, about the same at every iteration, however many images are selected.
    images : int, optional
        Digits drawn; all 1797 if absent.

    Returns
    -------
    columns of a study table
        Settings ``CCI`` and ``k-means``, each at three speeds: what :func:`studies.measures.judge` says of
        the clusters, their one-to-one ``accuracy``, and that of the network's predictions for all images,
        ``accuracy of the network``.
    """
    pixels, classes = load_digits(return_X_y=True)
    pixels = (pixels / 16).astype(np.float32)
    problems = list(product(("CCI", "k-means"), SPEEDS, seeds))
    rows: list[Row] = []
    for method, speed, seed in track(problems, "clustering images", "run"):
        drawn = np.random.default_rng(seed).permutation(len(pixels))[:images]
        x, truth = pixels[drawn], classes[drawn]  # [N, 64]
        features = PCA(dimension, random_state=seed).fit_transform(x).astype(np.float32)
        for iteration in range(1, iterations + 1):
            labels, _, centres = cluster(features, 10, seed)
            table = (
                refine(features, centres) if method == "CCI" else keep_clusters(features, centres, {"cluster": labels})
            )
            labels, distance = table["cluster"], table["distance"]
            chosen, _ = select(labels, distance, schedule(iteration, speed=SPEEDS[speed], beta=BETA))
            network = _train(x[chosen], labels[chosen], hidden, steps, seed)
            features = np.maximum(x @ network.coefs_[0] + network.intercepts_[0], 0).astype(np.float32)
            measured = judge(truth, labels, distance) | {
                "accuracy": dict(clustering_scores(truth, labels))["accuracy"],
                "accuracy of the network": dict(clustering_scores(truth, network.predict(x)))["accuracy"],
            }
            rows += to_rows(f"{method}, {speed}", NONE, seed, iteration, measured)
    return to_table(rows)


def _train(x: np.ndarray, labels: np.ndarray, hidden: int, steps: int, seed: int) -> MLPClassifier:
    """Train a new network with one hidden layer for about so many steps."""
    batch = min(BATCH, len(x))
    epochs = max(1, round(steps / np.ceil(len(x) / batch)))
    network = MLPClassifier(hidden, batch_size=batch, max_iter=epochs, n_iter_no_change=epochs, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # as many steps as asked for
        return network.fit(x, labels)


def anomaly_detection(
    *,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    shares: Sequence[float] = (0.05, 0.1, 0.2),
    components: int = 8,
    iterations: int = 4,
    normal: Sequence[int] = tuple(range(10)),
) -> Columns:
    """Detect anomalies, learning from a training set that holds some: one digit is normal, the others are not.

    The score is the reconstruction error of PCA. Iteration i ranks the training images by the model of iteration
    i - 1 (at first, of one fitted to all), and fits a new one to the share r_i that is most normal.

    Parameters
    ----------
    seeds : sequence of int
    shares : sequence of float
        Of anomalies in the training set, which holds half of the normal images.
    components : int
        Of PCA.
    iterations : int
        With the published α = 0.25 the fourth trains on all.
    normal : sequence of int
        The digits, each normal once; the numbers are means over them.

    Returns
    -------
    columns of a study table
        Settings the three speeds, and a share that does not grow, over the share of anomalies x: ``AUROC`` on the
        other images, and ``contamination``, the share of anomalies among what is selected.
    """
    pixels, classes = load_digits(return_X_y=True)
    pixels = pixels / 16
    steps = range(1, iterations + 1)
    rates = {name: [schedule(i, speed=speed, beta=BETA) for i in steps] for name, speed in SPEEDS.items()}
    rates["three quarters, always"] = [0.75] * iterations  # selection without growth
    problems = list(product(shares, seeds))
    rows: list[Row] = []
    for share, seed in track(problems, "detecting anomalies", "problem"):
        scores = np.zeros((len(rates), iterations, 2, len(normal)))  # AUROC and contamination
        for d, digit in enumerate(normal):
            random = np.random.default_rng([seed, digit])
            own, other = (random.permutation(np.flatnonzero((classes == digit) == which)) for which in (True, False))
            half = len(own) // 2
            n = round(half * share / (1 - share))
            training, test = np.append(own[:half], other[:n]), np.append(own[half:], other[n:])
            for s, of_speed in enumerate(rates.values()):
                chosen = training
                for i, rate in enumerate(of_speed):
                    errors = _reconstruction_errors(pixels[chosen], pixels[training], components)
                    chosen = training[select(np.zeros(len(training), np.int32), errors, rate)[0]]
                    errors = _reconstruction_errors(pixels[chosen], pixels[test], components)
                    auroc = roc_auc_score(classes[test] != digit, errors)
                    scores[s, i, :, d] = auroc, (classes[chosen] != digit).mean()
        for (s, speed), i in product(enumerate(rates), range(iterations)):
            auroc, contamination = scores[s, i].mean(1)
            rows += to_rows(speed, share, seed, i + 1, {"AUROC": auroc, "contamination": contamination})
    return to_table(rows)


def _reconstruction_errors(x: np.ndarray, of: np.ndarray, components: int) -> np.ndarray:
    """Squared errors [N] of the images ``of`` [N, D] in the principal components of the images x [M, D]."""
    pca = PCA(min(components, len(x) - 1)).fit(x)
    return ((of - pca.inverse_transform(pca.transform(of))) ** 2).sum(1)


PROGRAMS = {"images": image_clustering, "anomalies": anomaly_detection}


def main(programs: Annotated[list[str] | None, typer.Argument()] = None, seeds: int = 5) -> None:
    """Run the named programs and print their numbers."""
    for name in programs or PROGRAMS:
        table = pd.DataFrame(PROGRAMS[name](seeds=range(seeds)))
        numbers = table.groupby(["metric", "setting", "x", "iteration"], dropna=False, sort=False)["value"]
        print(f"{name}\n{numbers.agg(['mean', 'std']).round(3).to_string()}\n")


if __name__ == "__main__":
    typer.run(main)
