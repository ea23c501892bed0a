"""What CCI's settings do, and where CCI breaks: weak features and sparse reciprocal sets.

Each study runs on the pooled features of every seed and iteration that it is given, N videos of D dimensions, and
compares the refined clusters with those of k-means by the annotated classes, as
:func:`studies.measures.judge` does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from feel_steps.cluster import cluster
from feel_steps.errors import InputError
from feel_steps.runtime.progress import track
from feel_steps.tables.kinds import Columns
from studies.measures import NONE, Pooled, Row, compare, first_classes, mean, to_rows, to_table

PARAMETERS = ("k1", "k2", "lambda")


def parameter(
    pooled: Pooled, annotations: Columns, *, clusters: int, name: str = "k1", values: Sequence[float] = (10, 20, 30)
) -> Columns:
    """Change k1, k2 or λ, the others as published: 20, 6, 0.3.

    Parameters
    ----------
    pooled : mapping of (seed, iteration) to columns of a pooled table
    annotations : columns of an annotations table
    clusters : int
        K
    name : {"k1", "k2", "lambda"}
    values : sequence of numbers
        To try.

    Returns
    -------
    columns of a study table
        Setting ``CCI`` over the values x, and ``k-means``, which has none.

    Raises
    ------
    InputError
        Unknown parameter, no video is annotated, or K is larger than the number of videos.
    """
    if name not in PARAMETERS:
        raise InputError(f"parameter '{name}': unknown; expected one of {', '.join(PARAMETERS)}")
    option, kind = ("lambda_value", float) if name == "lambda" else (name, int)
    settings = {f"CCI, {value}": {option: kind(value)} for value in values}
    rows: list[Row] = []
    for (seed, iteration), table in track(pooled.items(), f"CCI's {name}", "clustering"):
        classes = first_classes(table["video_id"], annotations)
        found = compare(table["feature"], classes, clusters, seed, settings)
        for x, (setting, measured) in zip([NONE, *values], found.items(), strict=True):
            label = setting.split(",")[0]
            rows += to_rows(label, x, seed, iteration, measured)
    return to_table(rows)


def noise(
    pooled: Pooled, annotations: Columns, *, clusters: int, levels: Sequence[float] = (0, 0.5, 1, 2, 3, 4, 6, 8)
) -> Columns:
    """Weaken the features by Gaussian noise, and compare k-means with CCI.

    Parameters
    ----------
    pooled, annotations, clusters
        See :func:`parameter`.
    levels : sequence of float
        Standard deviation of the noise in each dimension, in units of the features' own around their k-means centres.
        One draw a seed and iteration, scaled to each level.

    Returns
    -------
    columns of a study table
        Settings ``k-means`` and ``CCI`` over the level x.

    Raises
    ------
    InputError
        See :func:`parameter`.
    """
    rows: list[Row] = []
    for (seed, iteration), table in track(pooled.items(), "weakening features", "clustering"):
        features, classes = table["feature"], first_classes(table["video_id"], annotations)
        labels, _, centres = cluster(features, clusters, seed)
        own = (features - centres[labels]).std(0)  # [D]
        draw = np.random.default_rng([seed, iteration]).standard_normal(features.shape, np.float32) * own
        for level in levels:
            weakened = features + np.float32(level) * draw
            for setting, measured in compare(weakened, classes, clusters, seed, {"CCI": {}}).items():
                rows += to_rows(setting, level, seed, iteration, measured)
    return to_table(rows)


def few_videos(
    pooled: Pooled, annotations: Columns, *, clusters: int, sizes: Sequence[int] = (3, 5, 7, 10, 15), draws: int = 5
) -> Columns:
    """Leave few videos for each cluster, so that k1 reaches beyond it.

    Parameters
    ----------
    pooled, annotations, clusters
        See :func:`parameter`.
    sizes : sequence of int
        Videos per cluster, N/K: as many times K videos are drawn, of any class. Those that take more than there are
        are left out, and all videos are added.
    draws : int
        Random subsets of a size, over which a seed's numbers are averaged.

    Returns
    -------
    columns of a study table
        Settings ``k-means``, ``CCI`` as published (k1 = 20) and ``CCI, k1 = N/K`` (k2 at most that), over N/K as x.

    Raises
    ------
    InputError
        See :func:`parameter`.
    """
    rows: list[Row] = []
    for (seed, iteration), table in track(pooled.items(), "leaving few videos", "clustering"):
        features, classes = table["feature"], first_classes(table["video_id"], annotations)
        N, random = len(features), np.random.default_rng([seed, iteration])
        for videos in [size * clusters for size in sizes if size * clusters < N] + [N]:
            drawn = [np.sort(random.permutation(N)[:videos]) for _ in range(draws if videos < N else 1)]
            k1 = round(videos / clusters)
            settings: dict[str, dict[str, float]] = {"CCI": {}, "CCI, k1 = N/K": {"k1": k1, "k2": min(k1, 6)}}
            found = [compare(features[some], classes[some], clusters, seed, settings) for some in drawn]
            for setting in found[0]:
                measured = mean(draw[setting] for draw in found)
                rows += to_rows(setting, videos / clusters, seed, iteration, measured)
    return to_table(rows)
