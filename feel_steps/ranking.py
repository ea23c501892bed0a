"""The n nearest of each point, itself first, then by (squared Euclidean distance, index): exact, ties included.

Tiles of a float32 matrix product propose candidates, and float64 differences order them. A bound on the product's
rounding tells where it might have cost a candidate: those points are ranked again by a float64 product, and where that
cannot tell either (ties), from all differences. So the lists depend on neither tiles nor threads nor device.
The matrix product picks the farthest point. Its distance is then recomputed in float64.

Time grows with the square of the points. :func:`rank_approximately` misses a few neighbours and takes a fraction of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from typing import TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

from feel_steps.errors import InputError
from feel_steps.runtime.progress import Progress

SLACK = 8  # candidates of the float32 product beyond those wanted; fewer and more points are ranked twice
LINKS = 32  # of a point in a graph, for neighbours that may be missed
BUILD, SEARCH = 64, 128  # points in view when the graph is built, and when it is searched
OUTER = 4096  # points of which one is taken for the farthest
BLOCK = 4096  # points that look for their neighbours at once
TILE = {"cpu": (512, 8192), "device": (2048, 32768)}  # points by points of one matrix product

Proposal = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
Product = Callable[[np.ndarray, slice, np.ndarray, int, type], Proposal]
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Ranking:
    """The n nearest of each of N points, itself first, then by (squared Euclidean distance, index).

    Attributes
    ----------
    features : float32 [N, D]
    neighbours : int32 [N, n]
    distances : float64 [N, n]
        Squared.
    farthest : float64 [N]
        Squared distance of the farthest of all points.
    """

    features: np.ndarray
    neighbours: np.ndarray
    distances: np.ndarray
    farthest: np.ndarray


Ranker = Callable[[np.ndarray, int], Ranking]  # features, n


def rank(
    features: np.ndarray,
    n: int,
    device: str | None = None,
    *,
    rows: np.ndarray | None = None,
) -> Ranking:
    """Rank the points around each point, in O(block · N + N n) memory.

    Parameters
    ----------
    features : float32 [N, D]
    n : int
        Length of the lists, the point itself included; at most N are given.
    device : str, optional
        Where to multiply, with room for the features; the CPU if absent.
    rows : int [B], optional
        The points whose lists are wanted; the others' are not filled in. All if absent.
    """
    N, D = features.shape
    n = min(n, N)
    m = min(N, n + SLACK)  # candidates
    mean = features.mean(0)  # distances do not change with the origin, but cancel less around it
    squares = squared_lengths(features, mean)  # [N]
    on_device = device if device is not None and str(device) != "cpu" else None
    height, width = TILE["device" if on_device else "cpu"]
    product = _device_product(features, mean, on_device) if on_device else _cpu_product(features, mean)
    neighbours, distances, farthest = np.empty((N, n), np.int32), np.empty((N, n)), np.empty(N)

    def settle(rows: np.ndarray, dtype: type) -> np.ndarray:
        """Fill in the lists of some points [B]; True where they are certain."""
        near, value = np.empty((len(rows), 0), np.int64), np.empty((len(rows), 0))  # candidates, |y|² - 2 x·y
        far, far_value = np.zeros(len(rows), np.int64), np.full(len(rows), -np.inf)
        for a in range(0, N, width):
            tile = slice(a, min(a + width, N))
            index, nearest, top, top_value = product(rows, tile, squares[tile], m, dtype)
            near, value = np.hstack([near, a + index]), np.hstack([value, nearest])
            if near.shape[1] > m:
                kept = np.argpartition(value, m - 1, axis=1)[:, :m]
                near, value = np.take_along_axis(near, kept, 1), np.take_along_axis(value, kept, 1)
            far, far_value = np.where(top_value > far_value, a + top, far), np.maximum(far_value, top_value)
        by_index = np.argsort(near, axis=1)  # the stable sort below then leaves ties in the order of their index
        near, value = np.take_along_axis(near, by_index, 1), np.take_along_axis(value, by_index, 1)

        length, reach = np.sqrt(squares[rows]), np.sqrt(np.maximum(value.max(1) + squares[rows], 0))
        error = rounding(D, dtype) * (2 * length + reach) ** 2  # for all within reach, as |y| ≤ |x| + |x - y|
        itself = near == rows[:, None]
        close = (value <= (np.partition(value, n - 1, axis=1)[:, n - 1] + 2 * error)[:, None]) & ~itself
        distance = np.where(itself, -1, np.inf)  # the others cannot be among the first n
        distance[close] = pairs(features, np.repeat(rows, close.sum(1)), features, near[close])
        order = np.argsort(distance, axis=1, kind="stable")[:, :n]
        neighbours[rows] = np.take_along_axis(near, order, 1)
        distances[rows] = np.maximum(np.take_along_axis(distance, order, 1), 0)
        farthest[rows] = pairs(features, rows, features, far)
        return (distances[rows, -1] < reach**2 - error) | (m == N)

    def settle_ties(rows: np.ndarray) -> int:
        """Fill in the lists of some equal points; their number."""
        distance = pairs(features, np.full(N, rows[0]), features, np.arange(N))
        nearest = np.argsort(distance, kind="stable")[:n]
        listed = np.hstack([rows[:, None], np.broadcast_to(nearest, (len(rows), n))])  # itself first, ...
        again = np.hstack([np.zeros((len(rows), 1), bool), nearest == rows[:, None]])  # ... and not again
        order = np.argsort(again, axis=1, kind="stable")[:, :n]
        neighbours[rows] = np.take_along_axis(listed, order, 1)
        distances[rows] = distance[neighbours[rows]]
        farthest[rows] = distance.max()
        return len(rows)

    pending = np.arange(N) if rows is None else rows
    with Progress("ranking", len(pending), "video") as progress:
        for dtype in (np.float32, np.float64):
            blocks = np.array_split(pending, math.ceil(len(pending) / height)) if len(pending) else []
            left = []
            for rows, certain in zip(blocks, in_parallel(partial(settle, dtype=dtype), blocks), strict=True):
                left.append(rows[~certain])
                if certain.any():
                    progress.advance(int(certain.sum()))
            pending = np.concatenate(left) if left else pending
        for number in in_parallel(settle_ties, [pending[same] for same in equal_rows(features[pending])]):
            progress.advance(number)
    return Ranking(features, neighbours, distances, farthest)


def rank_approximately(features: np.ndarray, n: int) -> Ranking:
    """Rank the points around each point among those that a graph proposes: time grows with N log N, not with N².

    The graph (HNSW: Malkov and Yashunin, TPAMI 2020; the library is faiss) is searched for each point. It misses some
    neighbours, see docs/explanation/cci.md; the others stand in the exact order, with exact distances. The farthest
    point is sought among the OUTER points that are farthest from the mean. Points for which the graph finds fewer than
    n others are ranked exactly. One thread builds the graph: with several, it would be another one each time.

    Parameters
    ----------
    features, n
        As in :func:`rank`.

    Raises
    ------
    InputError
        faiss is not installed.
    """
    require_faiss()
    import faiss

    N, D = features.shape
    n = min(n, N)
    mean = features.mean(0)
    centred = np.ascontiguousarray(features - mean)
    graph = faiss.IndexHNSWFlat(D, LINKS)
    graph.hnsw.efConstruction, graph.hnsw.efSearch = BUILD, SEARCH
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    with Progress("linking", N, "video") as progress:
        for a in range(0, N, BLOCK):
            graph.add(centred[a : a + BLOCK])
            progress.advance(len(centred[a : a + BLOCK]))
    faiss.omp_set_num_threads(threads)
    squares = squared_lengths(features, mean)
    outer = np.argsort(-squares, kind="stable")[:OUTER]
    neighbours, distances, farthest = np.empty((N, n), np.int32), np.empty((N, n)), np.empty(N)
    unsettled = []
    with Progress("ranking", N, "video") as progress:
        for a in range(0, N, BLOCK):
            rows = np.arange(a, min(a + BLOCK, N))
            near = np.sort(graph.search(centred[rows], min(N, n + SLACK))[1], axis=1)  # by index; -1: there are no more
            crowded = (near != rows[:, None]).all(1)  # out of its own list, by equal points
            near[crowded, -1] = rows[crowded]
            unsettled.append(rows[near[:, 0] < 0])
            distance = pairs(features, np.repeat(rows, near.shape[1]), features, near.ravel()).reshape(near.shape)
            distance[near == rows[:, None]] = -1
            order = np.argsort(distance, axis=1, kind="stable")[:, :n]
            neighbours[rows] = np.take_along_axis(near, order, 1)
            distances[rows] = np.maximum(np.take_along_axis(distance, order, 1), 0)
            far = outer[(squares[outer].astype(np.float32) - 2 * (centred[rows] @ centred[outer].T)).argmax(1)]
            farthest[rows] = pairs(features, rows, features, far)
            progress.advance(len(rows))
    rest = np.concatenate(unsettled)
    if len(rest):
        exact = rank(features, n, rows=rest)
        neighbours[rest], distances[rest] = exact.neighbours[rest], exact.distances[rest]
    return Ranking(features, neighbours, distances, farthest)


def require_faiss() -> None:
    """Refuse to rank approximately without faiss."""
    if find_spec("faiss") is None:
        raise InputError("refine.ranking: approximate needs the library faiss: pip install 'feel-steps[faiss]'")


def pairs(x: np.ndarray, i: np.ndarray, y: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Squared distances of the pairs x[i], y[j] from float64 differences: zero for equals, and the same both ways."""
    out = np.empty(len(i))
    for a in range(0, len(i), 64):  # as many as stay in the cache
        difference = np.subtract(x[i[a : a + 64]], y[j[a : a + 64]], dtype=np.float64)
        out[a : a + 64] = _square(difference)
    return out


