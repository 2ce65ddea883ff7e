"""95 % intervals whose unit of replication is the launch: each launch gives one number.

What differs between launches (memory layout, placement, the state of the machine) is not seen by the
steps of one launch, so that an interval from its steps covers the truth far too seldom.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from distbench.analysis.statistics import CONFIDENCE

NAN = float("nan")


class Estimate(NamedTuple):
    """A value with its 95 % interval; the ends are NaN where there are too few launches."""

    value: float
    low: float
    high: float


def mean_of_launches(medians: Sequence[float]) -> Estimate:
    """The mean of the launches' medians ± t · sd ÷ √K, by Student's t with K − 1 degrees of freedom."""
    count = len(medians)
    mean = float(np.mean(medians))
    if count < 2:
        return Estimate(mean, NAN, NAN)
    half = _quantile(count - 1) * float(np.std(medians, ddof=1)) / math.sqrt(count)
    return Estimate(mean, mean - half, mean + half)


def paired_ratio(ratios: Sequence[float]) -> Estimate:
    """The geometric mean of ratios that were each measured within one launch."""
    return _exponential(mean_of_launches(np.log(ratios).tolist()))


def unpaired_ratio(values: Sequence[float], base: Sequence[float]) -> Estimate:
    """`values` over `base` of other launches, by Welch's interval of the difference of mean logs."""
    own, other = np.log(values), np.log(base)
    difference = float(own.mean() - other.mean())
    if min(len(own), len(other)) < 2:
        return _exponential(Estimate(difference, NAN, NAN))
    parts = [float(np.var(logs, ddof=1)) / len(logs) for logs in (own, other)]
    half = 0.0
    if sum(parts) > 0:
        freedom = sum(parts) ** 2 / sum(
            part**2 / (len(logs) - 1) for part, logs in zip(parts, (own, other))
        )
        half = _quantile(freedom) * math.sqrt(sum(parts))
    return _exponential(Estimate(difference, difference - half, difference + half))


def _quantile(freedom: float) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + CONFIDENCE) / 2, freedom))


def _exponential(logs: Estimate) -> Estimate:
    """Back from logarithms; few and wide launches can leave an end without bound."""
    return Estimate(*(math.inf if log > 700 else math.exp(log) for log in logs))
