"""How much slower each rank is than the others, and whether chance explains it.

All lags are logarithms of ratios: 0.05 is about 5 % slower; `relative` makes them fractions.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtr, stdtrit

from distbench.analysis.rank_grid import RankGrid

LEAST_UNITS = 4  # fewer leave no spread to speak of
UNITS = 20  # into so many equal runs of steps the blocks are divided at least, where they suffice
# Devices of one kind differ a little in any case. So much is assumed beside what the ranks show, and
# weighs as much as two of them: it decides where there are two or three ranks, and little at dozens.
USUAL_SPREAD = 0.005
USUAL_SPREAD_RANKS = 2
LEAST_EFFECTIVE = 2.0  # units: with one degree of freedom only what is beyond all doubt is said
_MOST_AUTOCORRELATION = 0.9


@dataclass(frozen=True)
class RankLags:
    """The lag of every rank, in the order of the grid's rows.

    `level` (log of the rank's usual time), `lag` and its standard error `se` are float64 by rank.
    `units` is ranks × units, a unit being a run of consecutive steps of one block and its value the
    median lag of them; `unit_blocks` holds the block of each. `residual` is ranks × steps: the lag
    of each step without the rank's own level. `degrees` are those of t for `lag` ÷ `se`.
    """

    level: Any
    lag: Any
    se: Any
    units: Any
    unit_blocks: Any
    residual: Any
    autocorrelation: float
    degrees: float

    @property
    def z(self) -> Any:
        """The lag in standard errors; NaN where there are too few units."""
        return self.lag / self.se

    def interval(self) -> tuple[Any, Any]:
        """The 95 % interval of each rank's lag by Student's t."""
        reach = stdtrit(self.degrees, 0.975) * self.se if self.degrees > 0 else np.nan * self.se
        return self.lag - reach, self.lag + reach


def median_of_others(values: Any) -> Any:
    """For each value of an array of ranks × anything, the median of all other ranks' values.

    Exact, from the middle values of the sorted ranks. There must be two ranks or more.
    """
    count = len(values)
    middle = count // 2
    if count % 2 == 0:
        low, high = np.partition(values, (middle - 1, middle), axis=0)[middle - 1 : middle + 1]
        return np.where(values <= low, high, low)
    places = (middle - 1, middle, middle + 1)
    low, centre, high = np.partition(values, places, axis=0)[middle - 1 : middle + 2]
    others = np.where(values < centre, (centre + high) / 2, (low + centre) / 2)
    return np.where(values == centre, (low + high) / 2, others)


def rank_lags(grid: RankGrid) -> RankLags:
    """Each rank's lag behind the median of the other ranks at the same step.

    What all ranks share at a step (drift, a thermal step) cancels. Ranks are first freed of their
    own level (their median), so that slow ranks among the others do not shift the reference: two
    steps of a median polish (Tukey 1977, chapter 11). The rank's lag is the mean of its units. Its
    standard error comes from the spread of its own units, with their number reduced to
    n (1 - r) / (1 + r) by their lag-1 autocorrelation r, which the ranks are taken to share.
    """
    times = np.log(grid.duration_ns)
    level = np.median(times, axis=1)
    times -= level[:, np.newaxis]
    times -= median_of_others(times)
    bounds = unit_bounds(grid.blocks)
    units = np.stack([np.median(times[:, one:end], axis=1) for one, end in bounds], axis=1)
    shared = _autocorrelation(units - units.mean(axis=1, keepdims=True))
    effective = max(LEAST_EFFECTIVE, units.shape[1] * (1 - shared) / (1 + shared))
    degrees = effective - 1 if units.shape[1] >= LEAST_UNITS else 0.0
    # The clock counts whole nanoseconds, so that no lag is known better than to one of them.
    tick = 1 / np.median(grid.duration_ns, axis=1)
    level_lag = level - median_of_others(level)
    units += level_lag[:, np.newaxis]
    lag = units.mean(axis=1)
    return RankLags(
        level=level + (lag - level_lag),
        lag=lag,
        se=np.sqrt(_variance(units) / effective + tick**2) if degrees > 0 else np.nan * level,
        units=units,
        unit_blocks=np.array([grid.blocks[one] for one, _ in bounds]),
        residual=times,
        autocorrelation=shared,
        degrees=degrees,
    )


def unit_bounds(blocks: Any) -> list[tuple[int, int]]:
    """First and next-after-last column of each unit: blocks, divided evenly where they are few."""
    starts = np.flatnonzero(np.r_[True, blocks[1:] != blocks[:-1]])
    ends = np.r_[starts[1:], len(blocks)]
    pieces = -(-UNITS // len(starts))
    bounds: list[tuple[int, int]] = []
    for start, end in zip(starts, ends):
        cuts = np.linspace(start, end, min(pieces, end - start) + 1).round().astype(int).tolist()
        bounds += itertools.pairwise(cuts)
    return bounds


def _variance(units: Any) -> Any:
    return units.var(axis=1, ddof=1) if units.shape[1] > 1 else np.full(len(units), np.nan)


def _autocorrelation(deviations: Any) -> float:
    """Of consecutive units at lag 1, averaged over the ranks, at least 0.

    Each rank counts alike, however much it varies. Deviations from an estimated mean look less
    alike than they are, by (1 + 4 r) / n (Marriott & Pope 1954), which is made good.
    """
    count = deviations.shape[1]
    if count < LEAST_UNITS:
        return 0.0
    square = (deviations**2).sum(axis=1)
    products = (deviations[:, 1:] * deviations[:, :-1]).sum(axis=1)
    varies = square > 0
    found = float((products[varies] / square[varies]).mean()) if varies.any() else 0.0
    corrected = (found + 1 / count) / max(0.5, 1 - 4 / count)
    return float(min(max(corrected, 0.0), _MOST_AUTOCORRELATION))


def chance_by_noise(lags: RankLags, faster: bool = False) -> Any:
    """By rank, the probability of so large a lag if the rank is not slower (or not `faster`)."""
    if lags.degrees <= 0:
        return np.ones(len(lags.lag))
    return stdtr(lags.degrees, lags.z if faster else -lags.z)


def spread_of(levels: Any) -> tuple[Any, float]:
    """The standard deviation between ranks, and its degrees of freedom, of ranks × anything.

    It rests on the faster half alone, so that any number of slow ranks below a half leaves it as it
    is: the root mean square of the distances to the middle rank (the slower one of two), with
    USUAL_SPREAD beside it. Of two ranks nothing can be learned, and only that is left.
    """
    ordered = np.sort(levels, axis=0)
    faster = len(levels) // 2 if len(levels) > 2 else 0
    squares = ((ordered[faster] - ordered[:faster]) ** 2).sum(axis=0)
    degrees = USUAL_SPREAD_RANKS + faster
    return np.sqrt((USUAL_SPREAD_RANKS * USUAL_SPREAD**2 + squares) / degrees), float(degrees)


def chance_by_spread(levels: Any) -> Any:
    """By rank, the probability of such a distance to the others if all ranks are of one kind.

    Noise counts in it too, since it spreads the ranks, whatever its autocorrelation.
    """
    scale, degrees = spread_of(levels)
    distances = levels - median_of_others(levels)
    return stdtr(degrees, -distances / (scale * distance_factor(len(levels))))


def distance_factor(ranks: int) -> float:
    """How much more a rank's distance to the middle of the others varies than the rank itself."""
    return float(np.sqrt(1 + 1 / (ranks - 1)))


@dataclass(frozen=True)
class Changes:
    """How each rank's lag changed over the run, float64 by rank.

    `change` is the mean of its late units minus that of the early ones, parted where that is
    clearest; `z` the same in standard errors. `first_late` is the first late unit, `late` the lag of
    the late units. `by_noise` and `by_spread` are probabilities of such a change, as those of a lag.
    """

    change: Any
    z: Any
    first_late: Any
    late: Any
    by_noise: Any
    by_spread: Any


def rank_changes(lags: RankLags) -> Changes:
    """Looks for the part of the run from which on each rank is slower than it was before.

    All places with at least two units on each side are tried, which `by_noise` accounts for
    (Bonferroni).
    """
    units = lags.units
    ranks, count = units.shape
    cuts = np.arange(2, count - 1)
    if count < LEAST_UNITS + 2:
        nothing, one = np.full(ranks, np.nan), np.ones(ranks)
        return Changes(nothing, nothing, np.zeros(ranks, int), nothing, one, one)
    sums, squares = units.cumsum(axis=1), (units**2).cumsum(axis=1)
    before = sums[:, cuts - 1] / cuts
    after = (sums[:, -1:] - sums[:, cuts - 1]) / (count - cuts)
    within = squares[:, -1:] - cuts * before**2 - (count - cuts) * after**2
    plain_se = np.sqrt(np.maximum(within, 0) / (count - 2) * (1 / cuts + 1 / (count - cuts)))
    plain_se = np.maximum(plain_se, 1e-9)
    best = np.argmax((after - before) / plain_se, axis=1)
    row = np.arange(ranks)
    is_late = np.arange(count) >= cuts[best][:, np.newaxis]
    fitted = np.where(is_late, after[row, best][:, np.newaxis], before[row, best][:, np.newaxis])
    shared = _autocorrelation(units - fitted)
    kept = (1 - shared) / (1 + shared)
    change = after - before
    z = change * np.sqrt(kept) / plain_se
    noise = stdtr(max(1.0, (count - 2) * kept), -z)
    return Changes(
        change=change[row, best],
        z=z[row, best],
        first_late=cuts[best],
        late=after[row, best],
        by_noise=np.minimum(1.0, noise[row, best] * len(cuts)),
        by_spread=chance_by_spread(change)[row, best],
    )


def relative(log_ratio: Any) -> Any:
    """A logarithm of a ratio as a fraction: 0.0488 -> 0.05."""
    return np.expm1(log_ratio)
