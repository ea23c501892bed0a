"""Snippet features without a network: what moves, how, and what it looks like, as histograms of orientations.

Four histograms of a window's frames: of optical flow (HOF), of the derivatives of its x and of its y component (motion
boundaries, MBH; Dalal, Triggs and Schmid, ECCV 2006; Wang et al., IJCV 2013), and of grey-value gradients (HOG) where
something moves. To find one action again at another place, size and pace and before another background:

- camera motion, an affine flow fitted robustly to each frame, is subtracted, and so is each point's mean flow over one
  window, which leaves what goes back and forth; what stays below the flow's own noise counts as still;
- the grid of cells lies on what moves: its centre is the centroid of the flow, its size the spread;
- a histogram and its mirror image are added, so that the right hand's wave and the left hand's are one;
- each of the four histograms is scaled by its sum and rooted (Hellinger), so that none outweighs the others; little
  motion gives a short vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
from scipy.ndimage import uniform_filter1d

from feel_steps.dataset.video_file import read_frames
from feel_steps.dataset.videos import Video
from feel_steps.errors import InputError
from feel_steps.features.flow import FLOWS, flow_between
from feel_steps.features.windows import windows

CELL = 8  # pixels of a picture along a cell's side
STILL = 0.3  # pixels per frame; the flow's noise
CHUNK = 64  # frames decoded at once

# the four histograms
HOF, MBH_X, MBH_Y, HOG = range(4)
# a gradient of grey values has no sign: bright may be dark elsewhere
FULL_TURN = (2 * np.pi, 2 * np.pi, 2 * np.pi, np.pi)
NOISE = np.array([200, 100, 100, 1000], np.float32)  # sum over a window below which a histogram tells little
WEIGHT = 4 * np.array([1, 1, 1, 0.75], np.float32)  # vectors about as long as those of I3D: localizers train alike

SPREAD = 1.5  # half of the grid's side, in standard deviations of what moves
MIN_RADIUS = 2.0  # cells


class Descriptors:
    """HOG, HOF and MBH over a grid that lies on what moves.

    Parameters
    ----------
    fps : float
        Frames per second that videos are read at.
    window, stride : int
        Frames of a snippet, and from the start of one to the next.
    short_side : int
        Pixels of the pictures' shorter side.
    flow : {"dis", "tvl1"}
        Optical flow.
    grid : int
        Cells along each side of the grid.
    bins : int
        Orientations, an even number.
    dimension : int, optional
        Project the features to that many numbers, which keeps distances about as they are. Default: as many as there
        are, ``7 * bins * grid * ((grid + 1) // 2)``.
    """

    view_family = "motion"

    def __init__(
        self,
        *,
        fps: float,
        window: int,
        stride: int,
        short_side: int = 120,
        flow: str = "dis",
        grid: int = 4,
        bins: int = 8,
        dimension: int | None = None,
    ) -> None:
        if bins < 2 or bins % 2:
            raise InputError(
                f"features.descriptors.bins: {bins}; expected an even number, since histograms are mirrored"
            )
        if flow not in FLOWS:
            raise InputError(f"features.descriptors.flow: '{flow}'; expected one of {', '.join(FLOWS)}")
        self.fps, self.window, self.stride = fps, window, stride
        self.short_side, self.flow, self.grid, self.bins = short_side, flow, grid, bins
        natural = grid * ((grid + 1) // 2) * bins * 7  # mirrored: half of the columns; three histograms of two halves
        if dimension is not None and not 0 < dimension <= natural:
            raise InputError(
                f"features.descriptors.dimension: {dimension}; there are {natural}: expected 1 to that, or more cells"
            )
        self.dimension = dimension or natural
        self.projection = None if self.dimension == natural else _orthonormal(natural, self.dimension)
        cv2.setNumThreads(1)  # parts run beside each other, and the flow depends on the number of threads
        self.settings: dict[str, Any] = {
            "short_side": short_side,
            "flow": flow,
            "grid": grid,
            "bins": bins,
            "dimension": self.dimension,
        }

    def extract(self, video: Video, advance: Callable[[int], None]) -> np.ndarray:
        """Describe each window of a video.

        Parameters
        ----------
        video : Video
        advance : callable
            Told the number of frames that have been read.

        Returns
        -------
        float32 [T, D]

        Raises
        ------
        VideoError
            The video does not decode.
        """
        features = [np.zeros((0, self.dimension), np.float32)]
        cells = ([part] for part in self._cells(video, advance))
        features += [self._describe(own) for (own,) in windows(cells, self.window, self.stride)]
        return np.concatenate(features)

    def _cells(self, video: Video, advance: Callable[[int], None]) -> Iterator[np.ndarray]:
        """Give each frame's histograms in cells, a chunk at a time: float32 [B, Y, X, 4, bins]."""
        for grey, flow in self._steady(video, advance):
            uy, ux = np.gradient(flow[..., 0], axis=(1, 2))
            vy, vx = np.gradient(flow[..., 1], axis=(1, 2))
            gy, gx = np.gradient(grey.astype(np.float32), axis=(1, 2))
            pairs = (flow[..., 0], flow[..., 1]), (ux, uy), (vx, vy), (gx, gy)
            yield np.stack(
                [orientations(dx, dy, self.bins, turn) for (dx, dy), turn in zip(pairs, FULL_TURN, strict=True)], axis=3
            )

    def _steady(self, video: Video, advance: Callable[[int], None]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Give pictures [B, h, w] and the flow that led to them [B, h, w, 2] without camera and steady motion.

        Both are at half the pictures' size; the flow is in pixels of the whole.
        """
        assert video.path is not None
        margin = max(1, self.window // 2)  # frames on either side of the one whose mean flow is taken
        last: np.ndarray | None = None
        greys = flows = np.zeros(0)
        begin = 0  # of what has not been given yet
        pictures = read_frames(
            video.path, fps=self.fps, short_side=self.short_side, n_frames=video.n_frames, pixels="gray", chunk=CHUNK
        )
        for chunk in pictures:
            flow = flow_between(np.concatenate([chunk[:1] if last is None else last, chunk]), self.flow)
            size = (chunk.shape[2] // 2, chunk.shape[1] // 2)
            grey = np.stack([cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in chunk])
            flow = np.stack([cv2.resize(field, size, interpolation=cv2.INTER_AREA) for field in flow])
            flow -= camera_motion(flow)
            greys, flows = (
                (grey, flow) if last is None else (np.concatenate([greys, grey]), np.concatenate([flows, flow]))
            )
            last = chunk[-1:]
            advance(len(chunk))
            end = len(flows) - margin
            if end > begin:
                yield greys[begin:end], oscillation(flows, margin)[begin:end]
                drop = max(0, end - margin)
                greys, flows, begin = greys[drop:], flows[drop:], end - drop
        yield greys[begin:], oscillation(flows, margin)[begin:]

    def _describe(self, cells: np.ndarray) -> np.ndarray:
        """Describe windows of cell histograms [T, window, Y, X, 4, bins] as [T, D]."""
        T, window, Y, X, _, bins = cells.shape
        halves = np.stack([cells[:, : window // 2].sum(1), cells[:, window // 2 :].sum(1)], 1)  # [T, 2, Y, X, 4, bins]
        energy = halves[..., HOF, :].sum((1, -1))  # [T, Y, X]
        halves[..., HOG, :] *= (energy / (energy.max((1, 2), keepdims=True) + 1e-6))[:, None, :, :, None]
        rows, columns = place_grid(energy, self.grid)  # [T, grid, Y], [T, grid, X]
        pooled = rows[:, None] @ halves.reshape(T, 2, Y, -1)  # [T, 2, grid, X * 4 * bins]
        pooled = columns[:, None, None] @ pooled.reshape(T, 2, self.grid, X, -1)  # [T, 2, grid, grid, 4 * bins]
        pooled = pooled.reshape(T, 2, self.grid, self.grid, 4, bins)
        pooled = (pooled + mirror(pooled))[:, :, :, : (self.grid + 1) // 2]
        motion, look = pooled[..., :HOG, :], pooled[..., HOG:, :].sum(1, keepdims=True)
        features = np.concatenate(
            [_rooted(motion, slice(HOF, HOG)).reshape(T, -1), _rooted(look, slice(HOG, None)).reshape(T, -1)], axis=1
        )
        return features if self.projection is None else features @ self.projection


def _rooted(histograms: np.ndarray, which: slice) -> np.ndarray:
    """Scale each kind of histogram [T, halves, rows, columns, kinds, bins] by its sum, and take the root."""
    total = histograms.sum((1, 2, 3, 5), keepdims=True)
    shape = (1, 1, 1, 1, -1, 1)
    return np.sqrt(histograms / (total + NOISE[which].reshape(shape))) * WEIGHT[which].reshape(shape)


def mirror(histograms: np.ndarray) -> np.ndarray:
    """Histograms [..., columns, 4, bins] of the scene seen in a mirror.

    x changes its sign in the flow and in gradients, and so not in the x derivative of the flow's x component.
    """
    bins = histograms.shape[-1]
    turned, flipped = (bins // 2 - np.arange(bins)) % bins, -np.arange(bins) % bins
    kinds = np.arange(4)[:, None]
    return histograms[..., ::-1, :, :][..., kinds, np.stack([turned, flipped, turned, flipped])]


def orientations(dx: np.ndarray, dy: np.ndarray, bins: int, full_turn: float) -> np.ndarray:
    """Histogram of the vectors' orientations in each cell, weighted by length, shared by the two nearest bins.

    Parameters
    ----------
    dx, dy : float32 [B, h, w]
        A cell has CELL / 2 of these rows and columns.
    bins : int
        Bin b is centred at ``b * full_turn / bins``.
    full_turn : float
        Radians; orientations are taken modulo this.

    Returns
    -------
    float32 [B, Y, X, bins]
    """
    B, h, w = dx.shape
    Y, X = _cells_of(h, w)
    length, angle = cv2.cartToPolar(np.ascontiguousarray(dx.reshape(-1, w)), np.ascontiguousarray(dy.reshape(-1, w)))
    moving = np.flatnonzero(length)  # most of a flow is still
    length, position = length.ravel()[moving], angle.ravel()[moving] * (bins / full_turn)
    lower = position.astype(np.int64)
    share = (position - lower) * length
    cell = (np.arange(h) * Y // h)[:, None] * X + np.arange(w) * X // w  # [h, w]
    start = ((moving // (h * w)) * (Y * X) + cell.ravel()[moving % (h * w)]) * bins
    n = B * Y * X * bins
    histogram = np.bincount(start + lower % bins, length - share, n) + np.bincount(start + (lower + 1) % bins, share, n)
    return histogram.reshape(B, Y, X, bins).astype(np.float32)


def _cells_of(h: int, w: int) -> tuple[int, int]:
    """Rows and columns of cells in a field at half the picture's size."""
    return max(1, round(2 * h / CELL)), max(1, round(2 * w / CELL))


def camera_motion(flow: np.ndarray, steps: int = 4) -> np.ndarray:
    """Fit an affine field to each frame's flow, by least squares reweighted so that what moves by itself hardly counts.

    Parameters
    ----------
    flow : float32 [B, h, w, 2]
    steps : int
        Reweightings.

    Returns
    -------
    float32 [B, h, w, 2]
    """
    B, h, w, _ = flow.shape
    Y, X = _cells_of(h, w)
    means = np.stack([cv2.resize(field, (X, Y), interpolation=cv2.INTER_AREA) for field in flow]).reshape(B, -1, 2)
    points = _affine_basis(Y, X)  # [P, 3]
    error = np.linalg.norm(means - np.median(means, axis=1, keepdims=True), axis=-1)  # [B, P]
    for _ in range(steps):
        scale = 1.5 * (np.median(error, axis=1, keepdims=True) + 0.05)
        weight = 1 / (1 + (error / scale) ** 2) ** 2  # Geman and McClure
        weighted = weight[:, :, None] * points  # [B, P, 3]
        normal = weighted.transpose(0, 2, 1) @ points + 1e-3 * np.eye(3)
        fit = np.linalg.solve(normal, weighted.transpose(0, 2, 1) @ means)  # [B, 3, 2]
        error = np.linalg.norm(means - points @ fit, axis=-1)
    return (_affine_basis(h, w) @ fit).reshape(B, h, w, 2).astype(np.float32)


def _affine_basis(rows: int, columns: int) -> np.ndarray:
    """The functions 1, x and y, from -1 to 1 across the picture, at the centre of each cell: [rows * columns, 3]."""
    y = (np.arange(rows) + 0.5) / rows * 2 - 1
    x = (np.arange(columns) + 0.5) / columns * 2 - 1
    return np.stack([np.ones(rows * columns), np.tile(x, rows), np.repeat(y, columns)], axis=1)


def oscillation(flow: np.ndarray, margin: int) -> np.ndarray:
    """Flow [B, h, w, 2] less its mean over ``margin`` frames before and after, shortened by the noise."""
    flow = flow - uniform_filter1d(flow, 2 * margin + 1, axis=0, mode="nearest")
    length = np.hypot(flow[..., :1], flow[..., 1:])
    return flow * (1 - STILL / np.maximum(length, STILL))


def place_grid(energy: np.ndarray, grid: int) -> tuple[np.ndarray, np.ndarray]:
    """Lay a square grid on what moves most: how much each row and column of cells counts in each of the grid's.

    Parameters
    ----------
    energy : float32 [T, Y, X]
        Motion in each cell.
    grid : int
        Cells along the grid's side; neighbours overlap by half (linear interpolation).

    Returns
    -------
    rows, columns : float32 [T, grid, Y], [T, grid, X]
    """
    above = np.maximum(energy - energy.mean((1, 2), keepdims=True), 0) ** 3 + 1e-6  # one mover, not several and noise
    above /= above.sum((1, 2), keepdims=True)
    y, vertical = _spread(above.sum(2))
    x, horizontal = _spread(above.sum(1))
    radius = np.maximum(SPREAD * np.sqrt(vertical * horizontal), MIN_RADIUS)

    def overlap(centre: np.ndarray, cells: int) -> np.ndarray:
        position = (np.arange(cells) + 0.5 - (centre - radius)[:, None]) / (
            2 * radius[:, None]
        ) * grid - 0.5  # [T, cells]
        return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(grid)[:, None])).astype(np.float32)

    return overlap(y, energy.shape[1]), overlap(x, energy.shape[2])


def _spread(share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the positions of cells that have these shares [T, cells]."""
    position = np.arange(share.shape[1]) + 0.5
    mean = share @ position
    return mean, np.sqrt((share * (position - mean[:, None]) ** 2).sum(1))


def _orthonormal(n: int, dimension: int) -> np.ndarray:
    """Projection [n, dimension] onto orthogonal directions drawn from a fixed seed, lengths kept on average."""
    gaussian = np.random.default_rng(0).standard_normal((n, dimension))
    return (np.linalg.qr(gaussian)[0] * np.sqrt(n / dimension)).astype(np.float32)
