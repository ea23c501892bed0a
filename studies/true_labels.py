"""True labels in place of clusters: the bound of weak supervision, for studies alone."""

from __future__ import annotations

import numpy as np
import pandas as pd

from feel_steps.errors import InputError
from feel_steps.tables.kinds import Columns


def true_classes(video_ids: np.ndarray, annotations: Columns, clusters: int) -> tuple[Columns, Columns]:
    """Stand in for the refinement: each training video's annotated class, the bound of weak supervision.

    Parameters
    ----------
    video_ids : string [N]
        The training videos.
    annotations : columns of an annotations table
    clusters : int
        K, of which there must be one for every class.

    Returns
    -------
    refined : columns of a refined table
        Of the annotated videos. ``cluster`` is the position of a video's first label among all labels in alphabetical
        order. All are equally reliable.
    selected : columns of a selected table
        One row for each label of each of these videos.

    Raises
    ------
    InputError
        There are more classes than K, or no training video is annotated.
    """
    frame = pd.DataFrame({"video_id": annotations["video_id"], "label": annotations["label"]}).drop_duplicates()
    frame = frame[frame["video_id"].isin(video_ids)]
    classes = sorted(set(frame["label"]))
    if not classes:
        raise InputError("annotations: no training video has any; leave the settings with true_labels out")
    if len(classes) > clusters:
        raise InputError(
            f"annotations: {len(classes)} classes in the training videos, but clusters is {clusters}; training with "
            f"true labels needs clusters: {len(classes)}"
        )
    labels = frame.groupby("video_id")["label"].agg(list)
    known = np.array([video_id for video_id in video_ids if video_id in labels.index], object)
    places = [[classes.index(label) for label in own] for own in labels[known]]
    zeros = np.zeros(len(known))
    refined = {
        "video_id": known,
        "cluster": np.array([own[0] for own in places], np.int32),
        "distance": zeros,
        "jaccard": np.full(len(known), np.nan),
        "euclidean": zeros,
        "margin": np.full(len(known), np.nan),
        "second": np.full(len(known), -1, np.int32),
    }
    counts = np.array([len(own) for own in places])
    selected = {
        "video_id": np.repeat(known, counts),
        "cluster": np.concatenate(places).astype(np.int32),
        "distance": np.zeros(counts.sum()),
        "rank": np.zeros(counts.sum(), np.int32),
    }
    return refined, selected
