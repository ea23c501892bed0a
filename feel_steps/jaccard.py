"""CCI, clustering confidence improvement: k-reciprocal Jaccard distances between videos and cluster centres.

The definition is in docs/explanation/method.md. It takes ONE centre c and N videos, and never the other centres,

    N(i, k)   i itself and its k nearest
    R(i)      k1-reciprocal neighbours, H(j) the same for k1/2; X(i) = R(i) and each H(j), j in R(i), mostly inside R(i)
    V_i       exp(-D^_ij) over j in X(i), summing to 1; then the mean of V over the first k2 of i's ranking
    d*(c, i)  (1 - λ) d_J + λ D^_ci,  d_J = 1 - m / (2 - m),  m = Σ_j min(V_cj, V_ij)

with D the squared Euclidean distance and D^ each row of it by its own maximum. Exactly this is computed, faster:

1. The videos are ranked once (:mod:`feel_steps.ranking`). What is kept is each video's n nearest.
2. A centre that enters a video's list only pushes its last neighbour out. So R and H with the centre are the mutual
   neighbours of the videos, less those last in a list that the centre enters, plus the centre's own (:class:`_Mutual`).
3. d_J < 1 takes a common neighbour, so only videos that reach the support of V_c through R and H are encoded anew.

Ranking is by float64 differences wherever the order hangs on them; a point itself stands first, and of equally distant
points the centre goes before the videos, and these by index. A row of D that is all zero stays zero in D^.

After Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017, as FEEL (arXiv
2312.07384) applies it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from scipy import sparse

from feel_steps.errors import InputError
from feel_steps.ranking import Ranker, Ranking, equal_rows, in_parallel, pairs, rank, rounding, squared_lengths
from feel_steps.runtime.progress import Progress
from feel_steps.tables.kinds import Columns


def refined_distances(
    features: np.ndarray,
    centres: np.ndarray,
    *,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
    device: str | None = None,
) -> np.ndarray:
    """Refined distance d* of every video to every centre.

    Parameters
    ----------
    features : float32 [N, D]
        Pooled videos.
    centres : float32 [K, D]
    k1 : int
        Neighbours of the reciprocal sets.
    k2 : int
        First of the ranking whose encodings are averaged (local query expansion); 1 switches that off.
    lambda_value : float
        λ, the weight of the plain distance beside the Jaccard distance.
    device : str, optional
        Where to rank the videos: "cuda" for example; the CPU if absent. All the rest runs on the CPU.

    Returns
    -------
    float32 [K, N]

    Raises
    ------
    InputError
        A setting out of range, or features that are empty, not finite or of another dimension than the centres.
    """
    refiner = _Refiner(features, centres, k1, k2, lambda_value, partial(rank, device=device))
    distances = np.empty((len(centres), len(features)), np.float32)
    for same, (distance, _, _) in refiner:
        distances[same] = distance
    return distances


def refine(
    features: np.ndarray,
    centres: np.ndarray,
    *,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
    device: str | None = None,
    ranker: Ranker | None = None,
) -> Columns:
    """Assign every video to the centre that is nearest in the refined distance.

    The centres pass one by one: what is held is the winner and the runner-up of each video, never [K, N].

    Parameters
    ----------
    features, centres, k1, k2, lambda_value, device, ranker
        See :func:`refined_distances`; ``ranker`` ranks the videos: :func:`feel_steps.ranking.rank_approximately`, say.

    Returns
    -------
    dict of columns [N]
        ``cluster`` int32, the winner (of equally near ones the first); float64: ``distance`` d*, ``jaccard`` d_J and
        ``euclidean`` D^_ci to the winner, ``margin``, by how much the runner-up is farther (NaN where K = 1);
        ``second`` int32, the runner-up (-1 where K = 1).

    Raises
    ------
    InputError
        See :func:`refined_distances`.
    """
    refiner = _Refiner(features, centres, k1, k2, lambda_value, ranker or partial(rank, device=device))
    cluster, second = (np.full(len(features), -1, np.int32) for _ in range(2))
    best, jaccard, euclidean, next_best = (np.full(len(features), np.inf) for _ in range(4))
    with Progress("refining", len(centres), "centre") as progress:
        for same, (distance, own_jaccard, own_euclidean) in refiner:
            for centre in same:
                wins, closer = distance < best, distance < next_best
                second = np.where(wins, cluster, np.where(closer, centre, second)).astype(np.int32)
                next_best = np.where(wins, best, np.minimum(next_best, distance))
                best = np.where(wins, distance, best)
                cluster[wins], jaccard[wins], euclidean[wins] = centre, own_jaccard[wins], own_euclidean[wins]
            progress.advance(len(same))
    if empty := len(centres) - len(np.unique(cluster)):
        warnings.warn(f"{empty} of {len(centres)} refined clusters have no videos; they are kept, empty", stacklevel=2)
    margin = next_best - best if len(centres) > 1 else np.full(len(features), np.nan)
    distances = {"distance": best, "jaccard": jaccard, "euclidean": euclidean, "margin": margin}
    return {"cluster": cluster, **distances, "second": second}


def jaccard_distance(
    features: np.ndarray, *, k1: int = 20, k2: int = 6, device: str | None = None, dense: bool = True
) -> np.ndarray | sparse.csr_array:
    """k-reciprocal Jaccard distance d_J between all pairs, without centres: for re-identification, or for DBSCAN.

    Parameters
    ----------
    features, k1, k2, device
        See :func:`refined_distances`.
    dense : bool
        Whether to return the whole matrix; else only what is not at distance 1.

    Returns
    -------
    float32 [N, N]
        d_J; or, where not ``dense``, a CSR array of the similarities 1 - d_J, absent where they are zero.

    Raises
    ------
    InputError
        See :func:`refined_distances`.
    """
    features = _checked(features, features, k1, k2, 0.0)[0]
    n1, nh = _list_lengths(k1)
    ranking = rank(features, max(n1, k2), device)
    R, H = _Mutual(ranking, n1), _Mutual(ranking, nh)
    N = len(features)
    V = _encode(R.matrix(), H.matrix(), np.arange(N), _Known(ranking, R, H), ranking.farthest)
    first = ranking.neighbours[:, :k2]
    V = (_mean_of(first, N) @ V).tocsr()  # [N, N]
    V.sort_indices()
    VT = V.tocsc()
    blocks = [np.arange(a, min(a + 64, N)) for a in range(0, N, 64)]

    def distances(rows: np.ndarray) -> np.ndarray:
        """d_J of some videos to all, [B, N]."""
        block = V[rows]
        i = np.repeat(np.arange(len(rows)), np.diff(block.indptr))
        entry, place = _spread(VT.indptr, block.indices)  # all entries of column j, for each entry V_ij
        pair = i[place] * N + VT.indices[entry]
        m = np.bincount(pair, np.minimum(block.data[place], VT.data[entry]), minlength=len(rows) * N)
        return _jaccard(m.reshape(len(rows), N)).astype(np.float32)

    if dense:
        out = np.empty((N, N), np.float32)
        for rows, block in zip(blocks, in_parallel(distances, blocks), strict=True):
            out[rows] = block
        return out
    return sparse.vstack(list(in_parallel(lambda rows: sparse.csr_array(1 - distances(rows)), blocks)), "csr")


class _Mutual:
    """Mutual neighbours among the videos: pairs (i, j) within the first n of each other's lists."""

    def __init__(self, ranking: Ranking, n: int) -> None:
        lists = ranking.neighbours[:, :n]
        N, length = lists.shape
        ranks = np.tile(np.arange(1, length + 1, dtype=np.int32), N)  # counted from 1: zero is absent
        ahead = sparse.csr_array((ranks, lists.ravel(), np.arange(0, N * length + 1, length)), shape=(N, N))
        ahead.sort_indices()
        back = ahead.T.tocsr()
        mutual = ahead.multiply(back > 0).tocsr()
        self.n, self.indptr, self.j = n, mutual.indptr, mutual.indices
        self.i = np.repeat(np.arange(N, dtype=np.int32), np.diff(self.indptr))
        last_ahead, last_back = mutual.data == n, back.multiply(ahead > 0).tocsr().data == n
        # pairs that a centre can part: one is the last of the other's list
        self._loose = np.flatnonzero(last_ahead | last_back)
        self._ahead, self._back = last_ahead[self._loose], last_back[self._loose]

    def matrix(self) -> sparse.csr_array:
        """Reciprocal sets of the videos alone, as rows of ones [N, N]."""
        return _sets(self.j, self.indptr)

    def with_centre(self, place: np.ndarray, own: np.ndarray) -> sparse.csr_array:
        """Reciprocal sets with a centre as point N, as rows of ones [N + 1, N + 1].

        ``place`` [N] is the centre's rank in each video's list, ``own`` [≥ n - 1] are the centre's nearest videos.
        """
        N = len(place)
        entered = place < self.n
        i, j = self.i[self._loose], self.j[self._loose]
        kept = np.ones(len(self.i), bool)
        kept[self._loose] = ~(self._ahead & entered[i] | self._back & entered[j])
        own = np.sort(own[: self.n - 1])
        own = own[entered[own]]
        ends = np.concatenate([[0], np.cumsum(kept, dtype=np.int32)])[self.indptr]  # [N + 1]
        indices = np.insert(self.j[kept], ends[own + 1], N)  # the centre is the last of its neighbours' rows
        ends += np.searchsorted(own, np.arange(N + 1)).astype(np.int32)
        indices = np.concatenate([indices, own, [N]], dtype=np.int32)
        return _sets(indices, np.append(ends, np.int32(len(indices))))


