"""Whether a series of block medians goes on in the same way: tests of a trend and of one shift.

Values are relative, so that 1 is the series' own level. `inflation` is by how much correlation between
neighbours makes the variance of their mean larger (see autocorrelation), 1 where there is none.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
LEAST_PART = 0.1  # of the series, on either side of a shift: less is an interruption


class Fit(NamedTuple):
    """A model of a series: its `values`, what is left as a sum of `squares`, and the `change`.

    The change is from the first value to the last. Of a shift, `at` is how many values come before it,
    and `between` how many, 0 or 1, are no part of either level: there it came within a block.
    """

    values: Array
    squares: float
    change: float
    at: int = 0
    between: int = 0


def fit_line(series: Array) -> Fit:
    """The least squares line; its change is by the medians of the first and the last third.

    So one wild value does not make a trend.
    """
    count = len(series)
    places = np.arange(count) - (count - 1) / 2
    slope = float(places @ series) / float(places @ places)
    values = series.mean() + slope * places
    third = max(count // 3, 1)
    between = float(np.median(series[-third:]) - np.median(series[:third]))
    change = between * (count - 1) / (count - third)
    return Fit(values, float(np.sum((series - values) ** 2)), change)


def fit_step(series: Array) -> Fit:
    """The two levels that are told apart best; the change is between the medians of both.

    Either level holds at least two values, and LEAST_PART of them. One value between them may belong
    to neither, since a shift can come within a block; it lies between the levels then.
    """
    sharp = _two_levels(series, between=0)
    if len(series) == 2 * _least_part(len(series)):
        return sharp
    soft = _two_levels(series, between=1)
    levels = sorted((soft.values[0], soft.values[-1]))
    is_within = levels[0] <= series[soft.at] <= levels[1]
    return soft if is_within and _chance(soft) < _chance(sharp) else sharp


def _two_levels(series: Array, between: int) -> Fit:
    """Those that leave the least sum of squares, with that many values between them left out."""
    count, least = len(series), _least_part(len(series))
    sums, squares = (np.cumsum(np.append(0.0, powers)) for powers in (series, series**2))
    first = np.arange(least, count - least - between + 1)
    second = first + between
    within = squares[first] - sums[first] ** 2 / first
    within += squares[-1] - squares[second] - (sums[-1] - sums[second]) ** 2 / (count - second)
    at = int(first[np.argmin(within)])
    low, high = series[:at], series[at + between :]
    values = series.copy()
    values[:at], values[at + between :] = low.mean(), high.mean()
    change = float(np.median(high) - np.median(low))
    return Fit(values, float(np.sum((series - values) ** 2)), change, at, between)


def _least_part(count: int) -> int:
    return max(2, math.ceil(LEAST_PART * count))


def trend_p(series: Array, inflation: float = 1.0) -> float:
    """How often a series without a trend rises or falls as steadily as this one.

    Mann-Kendall's test (Mann 1945, Kendall 1975; exact for short series without ties), its standard
    normal deviate divided by the square root of `inflation` as Yue & Wang (2004) correct it.
    """
    from scipy.stats import kendalltau, norm

    if np.ptp(series) == 0:
        return 1.0
    exact = float(kendalltau(np.arange(len(series)), series).pvalue)
    deviate = norm.isf(max(exact, 1e-300) / 2)
    return float(2 * norm.sf(deviate / math.sqrt(inflation)))


def shift_p(step: Fit, inflation: float = 1.0) -> float:
    """How often a series without a shift has one as clear as `step`, its best one.

    Student's t of the means of both levels, from a variance multiplied by `inflation`. The probability
    is multiplied by the number of places that were tried, sharp and within a block (Bonferroni).
    """
    count = len(step.values)
    sharp = count - 2 * _least_part(count) + 1
    return min(1.0, (2 * sharp - 1) * _chance(step, inflation))


def _chance(step: Fit, inflation: float = 1.0) -> float:
    """The two-sided probability of Student's t, for a shift at a place that was chosen beforehand."""
    from scipy.stats import t

    before, after = step.at, len(step.values) - step.at - step.between
    distance = abs(float(step.values[-1] - step.values[0]))
    freedom = before + after - 2
    error = math.sqrt(step.squares / freedom * (1 / before + 1 / after) * inflation)
    if error == 0:
        return 1.0 if distance == 0 else 0.0
    return float(2 * t.sf(distance / error, freedom))
