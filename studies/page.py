"""One HTML page for the studies of a run: each with its question, numbers, figure and what they say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from feel_steps.report.charts import Series, heat_map, line_chart
from feel_steps.report.page import write_page
from feel_steps.tables.kinds import Columns
from studies.tables import PLACE, WITHOUT_TRUTH, Estimate, counterpart, difference, estimate, last

Setting = tuple[str, float, float]  # label, x, y: one row of a study's numbers


def write_studies(
    tables: Mapping[str, Columns], about: Mapping[str, Mapping[str, Any]], out: Path, *, name: str
) -> None:
    """Write the page.

    Parameters
    ----------
    tables : mapping of str to columns of a study table
        By name of the study.
    about : mapping
        Its entry in the studies file: ``title``, ``question``, ``paper``, and what to show.
    out : path
    name : str
        Of the run.
    """
    sections = [describe(study, about[study], pd.DataFrame(tables[study])) for study in about]
    write_page(out, "studies.html.j2", {}, folder=Path(__file__).parent, name=name, studies=sections)


def describe(name: str, about: Mapping[str, Any], table: pd.DataFrame) -> dict[str, Any]:
    """What the page shows of one study."""
    found = list(dict.fromkeys(table["metric"]))
    wanted = about.get("metrics") or found
    metrics = [metric for metric in wanted if metric in found]
    without_truth = not metrics
    metrics = metrics or [metric for metric in WITHOUT_TRUTH if metric in found]
    reference = about.get("reference")
    final = last(table)
    figures = [figure for metric in metrics if (figure := _figure(table, final, metric, about))]
    return {
        "name": name,
        **{key: about[key] for key in ("title", "question", "paper")},
        "without_truth": without_truth,
        "seeds": sorted(set(table["seed"].tolist())),
        "findings": [
            text for metric in metrics for text in _findings(final, metric, reference, metric in about.get("lower", ()))
        ],
        "numbers": _numbers(final, metrics, reference),
        "iterations": _iterations(table, metrics),
        "figures": figures,
        "legend": [line["name"] for line in figures[0].get("lines", ()) if line["name"]] if figures else [],
    }


def _settings(table: pd.DataFrame) -> list[Setting]:
    """The settings of a table, in its order."""
    return [(str(s), float(x), float(y)) for s, x, y in table[PLACE].drop_duplicates().itertuples(index=False)]


def _rows(table: pd.DataFrame, setting: Setting, metric: str) -> pd.DataFrame:
    rows = table[(table["setting"] == setting[0]) & (table["metric"] == metric)]
    for axis, value in zip(("x", "y"), setting[1:], strict=True):
        rows = rows[rows[axis].isna() if math.isnan(value) else rows[axis] == value]
    return rows


def _compared(final: pd.DataFrame, setting: Setting, metric: str, reference: Any) -> tuple[str, Estimate | None]:
    """The label of what a setting is compared with, and the difference; none for the reference itself."""
    label = reference.get(setting[0]) if isinstance(reference, Mapping) else reference
    if label is None or label == setting[0]:
        return "", None
    rows = final[final["metric"] == metric]
    return label, difference(_rows(final, setting, metric), counterpart(rows, label, *setting[1:]))


def _called(setting: Setting, settings: list[Setting]) -> str:
    """A setting's label, with its place on the axes where several share the label."""
    label = setting[0]
    if sum(other[0] == label for other in settings) == 1:
        return label
    return f"{label}, {_place(setting)}".removesuffix(", ")


def number(value: float, sign: str = "") -> str:
    """Three decimals where they matter."""
    form = ".3f" if abs(value) < 10 else ",.1f" if abs(value) < 1000 else ",.0f"
    return f"{value:{sign}{form}}".replace("-", "−")


def show(value: Estimate | None) -> str:
    """Mean ± standard deviation over seeds."""
    if value is None:
        return "–"
    return number(value.mean) + ("" if math.isnan(value.sd) else f" ± {number(value.sd)}")


def interval(value: Estimate) -> str:
    """The 95 % interval, empty for a single seed."""
    return f"[{number(value.low, '+')}, {number(value.high, '+')}]" if value.n > 1 else ""


def _numbers(final: pd.DataFrame, metrics: list[str], reference: Any) -> dict[str, Any]:
    """The settings at their last iterations, and the difference of each to its reference."""
    settings, several = _settings(final), isinstance(reference, Mapping)
    heads = ["setting", "against"] if several else ["setting"]
    for metric in metrics:
        heads += [metric, "difference [95 % interval]"]
    rows = []
    for setting in settings:
        label = reference.get(setting[0], "") if several else reference
        cells = [label] if several else []
        for metric in metrics:
            gap = _compared(final, setting, metric, reference)[1]
            text = "reference" if label == setting[0] else ""
            cells += [
                show(estimate(_rows(final, setting, metric)["value"].to_numpy())),
                f"{number(gap.mean, '+')} {interval(gap)}" if gap else text,
            ]
        rows.append([_called(setting, settings), *cells])
    return {"heads": heads, "rows": rows, "texts": 1 + several}