class _Known:
    """Squared distances of the pairs of videos that a list or an expanded set can hold, computed once."""

    def __init__(self, ranking: Ranking, R: _Mutual, H: _Mutual) -> None:
        self._features, self._N = ranking.features, len(ranking.features)
        n = ranking.neighbours.shape[1]
        listed, first = np.unique(
            self._key(np.repeat(np.arange(self._N), n), ranking.neighbours.ravel()), return_index=True
        )
        expanded = (R.matrix() + R.matrix() @ H.matrix()).tocoo()
        new = np.setdiff1d(self._key(*expanded.coords), listed)
        chunks = np.array_split(new, math.ceil(len(new) / 4096)) if len(new) else []
        distances = list(in_parallel(self._compute, chunks))
        keys, values = np.append(listed, new), np.concatenate([ranking.distances.ravel()[first], *distances])
        order = np.argsort(keys)
        self._keys, self._values = keys[order], values[order]

    def _key(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        return np.minimum(i, j) * np.int64(self._N) + np.maximum(i, j)

    def _compute(self, keys: np.ndarray) -> np.ndarray:
        return pairs(self._features, keys // self._N, self._features, keys % self._N)

    def __call__(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Squared distances of pairs [P]; those that only a centre brings together are computed now."""
        keys = self._key(i, j)
        place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        distances, new = self._values[place], self._keys[place] != keys
        distances[new] = self._compute(keys[new])
        return distances


def _encode(
    R: sparse.csr_array,
    H: sparse.csr_array,
    rows: np.ndarray,
    distance: Callable[[np.ndarray, np.ndarray], np.ndarray],
    farthest: np.ndarray,
) -> sparse.csr_array:
    """V of some points: expand their reciprocal sets, weight them and let each sum to 1.

    Parameters
    ----------
    R, H : [P, P]
        Reciprocal sets of all P points for k1 and k1/2, rows of ones.
    rows : int [B]
        The points to encode.
    distance : callable
        Squared distances of pairs of points (i, j).
    farthest : float64 [P]

    Returns
    -------
    sparse [B, P]
    """
    own = R[rows]
    overlap = (own @ H).multiply(own).tocsr()  # |H(j) ∩ R(i)| for j in R(i), as H is symmetric
    overlap.data[:] = 3 * overlap.data > 2 * np.diff(H.indptr)[overlap.indices]  # mostly inside
    overlap.eliminate_zeros()
    expanded = (own + overlap @ H).tocsr()
    i = np.repeat(rows, np.diff(expanded.indptr))
    weight = np.exp(-_ratio(distance(i, expanded.indices), farthest[i]))
    total = np.add.reduceat(weight, expanded.indptr[:-1])  # every point is in its own set
    return sparse.csr_array(
        (weight / np.repeat(total, np.diff(expanded.indptr)), expanded.indices, expanded.indptr), shape=expanded.shape
    )


class _Refiner:
    """Insert the distinct centres, one at a time, into one ranking of the videos.

    Iterating gives, for each, the indices of the centre and its equals, and (d*, d_J, D^_ci), all [N].
    """

    def __init__(self, features: np.ndarray, centres: np.ndarray, k1: int, k2: int, weight: float, ranker: Ranker):
        self.features, self.centres = _checked(features, centres, k1, k2, weight)
        self.lambda_value = weight
        n1, nh = _list_lengths(k1)
        self.ranking = ranker(self.features, max(n1, k2))
        self.R, self.H = _Mutual(self.ranking, n1), _Mutual(self.ranking, nh)
        self.known = _Known(self.ranking, self.R, self.H)
        N = len(self.features)
        self.first = self.ranking.neighbours[:, :k2]  # [N, k2], or all N + 1 points where that is fewer
        if k2 > N:
            self.first = np.hstack([self.first, np.full((N, 1), N, np.int32)])
        self.mean = self.features.mean(0)
        self.lengths = np.sqrt(squared_lengths(self.features, self.mean))
        self.centre_lengths = np.sqrt(squared_lengths(self.centres, self.mean))

    def __iter__(self) -> Iterator[tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]]:
        equal = equal_rows(self.centres)
        step = max(1, 2**23 // len(self.features))  # centres whose distances to all videos are held at a time
        for a in range(0, len(equal), step):
            block = equal[a : a + step]
            centres = np.array([same[0] for same in block])
            work = list(zip(centres, self._distances(centres), strict=True))
            yield from zip(block, in_parallel(lambda item: self._insert(*item), work), strict=True)

    def _distances(self, block: np.ndarray) -> np.ndarray:
        """Squared distances of some centres to all videos, right up to the rounding of a float64 product; [B, N]."""
        x = np.subtract(self.centres[block], self.mean, dtype=np.float64)
        squares = self.centre_lengths[block, None] ** 2
        out = np.empty((len(block), len(self.features)))

        def fill(a: int) -> None:
            tile = slice(a, a + 2048)
            y = np.subtract(self.features[tile], self.mean, dtype=np.float64)
            out[:, tile] = np.maximum(squares + self.lengths[tile] ** 2 - 2 * (x @ y.T), 0)

        for _ in in_parallel(fill, range(0, len(self.features), 2048)):
            pass
        return out

    def _place(self, c: int, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rank of centre c in the list of each video [N], and the centre's own list of videos [n or more].

        Squared distances d [N] that are too close to another for the rounding are replaced by exact ones.
        """

        def measure(videos: np.ndarray) -> None:
            d[videos] = pairs(self.centres, np.full(len(videos), c), self.features, videos)

        error = rounding(self.features.shape[1], np.float64) * (self.centre_lengths[c] + self.lengths) ** 2
        listed = self.ranking.distances[:, 1:]
        place = 1 + (listed < (d - error)[:, None]).sum(1)
        unclear = np.flatnonzero(place != 1 + (listed <= (d + error)[:, None]).sum(1))
        measure(unclear)
        place[unclear] = 1 + (listed[unclear] < d[unclear, None]).sum(1)

        last = listed.shape[1]  # a list of n holds the centre itself and n - 1 videos
        own = np.flatnonzero(d <= np.partition(d, last)[last] + 2 * error.max())
        measure(own)
        return place, own[np.argsort(d[own], kind="stable")]

    def _insert(self, c: int, d: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Refine the distances of centre c, point N; d [N] are its squared distances to the videos."""
        N, width = self.first.shape
        place, own = self._place(c, d)
        R, H = self.R.with_centre(place, own), self.H.with_centre(place, own)
        farthest = np.append(np.maximum(self.ranking.farthest, d), d.max())

        def distance(i: np.ndarray, j: np.ndarray) -> np.ndarray:
            out = np.append(d, 0)[np.where(i == N, j, i)]
            videos = np.flatnonzero((i < N) & (j < N))
            out[videos] = self.known(i[videos], j[videos])
            return out

        of_centre = _encode(R, H, np.append(own[: width - 1], N), distance, farthest)
        v = np.bincount(of_centre.indices, of_centre.data / width, minlength=N + 1)  # V_c

        rows = np.flatnonzero(R @ (H @ (v > 0)))  # all whose expanded set can meet the support of V_c
        V = _encode(R, H, rows, distance, farthest)
        V.data[v[V.indices] == 0] = 0
        V.eliminate_zeros()
        ends = np.zeros(N + 2, np.int64)
        ends[rows + 1] = np.diff(V.indptr)
        V = sparse.csr_array((V.data, V.indices, np.cumsum(ends)), shape=(N + 1, N + 1))

        first = self.first.copy()
        first[place < width, -1] = N  # wherever: the mean has no order
        V = (_mean_of(first, N + 1) @ V).tocsr()
        video = np.repeat(np.arange(N), np.diff(V.indptr))
        m = np.bincount(video, np.minimum(V.data, v[V.indices]), minlength=N)
        jaccard, euclidean = _jaccard(m), _ratio(d, d.max())
        refined = (1 - self.lambda_value) * jaccard + self.lambda_value * euclidean
        return refined.astype(np.float32), jaccard, euclidean


def _checked(
    features: np.ndarray, centres: np.ndarray, k1: int, k2: int, lambda_value: float
) -> tuple[np.ndarray, np.ndarray]:
    """Features and centres as float32, with settings in range."""
    for name, value in {"k1": k1, "k2": k2}.items():
        if value < 1:
            raise InputError(f"{name}={value}: expected 1 or more")
    if not 0 <= lambda_value <= 1:
        raise InputError(f"lambda={lambda_value}: expected 0 … 1")
    checked = []
    for name, values in {"features": features, "centres": centres}.items():
        values = np.ascontiguousarray(values, np.float32)
        if values.ndim != 2 or not len(values):
            raise InputError(f"{name}: shape {values.shape}; expected at least one row of vectors")
        finite = np.isfinite(values).all(1)
        if not finite.all():
            raise InputError(f"{name}, row {int(np.argmin(finite))}: NaN or infinite; run the step that wrote it again")
        checked.append(values)
    if checked[0].shape[1] != checked[1].shape[1]:
        raise InputError(
            f"centres of dimension {checked[1].shape[1]} but features of dimension {checked[0].shape[1]}; "
            "cluster these features again"
        )
    return checked[0], checked[1]


def _list_lengths(k1: int) -> tuple[int, int]:
    """Lengths of N(i, k1) and N(i, round(k1/2)), i itself included; round is to even, as published."""
    return k1 + 1, round(k1 / 2) + 1


def _ratio(distance: np.ndarray, farthest: np.ndarray) -> np.ndarray:
    """D^: zero, not NaN, where the farthest point is at distance zero."""
    return distance / np.where(farthest > 0, farthest, 1)


def _jaccard(m: np.ndarray) -> np.ndarray:
    m = np.minimum(m, 1)  # 1 + 1e-16 would be a negative distance
    return 1 - m / (2 - m)


def _sets(indices: np.ndarray, indptr: np.ndarray) -> sparse.csr_array:
    """Sets of points, one a row, as a square sparse matrix of ones."""
    P = len(indptr) - 1
    return sparse.csr_array((np.ones(len(indices), np.int32), indices, indptr), shape=(P, P))


def _mean_of(lists: np.ndarray, points: int) -> sparse.csr_array:
    """Mean over lists of points [B, k], as a sparse matrix [B, points]."""
    B, k = lists.shape
    return sparse.csr_array((np.full(B * k, 1 / k), lists.ravel(), np.arange(0, B * k + 1, k)), shape=(B, points))


def _spread(indptr: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Entries indptr[j] … indptr[j + 1] of each j in ``index``, and for each of them its place in ``index``."""
    count = np.diff(indptr)[index]
    place = np.repeat(np.arange(len(index)), count)
    within = np.arange(len(place)) - np.repeat(np.cumsum(count) - count, count)
    return indptr[index][place] + within, place
