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
    if samples < LEAST_SAMPLES:
        return None
    # The quantile is the smallest k with P(Bin ≤ k) ≥ 0.025, so that P(Bin < k) stays below it.
    lower = int(np.searchsorted(_chances_of_at_most(samples), (1 - CONFIDENCE) / 2))
    return lower, samples + 1 - lower


def _chances_of_at_most(samples: int) -> np.ndarray[Any, Any]:
    """P(Bin(n, 1/2) ≤ k) for k from 0 to n ÷ 2."""
    from scipy.special import bdtr  # a hundred times as fast as scipy.stats.binom

    return np.asarray(bdtr(np.arange(samples // 2 + 1), samples, 0.5))


def inward_weight(samples: int) -> float:
    """How far the bounds lie from the order statistics of `interval_ranks` to the next ones inside.

    From 0 to 1. The outer pair covers the median with some confidence C ≥ 0.95, the next pair with
    less, D. With I = (C − 0.95) ÷ (C − D) the weight is (n − l) · I ÷ (l + (n − 2l) · I)
    (Hettmansperger & Sheather 1986, Statistics & Probability Letters 4, 75-79; Nyblom 1992, ibid. 14,
    129-131). Normal, uniform, exponential and Cauchy values are covered in 94.5 to 95.5 % of cases
    from 6 to 100 samples. Raises ValueError below LEAST_SAMPLES.
    """
    ranks = interval_ranks(samples)
    if ranks is None:
        raise ValueError(f"an interval needs {LEAST_SAMPLES} samples, not {samples}")
    lower = ranks[0]
    outer, inner = (1 - 2 * _chances_of_at_most(samples)[[lower - 1, lower]]).tolist()
    excess = (outer - CONFIDENCE) / (outer - inner)
    return float((samples - lower) * excess / (lower + (samples - 2 * lower) * excess))


def median_interval(values: Sequence[float] | np.ndarray[Any, Any]) -> Interval:
    """Distribution-free 95 % interval of the median of independent `values`, from 6 of them on.

    It lies between neighbouring order statistics, which alone would cover the median more often than
    promised: in 96.9 % of cases with 6 values, in 99.2 % with 8.
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    ranks = interval_ranks(len(ordered))
    if ranks is None:
        return Interval(float("nan"), float("nan"), len(ordered))
    weight, (lower, upper) = inward_weight(len(ordered)), ranks
    low = (1 - weight) * ordered[lower - 1] + weight * ordered[lower]
    high = (1 - weight) * ordered[upper - 1] + weight * ordered[upper - 2]
    return Interval(float(low), float(high), len(ordered))