def _iterations(table: pd.DataFrame, metrics: list[str]) -> dict[str, Any] | None:
    """Every iteration of every setting; none where there is one only."""
    if table["iteration"].nunique() == 1:
        return None
    settings, rows = _settings(table), []
    for setting in settings:
        own = {metric: _rows(table, setting, metric) for metric in metrics}
        for iteration in sorted({i for part in own.values() for i in part["iteration"]}):
            cells = [
                show(estimate(part.loc[part["iteration"] == iteration, "value"].to_numpy())) for part in own.values()
            ]
            rows.append([_called(setting, settings), str(iteration), *cells])
    return {"heads": ["setting", "iteration", *metrics], "rows": rows}


def _findings(final: pd.DataFrame, metric: str, reference: Any, lower: bool) -> list[str]:
    """What the numbers say of one metric, in a few sentences."""
    settings = [setting for setting in _settings(final) if len(_rows(final, setting, metric))]
    if not settings:
        return []
    labels = list(dict.fromkeys(label for label, _, _ in settings))
    if reference is not None and len(settings) > len(labels):
        compared = [(label, _along(final, settings, label, metric, reference)) for label in labels]
        return [f"{metric}, {label}: {text}." for label, text in compared if text]
    if isinstance(reference, Mapping):
        each = [(setting, *_compared(final, setting, metric, reference)) for setting in settings]
        return [f"{metric}: “{setting[0]}” {_against(label, gap)}." for setting, label, gap in each if gap]
    means = [_rows(final, setting, metric)["value"].mean() for setting in settings]
    best = settings[int(np.argmin(means) if lower else np.argmax(means))]
    own = estimate(_rows(final, best, metric)["value"].to_numpy())
    text = f"{metric}: {'lowest' if lower else 'highest'} with “{_called(best, settings)}”, {show(own)}"
    label, gap = _compared(final, best, metric, reference)
    if gap:
        return [f"{text}; {_against(label, gap)}."]
    return [f"{text}, which is the reference." if reference is not None else f"{text}."]


def _against(label: str, gap: Estimate) -> str:
    """A difference in words."""
    text = f"{number(gap.mean, '+')} against “{label}”"
    if gap.n == 1:
        return f"{text} in one seed, which says nothing about chance"
    verdict = "excludes 0" if gap.decided else "does not exclude 0"
    return f"{text}, and the interval over {gap.n} paired seeds, {interval(gap)}, {verdict}"


def _along(final: pd.DataFrame, settings: list[Setting], label: str, metric: str, reference: Any) -> str:
    """How one setting compares with its reference at each of its places."""
    gaps = {}
    for setting in settings:
        if setting[0] == label:
            against, gap = _compared(final, setting, metric, reference)
            if gap is not None:
                gaps[setting] = gap
    if not gaps:
        return ""
    places = {
        word: [_place(setting) for setting, gap in gaps.items() if test(gap)]
        for word, test in (("above", lambda gap: gap.low > 0), ("below", lambda gap: gap.high < 0))
    }
    decided = [f"{word} 0 at {', '.join(where)}" for word, where in places.items() if where]
    means = [gap.mean for gap in gaps.values()]
    text = f"{number(min(means), '+')} to {number(max(means), '+')} against “{against}” over {len(gaps)} places"
    if max(gap.n for gap in gaps.values()) == 1:
        return f"{text}, in one seed, which says nothing about chance"
    return f"{text}; the 95 % interval {'lies ' + ' and '.join(decided) if decided else 'holds 0 everywhere'}"


def _place(setting: Setting) -> str:
    return ", ".join(f"{value:g}" for value in setting[1:] if not math.isnan(value))


# ---------------------------------------------------------------------------------------------------- figures


def _figure(table: pd.DataFrame, final: pd.DataFrame, metric: str, about: Mapping[str, Any]) -> dict | None:
    kind = about.get("figure", "lines")
    if kind == "heat":
        return _heat(final, metric, about)
    series = _over_iterations(table, metric) if kind == "lines" else _over_x(final, metric)
    label = "iteration" if kind == "lines" else about.get("x", "x")
    return line_chart(metric, label, series, names=False)


def _over_iterations(table: pd.DataFrame, metric: str) -> list[Series]:
    """One line a setting."""
    settings = _settings(table)
    return [Series.over(_called(setting, settings), _rows(table, setting, metric), "iteration") for setting in settings]


def _over_x(final: pd.DataFrame, metric: str) -> list[Series]:
    """One line for each setting that has several places, level where it has none; a single one through settings."""
    rows = final[final["metric"] == metric]
    placed = rows[rows["x"].notna()]
    places = placed[["setting", "x"]].drop_duplicates()
    if places["setting"].is_unique and places["x"].is_unique:
        return [Series.over("", placed, "x")]
    series = []
    for setting, own in rows.groupby("setting", sort=False):
        level = pd.concat([own.assign(x=placed["x"].min()), own.assign(x=placed["x"].max())])
        series.append(Series.over(str(setting), own if own["x"].notna().any() else level, "x"))
    return series


def _heat(final: pd.DataFrame, metric: str, about: Mapping[str, Any]) -> dict | None:
    """Means over seeds at each x and y."""
    rows = final[(final["metric"] == metric) & final["x"].notna() & final["y"].notna()]
    cells = rows.pivot_table(index="y", columns="x", values="value", aggfunc="mean")
    if cells.empty:
        return None
    x, y = cells.columns.to_numpy(float), cells.index.to_numpy(float)
    return heat_map(metric, about.get("x", "x"), about.get("y", "y"), x, y, cells.to_numpy(float))
