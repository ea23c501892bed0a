"""How the number of classes matters (the paper's first open question): k-means and CCI on subsets of the classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from feel_steps.runtime.progress import track
from feel_steps.tables.kinds import Columns
from studies.measures import Pooled, Row, compare, first_classes, mean, to_rows, to_table


def classes(pooled: Pooled, annotations: Columns, *, counts: Sequence[int] = (3, 5, 10), draws: int = 5) -> Columns:
    """Cluster the videos of a few classes only, with as many clusters.

    Parameters
    ----------
    pooled : mapping of (seed, iteration) to columns of a pooled table
        From iteration 2 on these are features that were learnt on all classes.
    annotations : columns of an annotations table
    counts : sequence of int
        Numbers of classes; those beyond what is annotated are left out, and all classes are added.
    draws : int
        Random subsets of a number of classes, other ones for each seed, over which a seed's numbers are averaged.

    Returns
    -------
    columns of a study table
        Settings ``k-means`` and ``CCI`` over the number of classes x. Compare different numbers by ``AMI``: ``NMI``
        grows with K by chance alone.

    Raises
    ------
    InputError
        No video is annotated.
    """
    rows: list[Row] = []
    for (seed, iteration), table in track(pooled.items(), "subsets of classes", "clustering"):
        of_video = first_classes(table["video_id"], annotations)
        C, random = of_video.max() + 1, np.random.default_rng(seed)
        for count in [count for count in counts if count < C] + [C]:
            drawn = [random.permutation(C)[:count] for _ in range(draws if count < C else 1)]
            of_subset = [np.flatnonzero(np.isin(of_video, some)) for some in drawn]
            found = [compare(table["feature"][v], of_video[v], count, seed, {"CCI": {}}) for v in of_subset]
            for setting in found[0]:
                measured = mean(draw[setting] for draw in found)
                rows += to_rows(setting, count, seed, iteration, measured)
    return to_table(rows)
