"""Bring the streams of features to one scale: fitted on the training snippets, applied to all.

An extractor may give several streams side by side, such as two depths of a network: their numbers differ in range and
count. Each stream is projected on its principal components. Component i, of standard deviation s_i, is divided by √s_i:
strong components stay stronger, but by less. Then each stream is scaled so that its total variance is proportional to
its squared weight.

The features as extracted stay in the cache and in the raw parts, so a new weight needs no new extraction.
Dimensions: S snippets, D numbers before, d after.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from feel_steps.errors import InputError, hint
from feel_steps.features.contract import read_contract
from feel_steps.tables import tables
from feel_steps.tables.kinds import Columns
from feel_steps.tables.tables import runs

COMPONENTS = 128  # of a stream, at most
SMALLEST = 1e-5  # of the largest deviation; a component below it is rounding


def fit(
    parts: Sequence[str | Path], training: Iterable[str], *, weights: Mapping[str, float] | None = None
) -> tuple[Columns, dict[str, int]]:
    """Fit the scaling of the streams on the snippets of the training videos.

    Parameters
    ----------
    parts : paths of features tables
        As extracted; their metadata name the streams. Without any, all numbers are one stream.
    training : iterable of str
        Ids of the training videos.
    weights : mapping of str to float, optional
        Factor on the weight that the extractor gives a stream, by the stream's name or by the extractor's.

    Returns
    -------
    scaling : columns of a scaling table, D rows
    components : dict of str to int
        How many of each stream.

    Raises
    ------
    InputError
        A weight is of no stream, no training snippet is there, or all training snippets are equal.
    """
    contract = next(c for c in map(read_contract, parts) if "dimension" in c.made)
    streams = contract.streams
    factors = _factors(streams, weights or {})
    mean, blocks, n = _moments(parts, set(training), [size for size, _ in streams.values()])
    if not n:
        raise InputError(f"{Path(parts[0]).parent}: no snippet of a training video; extract again, or check the split")
    bases: dict[str, np.ndarray] = {}
    for (name, (_, weight)), covariance in zip(streams.items(), blocks, strict=True):
        bases[name] = factors[name] * weight * _components(covariance, name)
    d = {name: basis.shape[1] for name, basis in bases.items()}
    whole = np.zeros((len(mean), sum(d.values())))
    row = column = 0
    for basis in bases.values():
        whole[row : row + len(basis), column : column + basis.shape[1]] = basis
        row, column = row + len(basis), column + basis.shape[1]
    # a number is 1 in size on average, which suits a localizer's first layer
    whole *= np.sqrt(whole.shape[1] / sum((factors[name] * weight) ** 2 for name, (_, weight) in streams.items()))
    names = [name for name, (size, _) in streams.items() for _ in range(size)]
    return {"stream": np.array(names, object), "mean": mean.astype(np.float32), "basis": whole.astype(np.float32)}, d


def _factors(streams: Mapping[str, tuple[int, float]], weights: Mapping[str, float]) -> dict[str, float]:
    """The factor of each stream: of its own name, or of the extractor that stands before it, ``frames: head``."""
    known = {*streams, *(name.partition(": ")[0] for name in streams)}
    if unknown := [name for name in weights if name not in known]:
        raise InputError(f"weights: there is no stream '{unknown[0]}'; {hint(unknown[0], sorted(known))}")
    for name, weight in weights.items():
        if not isinstance(weight, int | float) or not weight > 0:
            raise InputError(f"weights: that of '{name}' is {weight!r}; expected a number above 0")
    return {name: float(weights.get(name, weights.get(name.partition(": ")[0], 1.0))) for name in streams}


def _moments(
    parts: Sequence[str | Path], training: set[str], sizes: Sequence[int]
) -> tuple[np.ndarray, list[np.ndarray], int]:
    """Mean [D] of the training snippets, covariance [D_s, D_s] of each stream, and their number; float64."""
    edges = np.cumsum([0, *sizes])
    total, n = np.zeros(edges[-1]), 0
    blocks = [np.zeros((size, size)) for size in sizes]
    shift: np.ndarray | None = None  # about the mean, so that nothing cancels
    for features in _snippets(parts, training):
        shift = features.mean(0, np.float64) if shift is None else shift
        x = features - shift
        total, n = total + x.sum(0), n + len(x)
        for block, a, b in zip(blocks, edges[:-1], edges[1:], strict=True):
            block += x[:, a:b].T @ x[:, a:b]
    if shift is None:
        return total, blocks, 0
    mean = total / n
    pairs = zip(blocks, edges[:-1], edges[1:], strict=True)
    return shift + mean, [block / n - np.outer(mean[a:b], mean[a:b]) for block, a, b in pairs], n


def _snippets(parts: Sequence[str | Path], training: set[str]) -> Iterator[np.ndarray]:
    """Features [T, D] of the training videos, one video or a piece of one at a time."""
    for part in parts:
        for table in tables.stream(part, "features"):
            for video_id, start, stop in runs(table["video_id"]):
                if video_id in training:
                    yield table["feature"][start:stop]


def _components(covariance: np.ndarray, name: str) -> np.ndarray:
    """Basis [D, d] of principal components, each over the root of its deviation; their total variance is 1."""
    variance, vectors = np.linalg.eigh(covariance)
    deviation = np.sqrt(np.maximum(variance, 0))[::-1][:COMPONENTS]
    if not deviation[0] > 0:
        raise InputError(f"stream '{name}': the same numbers in all training snippets; leave this stream out")
    kept = deviation > SMALLEST * deviation[0]
    deviation, vectors = deviation[kept], vectors[:, ::-1][:, :COMPONENTS][:, kept]
    largest = np.abs(vectors).argmax(0)
    vectors = vectors * np.sign(vectors[largest, np.arange(len(largest))])  # the sign of a component is arbitrary
    return vectors / np.sqrt(deviation * deviation.sum())  # component i has the variance s_i / Σ s


def scale(features: np.ndarray, scaling: Columns) -> np.ndarray:
    """Features [S, D] as the localizer and the views see them, float32 [S, d].

    Raises
    ------
    InputError
        The scaling is of features of another dimension.
    """
    if features.shape[1] != len(scaling["mean"]):
        raise InputError(
            f"scaling table: of features of dimension {len(scaling['mean'])}, but these have {features.shape[1]}; "
            "run the scale step again"
        )
    return (features - scaling["mean"]) @ scaling["basis"]


def scale_part(part: str | Path, out: str | Path, scaling: Columns, components: Mapping[str, int]) -> None:
    """Write the features of a part scaled; its contract stays, and also says how many components each stream has."""
    about = {key: value for key, value in tables.read_metadata(part).items() if not key.startswith("feel.")}
    about["scaled"] = json.dumps(dict(components))
    with tables.write_features(out, metadata=about) as writer:
        for table in tables.stream(part, "features"):
            for video_id, start, stop in runs(table["video_id"]):
                writer.add(video_id, scale(table["feature"][start:stop], scaling))
