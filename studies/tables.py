"""Tables of studies: gathered from the metrics of variants, and what they say over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from feel_steps.errors import InputError
from feel_steps.report.summary import AGREEMENT, SHARE, UNLABELLED
from feel_steps.tables.kinds import Columns

# what is kept of a metrics table: name in the study's table, stages that may hold it, metric
METRICS = [*AGREEMENT, ("mAP one-to-one", ("localize",), "mAP_hungarian"), *UNLABELLED, SHARE]
WITHOUT_TRUTH = [name for name, _, _ in UNLABELLED]
PLACE = ["setting", "x", "y"]


def gather(metrics: Iterable[Columns], settings: Mapping[str, Mapping]) -> Columns:
    """Put the metrics of a study's variants into its table.

    Parameters
    ----------
    metrics : iterable of columns of metrics tables
        Of every iteration and seed of these variants.
    settings : mapping
        Label of each setting, in the order to show them, to its ``variant`` and its ``x`` and ``y``, if it has any.

    Returns
    -------
    columns of a study table
        By setting, seed, iteration and metric.

    Raises
    ------
    InputError
        A setting's variant is in none of the tables.
    """
    table = pd.concat([pd.DataFrame(one) for one in metrics])
    parts = []
    for label, place in settings.items():
        own = table[table["variant"] == place["variant"]]
        if not len(own):
            raise InputError(f"setting '{label}': no metrics of variant '{place['variant']}'; run its iterations first")
        for name, stages, metric in METRICS:
            rows = own[(own["metric"] == metric) & own["stage"].isin(stages)]
            rows = rows.assign(order=rows["stage"].map(stages.index)).sort_values("order", kind="stable")
            rows = rows.drop_duplicates(["seed", "iteration"])[["seed", "iteration", "value"]]
            parts.append(rows.assign(setting=label, x=place.get("x"), y=place.get("y"), metric=name))
    whole = pd.concat(parts)
    for axis in ("x", "y"):
        whole[axis] = whole[axis].astype(float)
    columns = ["setting", "x", "y", "seed", "iteration", "metric", "value"]
    order = [[*settings].index(label) for label in whole["setting"]]
    names = [name for name, _, _ in METRICS]
    whole = whole.assign(order=order, which=[names.index(name) for name in whole["metric"]])
    whole = whole.sort_values(["order", "seed", "iteration", "which"])
    return {name: whole[name].to_numpy() for name in columns}


def last(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of each setting's last iteration."""
    final = table.groupby(PLACE, dropna=False, sort=False)["iteration"].transform("max")
    return table[table["iteration"] == final]


@dataclass(frozen=True)
class Estimate:
    """A mean over n seeds, ``sd`` their standard deviation (NaN for one), ``low`` to ``high`` its 95 % interval."""

    mean: float
    sd: float
    n: int
    low: float
    high: float

    @property
    def decided(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


def estimate(values: np.ndarray) -> Estimate | None:
    """Mean of [n] values with Student's interval; None for no value.

    With few seeds the interval is wide, as it should be: for n = 3 it reaches 2.48 standard deviations to either side.
    """
    values = np.asarray(values, float)
    n = len(values)
    if not n:
        return None
    mean, sd = float(values.mean()), float(values.std(ddof=1)) if n > 1 else math.nan
    reach = float(stats.t.ppf(0.975, n - 1)) * sd / math.sqrt(n) if n > 1 else math.nan
    return Estimate(mean, sd, n, mean - reach, mean + reach)


def difference(rows: pd.DataFrame, reference: pd.DataFrame) -> Estimate | None:
    """Estimate by how much ``rows`` exceed ``reference`` in one metric, paired by seed; None without a common seed.

    Parameters
    ----------
    rows, reference : DataFrame
        Rows of a study table: one metric, one setting each, at most one row a seed.
    """
    pairs = rows.merge(reference, on="seed", suffixes=("", "_reference"))
    return estimate((pairs["value"] - pairs["value_reference"]).to_numpy())


def counterpart(table: pd.DataFrame, reference: str, x: float, y: float) -> pd.DataFrame:
    """Rows of the reference at the same x and y; all of them where it stands at one place only."""
    rows = table[table["setting"] == reference]
    same = rows[_equal(rows["x"], x) & _equal(rows["y"], y)]
    alone = len(rows[["x", "y"]].drop_duplicates()) == 1
    return same if len(same) or not alone else rows


def _equal(column: pd.Series, value: float) -> pd.Series:
    return column.isna() if math.isnan(value) else column == value
