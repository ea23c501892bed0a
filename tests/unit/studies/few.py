"""Pooled videos of a few classes for the studies, small and easy."""

import numpy as np

from feel_steps.tables.kinds import KINDS


def make_pooled(classes=3, videos=12, dimension=6, seeds=(0, 1), iterations=(1,)):
    """Pooled tables by (seed, iteration), and annotations: the classes lie apart; the last video has no annotation."""
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(classes), videos)
    video_id = np.array([f"v{i}" for i in range(len(truth))], object)
    features = 4 * np.eye(classes, dimension)[truth] + 0.5 * rng.normal(size=(len(truth), dimension))
    table = {"video_id": video_id, "feature": features.astype(np.float32)}
    label = np.array([f"class {c}" for c in truth], object)
    start = np.zeros(len(truth) - 1)
    annotations = {"video_id": video_id[:-1], "label": label[:-1], "t_start": start, "t_end": start + 1}
    return {(seed, i): table for seed in seeds for i in iterations}, annotations


def values(table, setting, metric, x=None):
    """The values of a setting and metric, by seed and iteration; the table is checked to be a study table."""
    assert list(table) == list(KINDS["study"].columns)
    rows = (table["setting"] == setting) & (table["metric"] == metric)
    if x is not None:
        rows &= table["x"] == x
    return table["value"][rows]


def same(a, b):
    """Whether two tables are the same, NaN for NaN."""
    return all(np.array_equal(a[name], b[name], equal_nan=a[name].dtype.kind == "f") for name in a)
