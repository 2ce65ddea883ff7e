"""Which settings stay after a round, and when the leader is known. Pure decisions on fitted launches.

A setting leaves where its interval against the leader ends below 1, or, at some rounds and where half
of the budget is spent, where it is in the worse half. Every look at the same launches is one more chance
to be fooled: the 5 % of error are shared out over the looks, 1/2 for the first, 1/6 for the second,
1/12 …, which add up to the whole, and at each look over all settings (Bonferroni). So all intervals of
all looks hold together with 95 %.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Sequence
from typing import NamedTuple

from distbench.analysis.compare import DEFAULT_THRESHOLD, NO_DIFFERENCE, NOT_RESOLVED, SLOWER
from distbench.analysis.launch_effects import LaunchEffects
from distbench.analysis.statistics import CONFIDENCE

LEAST_DIFFERENCE = (
    DEFAULT_THRESHOLD  # the rate that matters; launches of one setting differ by as much
)
NOT_MUCH_FASTER = f"at most {100 * LEAST_DIFFERENCE:g} % faster"
_ROUNDING = 1e-9  # of arithmetic: launches that are all alike differ by nothing
LEAST_ROUNDS = 4  # before a leader is called one
# Rounds of a stage after which the worse half leaves: each time there are about as many launches as
# before, of half as many settings.
HALVING_ROUNDS = (4, 8, 16)
LEAST_AFTER_HALVING = 2


class Behind(NamedTuple):
    """A setting against the leader: its rate ÷ the leader's, with its interval, and what that says."""

    candidate: int
    ratio: float
    low: float
    high: float
    verdict: str


def confidence_of(look: int, comparisons: int) -> float:
    """The confidence of each interval at the `look`-th look (from 1) at so many comparisons."""
    return 1 - (1 - CONFIDENCE) / (max(1, comparisons) * look * (look + 1))


def leader_of(effects: LaunchEffects, candidates: Collection[int]) -> int:
    """The one with the highest rate; of equal ones the first."""
    return max(candidates, key=lambda one: (effects.rate(one).log, -one))


def behind(
    effects: LaunchEffects, candidates: Sequence[int], leader: int, confidence: float
) -> list[Behind]:
    """Every candidate but the leader against it."""
    return [
        _behind(effects, one, leader, confidence)
        for one in candidates
        if one != leader and one in effects
    ]


def _behind(effects: LaunchEffects, candidate: int, leader: int, confidence: float) -> Behind:
    found = effects.ratio(candidate, leader)
    low, high = found.interval(confidence)
    return Behind(candidate, found.ratio, low, high, verdict(low, high))


def verdict(low: float, high: float) -> str:
    """What an interval of a rate ÷ the leader's says; NaN decides nothing."""
    most = 1 + LEAST_DIFFERENCE
    if high < 1 - _ROUNDING:
        return SLOWER
    if low >= 1 / most and high <= most:
        return NO_DIFFERENCE
    return NOT_MUCH_FASTER if high <= most else NOT_RESOLVED


def clearly_slower(effects: LaunchEffects, found: Sequence[Behind], leader: int) -> list[int]:
    """Those to leave at once.

    One bad launch of two cannot be told from a good one: so also the better half of a candidate's own
    launches must lie below the leader.
    """
    bar = effects.rate(leader).log
    return [
        one.candidate
        for one in found
        if one.verdict == SLOWER and statistics.median_high(effects.launches(one.candidate)) < bar
    ]


def worse_half(effects: LaunchEffects, candidates: Sequence[int]) -> list[int]:
    """The worse half of the candidates, LEAST_AFTER_HALVING at least staying."""
    best_first = sorted(candidates, key=lambda one: (-effects.rate(one).log, one))
    return best_first[max(LEAST_AFTER_HALVING, math.ceil(len(candidates) / 2)) :]


def is_decided(found: Sequence[Behind]) -> bool:
    """Whether nothing that is left can be faster than the leader by what matters."""
    return all(one.verdict != NOT_RESOLVED for one in found)
