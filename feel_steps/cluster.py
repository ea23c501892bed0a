"""Group the pooled videos by k-means, Euclidean (docs/explanation/method.md, The loop)."""

from __future__ import annotations

import warnings

import numpy as np

from feel_steps.errors import InputError
from feel_steps.tables.kinds import Columns


def cluster(
    features: np.ndarray, clusters: int, seed: int, *, n_init: int = 10
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run k-means++ and Lloyd's algorithm, best of ``n_init`` starts.

    Parameters
    ----------
    features : float32 [N, D]
        Pooled videos.
    clusters : int
        K. Where fewer than K videos differ, clusters stay empty: they are kept, with a warning.
    seed : int
    n_init : int
        Starts, of which the one with the least inertia is taken.

    Returns
    -------
    labels : int32 [N]
    distances : float64 [N]
        Euclidean, to the own centre.
    centres : float32 [K, D]

    Raises
    ------
    InputError
        K below 1 or above N, or features that are not finite.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import ThreadpoolController

    if not 1 <= clusters <= len(features):
        raise InputError(f"clusters={clusters} but only {len(features)} training videos; expected 1 … {len(features)}")
    finite = np.isfinite(features).all(1)
    if not finite.all():
        raise InputError(f"pooled features, row {int(np.argmin(finite))}: NaN or infinite; extract that video again")
    # scikit-learn adds up the threads' partial sums in the order they finish: two commute, three would not
    openmp = ThreadpoolController().select(user_api="openmp")
    threads = min([2, *(library["num_threads"] for library in openmp.info())])
    with openmp.limit(limits=threads), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # said below, in the user's words
        kmeans = KMeans(clusters, n_init=n_init, random_state=seed).fit(np.asarray(features, np.float32))
    labels, centres = kmeans.labels_.astype(np.int32), kmeans.cluster_centers_.astype(np.float32)
    used = len(np.unique(labels))
    if used < clusters:
        warnings.warn(f"only {used} of clusters={clusters} have videos: too many videos are identical", stacklevel=2)
    difference = features - centres[labels]  # [N, D]
    distances = np.sqrt(np.einsum("nd,nd->n", difference, difference, dtype=np.float64))
    return labels, distances, centres


def keep_clusters(features: np.ndarray, centres: np.ndarray, labels: np.ndarray) -> Columns:
    """Stand in for the refinement (``refine: method: none``): k-means clusters, with Euclidean reliability.

    Parameters
    ----------
    features : float32 [N, D]
    centres : float32 [K, D]
    labels : int32 [N]

    Returns
    -------
    dict of columns [N]
        As :func:`feel_steps.jaccard.refine` gives them: ``distance`` and ``euclidean`` are the Euclidean distance to
        the own centre, ``margin`` how much farther the nearest other centre is (NaN where K = 1), ``second`` which
        one that is (-1 where K = 1), ``jaccard`` NaN.
    """
    from scipy.spatial.distance import cdist

    distances, rows = cdist(features.astype(np.float64), centres.astype(np.float64)), np.arange(len(features))
    own = distances[rows, labels]
    distances[rows, labels] = np.inf
    absent = np.full(len(features), np.nan)
    alone = len(centres) == 1
    margin = absent if alone else distances.min(1) - own
    second = np.full(len(features), -1) if alone else distances.argmin(1)
    columns = {"cluster": labels, "distance": own, "jaccard": absent, "euclidean": own, "margin": margin}
    return columns | {"second": second.astype(np.int32)}
