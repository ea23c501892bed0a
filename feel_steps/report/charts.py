"""Lays out small charts for SVG. The page's style sheet gives the colours, so charts follow light and dark mode.

Plotly would add a script of 4.8 MB, with which the page takes seconds to open.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

WIDTH, HEIGHT = 420, 210
LEFT, TOP, BOTTOM = 42, 14, 34  # space for tick labels
NAMES = 84  # space for the names of the series
LABEL_GAP = 14.0


@dataclass(frozen=True)
class Series:
    """One line: x and y [n], and ``spread`` [n], the standard deviation of y."""

    name: str
    x: np.ndarray
    y: np.ndarray
    spread: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def over(cls, name: str, rows: pd.DataFrame, axis: str) -> Series:
        """Mean and standard deviation of ``rows["value"]`` for each value of a column."""
        groups = rows.groupby(axis)["value"]
        mean, spread = groups.mean(), groups.std(ddof=1).fillna(0.0)
        return cls(name, mean.index.to_numpy(float), mean.to_numpy(float), spread.to_numpy(float))


def nice_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Ticks from low to high, in steps of 1, 2 or 5 times a power of ten."""
    if high <= low:
        high = low + (abs(low) or 1.0)
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def spread_labels(wanted: list[float], low: float, high: float) -> list[float]:
    """Move labels apart, in their order, by :data:`LABEL_GAP` or as far as they fit between low and high."""
    gap = min(LABEL_GAP, (high - low) / max(1, len(wanted) - 1))
    order = np.argsort(wanted, kind="stable")
    places, floor, ceiling = np.array(wanted, float), low, high
    for index in order:
        places[index] = max(places[index], floor)
        floor = places[index] + gap
    for index in order[::-1]:
        places[index] = min(places[index], ceiling)
        ceiling = places[index] - gap
    return places.tolist()


def line_chart(
    title: str,
    x_label: str,
    series: list[Series],
    *,
    percent: bool = False,
    unit: bool = False,
    dots: bool = True,
    names: bool = True,
) -> dict | None:
    """Lay out a chart; the page's template draws it.

    Parameters
    ----------
    title, x_label : str
    series : list of Series
        Series without points are left out.
    percent : bool
        Write values as percentages.
    unit : bool
        The values are between 0 and 1: the axis starts at 0 and ends at most at 1.
    dots : bool
        Mark each point, with its value as a tooltip.
    names : bool
        Write the name of each series at the end of its line; otherwise the template lists them.

    Returns
    -------
    dict or None
        Coordinates in pixels of the SVG; None if there is no point.
    """
    series = [one for one in series if len(one.x)]
    if not series:
        return None
    xs, ys = np.concatenate([one.x for one in series]), np.concatenate([one.y for one in series])
    right = WIDTH - (NAMES if names and any(one.name for one in series) else 12)
    spreads = np.concatenate([one.spread if len(one.spread) and not unit else 0 * one.y for one in series])
    low, high = float((ys - spreads).min()), float((ys + spreads).max())
    ticks = nice_ticks(min(0.0, low) if unit else low, max(high, 0.1) if unit else high)
    x_low, x_high = float(xs.min()), float(xs.max())
    x_ticks = sorted(set(xs.tolist())) if dots and len(set(xs.tolist())) <= 10 else nice_ticks(x_low, x_high)
    x_ticks = [tick for tick in x_ticks if x_low <= tick <= x_high] or [x_low]

    def at_x(value: float) -> float:
        middle = (LEFT + right) / 2
        return round(LEFT + (value - x_low) / (x_high - x_low) * (right - LEFT), 1) if x_high > x_low else middle

    def at_y(value: float) -> float:
        return round(HEIGHT - BOTTOM - (value - ticks[0]) / (ticks[-1] - ticks[0]) * (HEIGHT - BOTTOM - TOP), 1)

    def write(value: float) -> str:
        return f"{value:.0%}" if percent else f"{value:.3g}"

    lines = []
    ends = spread_labels([at_y(float(one.y[-1])) for one in series], TOP, HEIGHT - BOTTOM)
    for index, (one, end) in enumerate(zip(series, ends, strict=True)):
        points = [(at_x(x), at_y(y)) for x, y in zip(one.x.tolist(), one.y.tolist(), strict=True)]
        spread = one.spread if len(one.spread) else np.zeros(len(one.y))
        upper = [(at_x(x), at_y(min(y, ticks[-1]))) for x, y in zip(one.x, one.y + spread, strict=True)]
        lower = [(at_x(x), at_y(max(y, ticks[0]))) for x, y in zip(one.x, one.y - spread, strict=True)]
        marks = [
            {"x": x, "y": y, "text": f"{one.name}, {x_label} {a:g}: {write(b)}".removeprefix(", ")}
            for (x, y), a, b in zip(points, one.x.tolist(), one.y.tolist(), strict=True)
        ]
        lines.append(
            {
                "index": index % 7,
                "name": one.name,
                "path": _path(points),
                "band": _path([*upper, *lower[::-1]]) if spread.any() else "",
                "marks": marks if dots else [],
                "label": {"x": right + 10, "y": end},
                "end": points[-1],
            }
        )
    spoken = "; ".join(f"{one.name} from {write(float(one.y[0]))} to {write(float(one.y[-1]))}" for one in series)
    return {
        "title": title,
        "x_label": x_label,
        "spoken": f"{title}: {spoken}",
        "names": names,
        "lines": lines,
        "x_ticks": [(at_x(tick), f"{tick:g}") for tick in x_ticks],
        "y_ticks": [(at_y(tick), write(tick)) for tick in ticks],
        "box": {"w": WIDTH, "h": HEIGHT, "left": LEFT, "right": right, "top": TOP, "bottom": HEIGHT - BOTTOM},
    }


