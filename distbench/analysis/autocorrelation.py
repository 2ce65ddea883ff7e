"""How alike neighbours in a series are, and what that leaves of their number.

Steps that follow each other share a temperature, a clock and their neighbours' load. The model is that
of the first order, AR(1): what is k steps apart has the correlation ρ^k.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

MOST = 0.99  # a correlation of 1 would leave nothing to reckon with
UNSEEN = 0.6  # what independence must be shown against: nothing unusual for steps of real machines
WIDEST = 3.0  # robust standard deviations; what lies farther out counts as this far
SD_OF_MAD = 1.4826  # of a normal distribution: standard deviation ÷ median absolute deviation
LEAST_VARIATION = 1e-6  # of a series around 1; below it nothing varies but the last digit
Array = np.ndarray[Any, Any]


class Correlation(NamedTuple):
    """The lag-1 correlation `value`, from 0 to MOST, and the number of `pairs` that it rests on."""

    value: float
    pairs: int

    def is_told_from_zero(self, false_alarms: float) -> bool:
        """Whether independent values show this much in at most the share `false_alarms` of cases.

        The estimate from n pairs of independent values has a standard deviation of about 1 ÷ √n.
        """
        from scipy.stats import norm

        return self.pairs > 0 and self.value > norm.isf(false_alarms) / math.sqrt(self.pairs)

    def as_it_may_be(self, false_alarms: float) -> float:
        """The largest correlation that must be reckoned with.

        One standard deviation above the estimate where it is told from 0: √((1 − ρ²) ÷ n) (Bartlett
        1946). Else two above it, but not more than UNSEEN: few pairs cannot show that steps are
        independent.
        """
        if self.is_told_from_zero(false_alarms):
            return min(self.value + math.sqrt((1 - self.value**2) / self.pairs), MOST)
        return min(self.value + 2 / math.sqrt(self.pairs), UNSEEN) if self.pairs else UNSEEN


def lag_one(values: Array, follows: Array, fitted: int = 1) -> Correlation:
    """The correlation of neighbours: r = 1 − mean of (x[i+1] − x[i])² ÷ (2 · variance).

    This is von Neumann's ratio (1941), which needs no long unbroken series. `values` lie around 0;
    `follows` says of each but the first whether it follows the one before without a gap. Taking
    `fitted` parameters out of n values, the mean among them, makes r too small by about `fitted` ·
    (1 + 3r) ÷ n (after Marriott & Pope 1954), which is added. Outliers count as WIDEST robust standard
    deviations. Negative correlations, which do no harm, count as 0.
    """
    pairs = int(np.count_nonzero(follows))
    if not pairs:
        return Correlation(0.0, 0)
    spread = WIDEST * SD_OF_MAD * float(np.median(np.abs(values - np.median(values))))
    clipped = np.clip(values, -spread, spread) if spread else values
    variance = float(np.var(clipped))
    if variance < LEAST_VARIATION**2:
        return Correlation(0.0, pairs)
    differences = np.diff(clipped)[np.asarray(follows, dtype=bool)]
    found = 1 - float(np.mean(differences**2)) / (2 * variance)
    found += fitted * (1 + 3 * found) / len(values)
    return Correlation(min(max(found, 0.0), MOST), pairs)


def of_neighbouring_blocks(step_correlation: float, steps: int, gap: float) -> float:
    """The correlation that AR(1) gives the means of blocks of `steps` steps with `gap` steps between.

    Cov = ρ^(gap+1) · ((1 − ρ^m) ÷ (1 − ρ))² and Var = m + 2 · Σ (m − k) · ρ^k over k = 1 … m − 1, both
    in units of a step's variance ÷ m². Medians are as alike as means, or less.
    """
    rho = min(max(step_correlation, 0.0), MOST)
    if rho == 0:
        return 0.0
    distances = np.arange(1, steps)
    variance = steps + 2 * float(np.sum((steps - distances) * rho**distances))
    return float(rho ** (gap + 1) * ((1 - rho**steps) / (1 - rho)) ** 2 / variance)


def inflation(correlation: float) -> float:
    """By how much AR(1) makes the variance of a mean larger: (1 + ρ) ÷ (1 − ρ), for many values.

    So n values tell as much as n ÷ inflation independent ones (METHOD 3.5).
    """
    return (1 + correlation) / (1 - correlation)
