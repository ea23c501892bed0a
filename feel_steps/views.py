"""Views: what of a video's snippets is compared when videos are clustered. Ours, not the paper's.

The mean over a video's snippets mostly shows who is seen, and where. These views drop that. With z_t the first d
principal components of snippet t (fitted on the training snippets), p_t its weight (1 / T, or its share of the
actionness), m = Σ p_t z_t the weighted mean of the video and C_0 = Σ p_t (z_t - m)(z_t - m)ᵀ its covariance:

    second     S = C_0^(1/2), upper triangle: which movements occur
    lag        A = (C_1 - C_1ᵀ) / 2 with C_1 the covariance of z_t and z_(t+1), strict upper triangle, signed square
               root of each entry: in which direction movements go
    whitened   (m - mean of m) (C_w + 0.01 tr(C_w) / d I)^(-1/2) with C_w the mean of C_0 over the videos: what varies
               within videos is damped, what tells them apart stays

Dimensions: N videos, S snippets in all, D features, d components.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import eigh

from feel_steps.snippets import Snippets

COMPONENTS = {"second": 32, "lag": 32, "whitened": 64}  # d
RIDGE = 0.01  # of the mean variance within videos, added to C_w
FITTED = 10_000  # snippets, evenly spaced, that the principal components are fitted on at most
COMPARED = 2000  # videos whose pairs are compared
CHUNK = 8192  # snippets whose outer products are in memory at once


def describe(snippets: Snippets, views: Sequence[str], weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Describe each video by some views.

    Parameters
    ----------
    snippets : Snippets
        Of the training videos, each with one snippet or more.
    views : sequence of {"second", "lag", "whitened"}
    weights : float64 [S], optional
        Weight of each snippet, above 0; equal ones if absent.

    Returns
    -------
    dict of view to float32 [N, E]
        Every row of length 1 (or 0). E = d (d + 1) / 2 for "second", d (d - 1) / 2 for "lag", d for "whitened".
    """
    z = project(snippets.features, max(COMPONENTS[view] for view in views))
    shares = _shares(snippets, weights)
    return {view: scale(_describe(z[:, : COMPONENTS[view]], shares, snippets, view)) for view in views}


def _describe(z: np.ndarray, shares: np.ndarray, snippets: Snippets, view: str) -> np.ndarray:
    mean = np.add.reduceat(z * shares[:, None], snippets.offsets[:-1], axis=0)  # [N, d]
    centred = z - np.repeat(mean, snippets.lengths, axis=0)
    if view == "whitened":
        return _whitened(mean, _covariances(centred, shares, snippets, 0).mean(0))
    if view == "lag":
        return standardize(_directions(_covariances(centred, shares, snippets, 1)))
    return standardize(_roots(_covariances(centred, shares, snippets, 0)))


def likeness(first: np.ndarray, second: np.ndarray) -> float:
    """How much two views agree on which videos are alike: correlation of their scalar products over pairs of videos.

    Parameters
    ----------
    first, second : float32 [N, E], [N, F]
        Rows of length 1. Beyond 2,000 videos, as many are taken, evenly spaced.

    Returns
    -------
    float
        -1 to 1; 0 where fewer than three videos leave nothing to compare.
    """
    step = max(1, -(-len(first) // COMPARED))
    first, second = first[::step], second[::step]
    pairs = np.triu_indices(len(first), 1)
    a, b = ((view @ view.T)[pairs].astype(np.float64) for view in (first, second))
    spread = a.std() * b.std() if len(a) > 1 else 0.0
    return float(((a - a.mean()) * (b - b.mean())).mean() / spread) if spread > 0 else 0.0


def project(features: np.ndarray, components: int) -> np.ndarray:
    """Principal components of the features [S, D], largest first, float64 [S, d]; d is D where that is less.

    The largest entry of each direction is positive, so that signs do not depend on the solver.
    """
    fitted = features[:: max(1, -(-len(features) // FITTED))]
    mean = fitted.mean(0, dtype=np.float64)
    fitted = fitted - mean.astype(np.float32)
    D = fitted.shape[1]
    d = min(components, D)
    scatter = (fitted.T @ fitted).astype(np.float64)
    directions = eigh(scatter, subset_by_index=(D - d, D - 1))[1][:, ::-1]  # [D, d]
    directions = directions * np.sign(directions[np.abs(directions).argmax(0), np.arange(d)])
    return features @ directions.astype(np.float32) - mean @ directions


def standardize(vectors: np.ndarray) -> np.ndarray:
    """Columns [N, E] with mean 0 and standard deviation 1 over the videos; constant ones 0."""
    centred = vectors - vectors.mean(0)
    deviation = centred.std(0)
    return centred / np.where(deviation > 1e-9 * np.abs(vectors).max(0, initial=0), deviation, np.inf)


def scale(vectors: np.ndarray) -> np.ndarray:
    """Rows [N, E] of length 1; zero vectors stay zero."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(length > 0, length, 1)).astype(np.float32)


def _shares(snippets: Snippets, weights: np.ndarray | None) -> np.ndarray:
    """p_t [S]: the weights, summing to 1 in each video."""
    lengths = snippets.lengths
    if weights is None:
        return np.repeat(1 / lengths, lengths)
    return weights / np.repeat(np.add.reduceat(weights, snippets.offsets[:-1]), lengths)


def _covariances(centred: np.ndarray, shares: np.ndarray, snippets: Snippets, lag: int) -> np.ndarray:
    """Σ_t p_t x_t x_(t+lag)ᵀ of each video, for centred x [S, d]; float64 [N, d, d], zero where T ≤ lag.

    With a lag, p_t is the geometric mean of the two snippets' shares, summing to 1 over the pairs of a video.
    """
    S, d = centred.shape
    N = len(snippets.lengths)
    video = np.repeat(np.arange(N), snippets.lengths)
    first = np.flatnonzero(video[: S - lag] == video[lag:])  # pairs within one video
    p = np.sqrt(shares[first] * shares[first + lag])
    p /= np.bincount(video[first], p, minlength=N)[video[first]]
    total = np.zeros((N, d, d))
    for start in range(0, len(first), CHUNK):
        t = first[start : start + CHUNK]
        products = (centred[t] * p[start : start + CHUNK, None])[:, :, None] * centred[t + lag][:, None, :]
        videos, starts = np.unique(video[t], return_index=True)
        total[videos] += np.add.reduceat(products, starts, axis=0)
    return total


def _roots(covariances: np.ndarray) -> np.ndarray:
    """Upper triangles of the symmetric square roots of [N, d, d]."""
    values, vectors = np.linalg.eigh(covariances)
    roots = (vectors * np.sqrt(values.clip(0))[:, None, :]) @ vectors.transpose(0, 2, 1)
    return roots[:, *np.triu_indices(roots.shape[1])]


def _directions(covariances: np.ndarray) -> np.ndarray:
    """Strict upper triangles of the antisymmetric parts of [N, d, d], signed square root of each entry."""
    turning = (covariances - covariances.transpose(0, 2, 1))[:, *np.triu_indices(covariances.shape[1], 1)] / 2
    return np.sign(turning) * np.sqrt(np.abs(turning))


def _whitened(mean: np.ndarray, within: np.ndarray) -> np.ndarray:
    """Means [N, d] less their mean, times the inverse square root of what varies within videos [d, d]."""
    d = len(within)
    ridge = RIDGE * np.trace(within) / d
    values, vectors = np.linalg.eigh(within + max(ridge, np.finfo(float).tiny) * np.eye(d))
    return (mean - mean.mean(0)) @ (vectors / np.sqrt(values)) @ vectors.T
