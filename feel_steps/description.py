"""Describe what is seen at each snippet, with what was learnt once from all videos (docs/explanation/parts.md).

What is learnt is small: principal components, means and deviations. So videos are described one at a time, however
many there are, and new videos are described as those of a run were.

Dimensions: S snippets in all, T snippets of a video, D features, d components, E numbers of a window.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.ndimage import uniform_filter1d

from feel_steps.pool import principal, roots, scale, spread, thin
from feel_steps.tables.snippets import Snippets

COMPONENTS = 64  # d
POSTURE, MOVING = 32, 16  # components whose mean describes a posture, and whose covariance a movement


@dataclass(frozen=True)
class Description:
    """How a snippet is described, by 64 numbers.

    Of family "network", by the first principal components of its features, which tell what is seen. Of family
    "motion", by the window around it: the mean of 32 components, which shows postures and places, and the square root
    of the covariance of 16, which shows movements, whatever their phase. Columns of both are standardized and their
    rows scaled to length 1, so that they count the same, and projected on principal components again.

    Attributes
    ----------
    family : {"motion", "network"}
    within : bool
        Whether each video's own mean, which shows who is seen, is taken off its features.
    axes, origin : float32 [D, d], float64 [d]
        Principal components of the features, and the mean along them.
    variance : float64 []
        Mean of |x - mean of x|², x being the description.
    mean, deviation : float64 [E]
        Of the columns of windows; "motion" only.
    window_axes, window_origin : float32 [E, d], float64 [d]
        Principal components of windows, and the mean along them; "motion" only.
    """

    family: str
    within: bool
    axes: np.ndarray
    origin: np.ndarray
    variance: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    window_axes: np.ndarray
    window_origin: np.ndarray

    @classmethod
    def fit(cls, snippets: Snippets, sizes: np.ndarray, family: str, within: bool = False) -> Self:
        """Learn from videos how to describe a snippet; of more than 10,000 snippets, from as many, evenly spaced.

        Parameters
        ----------
        snippets : Snippets
        sizes : int [V]
            Snippets of a window, in each video.
        family : {"motion", "network"}
        within : bool
        """

        def videos() -> Iterable[np.ndarray]:
            return (_less_mean(features) if within else features for features in snippets.each_video())

        S, D = snippets.features.shape
        directions, origin, variance = principal(thin(videos(), (S, D)), COMPONENTS if family == "network" else POSTURE)
        axes = directions.astype(np.float32)
        if family == "network":
            return cls(family, within, axes, origin, np.array(variance), *np.empty((4, 0)))
        d = len(origin)
        windows = (_windows(features @ axes - origin, size) for features, size in zip(videos(), sizes, strict=True))
        views = _views(thin(windows, (S, d + min(d, MOVING) ** 2), np.float64), d)
        mean, deviation = (np.concatenate(own) for own in zip(*map(spread, views), strict=True))
        directions, window_origin, variance = principal(_join(views, mean, deviation), COMPONENTS)
        of_windows = mean, deviation, directions.astype(np.float32), window_origin
        return cls(family, within, axes, origin, np.array(variance), *of_windows)

    def apply(self, features: np.ndarray, size: int) -> np.ndarray:
        """Describe the snippets of one video, float64 [T, d].

        Parameters
        ----------
        features : float32 [T, D]
        size : int
            Snippets of a window; of no effect for "network".
        """
        z = (_less_mean(features) if self.within else features) @ self.axes - self.origin
        if self.family == "network":
            return z
        views = _views(_windows(z, size), z.shape[1])
        return _join(views, self.mean, self.deviation) @ self.window_axes - self.window_origin

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What was learnt, by the names above."""
        return {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}


def _less_mean(features: np.ndarray) -> np.ndarray:
    return features - features.mean(0)


def _windows(z: np.ndarray, size: int) -> np.ndarray:
    """Mean [T, d] and covariance [T, m²] of components [T, d] around each snippet, side by side."""
    T, d = z.shape
    m = min(d, MOVING)
    windows = np.empty((T, d + m * m))
    windows[:, :d] = z
    covariances = windows[:, d:].reshape(T, m, m)  # a view
    np.multiply(z[:, :m, None], z[:, None, :m], out=covariances)
    uniform_filter1d(windows, size, axis=0, output=windows, mode="nearest")
    covariances -= windows[:, :m, None] * windows[:, None, :m]
    return windows


def _views(windows: np.ndarray, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Postures [T, d] and movements [T, m (m + 1) / 2]: the means, and the square roots of the covariances."""
    m = min(d, MOVING)
    return windows[:, :d], roots(windows[:, d:].reshape(-1, m, m))


def _join(views: tuple[np.ndarray, ...], mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Views standardized, of length 1, and side by side, float32 [T, E]."""
    edges = np.cumsum([0, *(view.shape[1] for view in views)])
    columns = [slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    scaled = [scale((view - mean[own]) / deviation[own]) for view, own in zip(views, columns, strict=True)]
    return np.concatenate(scaled, 1)