def squared_lengths(x: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """|x - mean|² of many rows [N, D], float64 [N]."""
    blocks = [x[a : a + 4096] for a in range(0, len(x), 4096)]
    return np.concatenate(list(in_parallel(lambda block: _square(np.subtract(block, mean, dtype=np.float64)), blocks)))


def rounding(D: int, dtype: type) -> float:
    """Error of a squared distance by a matrix product, relative to (|x| + |y|)².

    The probabilistic bound λ √D u of Higham & Mary (SIAM J. Sci. Comput. 2019) with λ = 8, which is far from sharp.
    """
    return (8 * math.sqrt(D) + 8) * float(np.finfo(dtype).eps) / 2


def equal_rows(x: np.ndarray) -> list[np.ndarray]:
    """Groups of equal rows of x [N, D], as indices, by the first of each."""
    rows = np.ascontiguousarray(x + 0.0).view(np.dtype((np.void, x.itemsize * x.shape[1]))).ravel()  # -0.0 is 0.0
    _, first, which = np.unique(rows, return_index=True, return_inverse=True)
    members = np.split(np.argsort(which, kind="stable"), np.cumsum(np.bincount(which, minlength=1))[:-1])
    return [members[group] for group in np.argsort(first)]


def in_parallel(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """``function`` of each item, in order, on as many threads as BLAS may use; each product then runs on one.

    So the bytes do not depend on the number of threads. A few items are in work at a time.
    """
    blas = _blas()
    threads: int = max([1, *(library["num_threads"] for library in blas.info())])
    if threads == 1:
        yield from map(function, items)
        return
    with blas.limit(limits=1), ThreadPoolExecutor(threads) as workers:
        for a in range(0, len(items), 8 * threads):
            yield from workers.map(function, items[a : a + 8 * threads])


def _cpu_product(features: np.ndarray, mean: np.ndarray) -> Product:
    """Give a function for tiles |y|² - 2 x·y of queries x [B, D] and others y [T, D] around the mean.

    Its arguments: the rows of x, the slice of y, |y|² [T], m and the dtype. It returns the m smallest of each query
    (index in the tile and value, [B, m]) and the largest (index and value, [B]).
    """

    def product(rows: np.ndarray, tile: slice, squares: np.ndarray, m: int, dtype: type) -> Proposal:
        x, y = (np.subtract(part, mean, dtype=dtype) for part in (features[rows], features[tile]))
        values = x @ y.T  # [B, T]
        values *= -2
        values += squares.astype(dtype)
        m = min(m, len(y))
        near = np.argpartition(values, m - 1, axis=1)[:, :m]
        far = values.argmax(1)
        return near, np.take_along_axis(values, near, 1), far, values[np.arange(len(far)), far]

    return product


def _device_product(features: np.ndarray, mean: np.ndarray, device: str) -> Product:
    """:func:`_cpu_product` in torch on a device."""
    import torch

    if torch.get_float32_matmul_precision() != "highest":
        raise ValueError("ranking needs true float32 products: torch.set_float32_matmul_precision('highest')")
    points, origin = torch.tensor(features, device=device), torch.tensor(mean, device=device)

    def product(rows: np.ndarray, tile: slice, squares: np.ndarray, m: int, dtype: type) -> Proposal:
        kind = torch.float32 if dtype == np.float32 else torch.float64
        parts = (points[torch.from_numpy(rows).to(device)], points[tile])
        x, y = (part.to(kind) - origin.to(kind) for part in parts)
        values = torch.addmm(torch.from_numpy(squares).to(device, kind), x, y.T, alpha=-2)  # [B, T]
        nearest, near = torch.topk(values, min(m, len(y)), dim=1, largest=False, sorted=False)
        far_value, far = values.max(1)
        return near.cpu().numpy(), nearest.cpu().numpy(), far.cpu().numpy(), far_value.cpu().numpy()

    return product


def _square(x: np.ndarray) -> np.ndarray:
    """|x|² of rows [B, D] of float64."""
    return np.einsum("bd,bd->b", x, x)


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")