def heat_map(title: str, x_label: str, y_label: str, x: np.ndarray, y: np.ndarray, values: np.ndarray) -> dict:
    """Lay out a heat map with its numbers; the page's template draws it.

    Parameters
    ----------
    title, x_label, y_label : str
    x, y : float [X], [Y]
    values : float [Y, X]
        NaN: no cell.

    Returns
    -------
    dict
        Coordinates in pixels of the SVG. ``shade`` of a cell is 0 for the lowest value and 1 for the highest.
    """
    width, height = (WIDTH - LEFT - 12) / len(x), (HEIGHT - TOP - BOTTOM) / len(y)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    tops = [HEIGHT - BOTTOM - (row + 1) * height for row in range(len(y))]
    cells = [
        {
            "x": round(LEFT + column * width, 1),
            "y": round(tops[row], 1),
            "shade": round((values[row, column] - low) / ((high - low) or 1.0), 3),
            "text": f"{values[row, column]:.3f}",
            "tip": f"{x_label} {a:g}, {y_label} {b:g}: {values[row, column]:.3g}",
        }
        for row, b in enumerate(y.tolist())
        for column, a in enumerate(x.tolist())
        if np.isfinite(values[row, column])
    ]
    return {
        "title": title,
        "x_label": x_label,
        "y_label": y_label,
        "spoken": f"{title}, from {low:.3g} to {high:.3g}: {'; '.join(cell['tip'] for cell in cells)}",
        "cells": cells,
        "cell": {"w": round(width, 1), "h": round(height, 1)},
        "x_ticks": [(round(LEFT + (i + 0.5) * width, 1), f"{value:g}") for i, value in enumerate(x)],
        "y_ticks": [(round(top + height / 2, 1), f"{value:g}") for top, value in zip(tops, y, strict=True)],
        "box": {"w": WIDTH, "h": HEIGHT, "left": LEFT, "right": WIDTH - 12, "top": TOP, "bottom": HEIGHT - BOTTOM},
    }


def _path(points: list[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points)


def thin(x: np.ndarray, y: np.ndarray, most: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Average neighbouring points, so that at most ``most`` points are left."""
    width = max(1, math.ceil(len(x) / most))
    starts = np.arange(0, len(x), width)
    counts = np.diff(np.append(starts, len(x)))
    if not len(x):
        return x, y
    return np.add.reduceat(x, starts) / counts, np.add.reduceat(y, starts) / counts
