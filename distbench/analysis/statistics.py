"""Intervals and medians. Every function says what its unit of replication is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

CONFIDENCE = 0.95
LEAST_SAMPLES = 6  # with 5 or fewer not even the whole range covers the median in 95 % of cases


class Interval(NamedTuple):
    """A 95 % interval and what it rests on; NaN where there are too few samples."""

    low: float
    high: float
    samples: int


def interval_ranks(samples: int) -> tuple[int, int] | None:
    """Which order statistics, counted from 1, bound the median; None below LEAST_SAMPLES.

    The largest l with 1 − 2 · P(Bin(n, 1/2) < l) ≥ 0.95, and n + 1 − l (Hahn & Meeker 1991, section
    5.2). It holds for any distribution, and promises at least 95 % for independent samples.
    """
    from scipy.stats import binom

    if samples < LEAST_SAMPLES:
        return None
    # The quantile is the smallest k with P(Bin ≤ k) ≥ 0.025, so that P(Bin < k) stays below it.
    lower = int(binom.ppf((1 - CONFIDENCE) / 2, samples, 0.5))
    return lower, samples + 1 - lower


def median_interval(values: Sequence[float] | np.ndarray[Any, Any]) -> Interval:
    """Distribution-free 95 % interval of the median of independent `values`."""
    ordered = np.sort(np.asarray(values, dtype=float))
    ranks = interval_ranks(len(ordered))
    if ranks is None:
        return Interval(float("nan"), float("nan"), len(ordered))
    return Interval(float(ordered[ranks[0] - 1]), float(ordered[ranks[1] - 1]), len(ordered))
