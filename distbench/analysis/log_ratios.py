"""Ratios of positive quantities by their logarithms: Welch's intervals, tests, and many at once.

Welch 1947 for means of unequal variances; Holm 1979 for the p-values of many tests; Bonferroni for
intervals that hold all together. All of it is closed form, so that nothing depends on a seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from distbench.analysis.statistics import CONFIDENCE

NAN = float("nan")


class Contrast(NamedTuple):
    """Two independent sets of positive values to be compared; each value is one replication.

    With `sign` −1 the ratio divides by this one: so a ratio of two ratios has two contrasts.
    """

    candidate: Sequence[float]
    base: Sequence[float]
    sign: int = 1


class LogRatio(NamedTuple):
    """The logarithm of a ratio, its standard error, and Welch's degrees of freedom.

    `error` and `freedom` are NaN where there is nothing to tell the spread from.
    """

    log: float
    error: float
    freedom: float

    @property
    def ratio(self) -> float:
        """The ratio of the geometric means."""
        return _exponential(self.log)

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Its ends as ratios; NaN where there is no standard error."""
        half = _quantile(confidence, self.freedom) * self.error if self.error else self.error
        return _exponential(self.log - half), _exponential(self.log + half)

    @property
    def p_value(self) -> float:
        """Two-sided p of the ratio being 1; NaN where there is no standard error."""
        from scipy.stats import t

        if self.error == 0:
            return float(self.log == 0)
        return 2 * float(t.sf(abs(self.log) / self.error, self.freedom))


def log_ratio(contrasts: Sequence[Contrast]) -> LogRatio:
    """The product of the contrasts' ratios candidate ÷ base, each to the power of its sign.

    Where one set of a contrast holds a single value its variance is taken to be that of the other,
    which must then hold two or more.
    """
    log, parts = 0.0, []
    for contrast in contrasts:
        own, base = np.log(contrast.candidate), np.log(contrast.base)
        log += contrast.sign * float(own.mean() - base.mean())
        parts += _variance_parts(own, base)
    variance = sum(part for part, _ in parts)
    if not variance > 0:  # 0, or NaN
        return LogRatio(log, math.sqrt(variance), math.inf if variance == 0 else NAN)
    freedom = variance**2 / sum(part**2 / own_freedom for part, own_freedom in parts)
    return LogRatio(log, math.sqrt(variance), freedom)


def _variance_parts(
    own: np.ndarray[tuple[int], np.dtype[np.float64]],
    base: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> list[tuple[float, float]]:
    """Variances that add up to that of the difference of means, each with its degrees of freedom."""
    if min(len(own), len(base)) > 1:
        return [(float(np.var(x, ddof=1)) / len(x), len(x) - 1.0) for x in (own, base)]
    longer = max(own, base, key=len)
    if len(longer) < 2:
        return [(NAN, NAN)]
    inverse_counts = 1 / len(own) + 1 / len(base)
    return [(float(np.var(longer, ddof=1)) * inverse_counts, len(longer) - 1.0)]


def interval_half(values: Sequence[float]) -> float:
    """Half the 95 % interval of the geometric mean of `values`, in their unit; NaN for a single one."""
    logs = np.log(values)
    if len(logs) < 2:
        return NAN
    error = float(np.std(logs, ddof=1)) / math.sqrt(len(logs))
    # The interval of a logarithm is lopsided in the values' own unit: the larger side is told.
    mean = float(logs.mean())
    return _exponential(mean + _quantile(CONFIDENCE, len(logs) - 1) * error) - _exponential(mean)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given; NaN stays NaN and is not counted.

    Rejecting all that stay below α errs in any of them with a probability of at most α.
    """
    order = sorted((p, place) for place, p in enumerate(p_values) if not math.isnan(p))
    adjusted, largest = [NAN] * len(p_values), 0.0
    for done, (p, place) in enumerate(order):
        largest = max(largest, min(1.0, p * (len(order) - done)))
        adjusted[place] = largest
    return adjusted


def simultaneous_confidence(comparisons: int) -> float:
    """The confidence of each of so many intervals that all hold together with 95 % (Bonferroni)."""
    return 1 - (1 - CONFIDENCE) / max(1, comparisons)


def _quantile(confidence: float, freedom: float) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + confidence) / 2, freedom))


def _exponential(log: float) -> float:
    """Back from a logarithm; few and wide launches can leave an end without bound."""
    return math.inf if log > 700 else math.exp(log)
