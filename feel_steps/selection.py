"""IIS, incremental instance selection: easy videos first (docs/explanation/method.md, IIS).

The schedule needs nothing but Python, since Snakemake asks for it, whose own environment may have no numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from feel_steps.errors import InputError

if TYPE_CHECKING:
    import numpy as np

SPEEDS = ("constant", "variable", "none")


def schedule(
    iteration: int, *, speed: str = "constant", alpha: float = 0.25, beta: float = 1.0, share: float = 1.0
) -> float:
    """Share r_i of each cluster that is selected at an iteration.

    Parameters
    ----------
    iteration : int
        i, counted from 1.
    speed : {"constant", "variable", "none"}
        αi; (αi)^β, this project's reading of the paper's variable speed; or everything, always. At most ``share``.
    alpha : float
        α. Published: 0.25 with four iterations.
    beta : float
        β > 1 is slow at first and then faster; β = 1 is constant speed.
    share : float
        The most of a cluster that is ever selected, above 0 and at most 1.

    Raises
    ------
    InputError
        Unknown speed, an iteration below 1, α or β not above 0, or a share out of range.
    """
    if speed not in SPEEDS:
        raise InputError(f"speed '{speed}': unknown; expected one of {', '.join(SPEEDS)}")
    if iteration < 1:
        raise InputError(f"iteration={iteration}: expected 1 or more")
    if not (alpha > 0 and beta > 0):
        raise InputError(f"alpha={alpha}, beta={beta}: expected both above 0")
    if not 0 < share <= 1:
        raise InputError(f"share={share}: expected above 0 and at most 1")
    if speed == "none":
        return share
    rate = alpha * iteration
    return min(share, rate**beta if speed == "variable" else rate)


def select(
    cluster: np.ndarray, distance: np.ndarray, rate: float, fixed: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Take the most reliable share of each cluster.

    The quota of a cluster of n videos is n·r, halves rounded up, and at least one (the published code rounds half to
    even, so that a cluster of one or two vanishes at r = 0.25).

    Parameters
    ----------
    cluster : int32 [N]
    distance : float [N]
        The smaller, the more reliable; of equal ones the earlier row goes first.
    rate : float
        r, above 0 and at most 1.
    fixed : bool [N], optional
        Videos whose cluster a person gave: they come first and are always taken, beyond the quota if need be.

    Returns
    -------
    rows : int64 [M]
        Selected rows, ordered by cluster, then rank.
    rank : int32 [M]
        0 is the most reliable of its cluster.

    Raises
    ------
    InputError
        The rate is out of range.
    """
    import numpy as np

    if not 0 < rate <= 1:
        raise InputError(f"rate={rate}: expected above 0 and at most 1")
    fixed = np.zeros(len(cluster), bool) if fixed is None else fixed
    order = np.lexsort((distance, ~fixed, cluster))
    _, index, size = np.unique(cluster, return_inverse=True, return_counts=True)
    quota = np.maximum(1, np.floor(size * rate + 0.5 + 1e-9).astype(np.int64))  # 1e-9: 50 · 0.29 is 14.499999999999998
    quota = np.maximum(quota, np.bincount(index, fixed, minlength=len(size)).astype(np.int64))
    group = index[order]
    rank = np.arange(len(order)) - (np.cumsum(size) - size)[group]
    kept = rank < quota[group]
    return order[kept], rank[kept].astype(np.int32)
