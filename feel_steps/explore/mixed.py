"""Whether videos seem to show several actions, in a run that clusters whole videos: should it cut them into parts?"""

from __future__ import annotations

import numpy as np

from feel_steps.description import Description
from feel_steps.parts import count, cut
from feel_steps.pool import describe, tell_family
from feel_steps.tables.run import Run
from feel_steps.tables.snippets import Snippets, load_snippets, recorded_family
from feel_steps.tables.tables import align

MOST = 100  # videos that are looked at, evenly spaced
SHARE = 0.2  # of its time that a video shows another cluster


def mixed_videos(run: Run, shortest: float, longest: float) -> float:
    """Share of the training videos whose parts look like different clusters; no annotation is read.

    0 where parts are clustered already, where the features are not there any more, or where they do not describe
    movement: in features of a network, background tells parts apart as actions do.
    """
    folder = run.folder / "features"
    if run.cuts is not None or not folder.is_dir():
        return 0.0
    step = max(1, -(-len(run.refined["video_id"]) // MOST))
    ids, labels = run.refined["video_id"][::step], run.refined["cluster"][::step]
    videos = align(run.videos, ids, "videos table", "the clusters")
    snippets = load_snippets(videos, folder)
    if (recorded_family(videos, folder) or tell_family(snippets)) != "motion":
        return 0.0
    seconds = videos["snippet_stride"] / videos["fps"]
    description = Description.fit(snippets, count(shortest, seconds), "motion")
    borders = cut(snippets, seconds, description, shortest=shortest, longest=longest)
    return count_mixed(snippets, borders, labels)


def count_mixed(snippets: Snippets, borders: np.ndarray, labels: np.ndarray) -> float:
    """Share of the videos whose parts go to different clusters.

    A part goes to the cluster whose videos' parts are nearest to it on average, in the views second and lag. A video is
    mixed if another cluster than the first has more than a fifth of its time.

    Parameters
    ----------
    snippets : Snippets
        Of N videos.
    borders : int [P + 1]
        As :func:`feel_steps.parts.cut` gives them.
    labels : int [N]
        Clusters of the videos.
    """
    video = np.searchsorted(snippets.offsets, borders[:-1], side="right") - 1  # [P]
    length = np.diff(borders)
    parts = Snippets([str(part) for part in range(len(video))], snippets.features, borders)
    x = np.concatenate(list(describe(parts, ["second", "lag"]).values()), 1)
    inherited = labels[video] == np.arange(labels.max() + 1)[:, None]  # [K, P]
    weight = inherited * length / np.maximum(1, inherited @ length)[:, None]
    centres = weight @ x
    squares = (centres**2).sum(1) - 2 * x @ centres.T  # less |x|², the same for all clusters
    squares[:, ~inherited.any(1)] = np.inf
    time = np.zeros((len(labels), len(centres)))
    np.add.at(time, (video, squares.argmin(1)), length)
    return float((time.max(1) < (1 - SHARE) * time.sum(1)).mean())
