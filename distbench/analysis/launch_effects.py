"""Rates of many candidates, launched in rounds: what a candidate does, apart from its round and its luck.

The logarithm of a launch's rate is taken to be a candidate's part, plus its round's, plus noise that is
alike for all candidates: a few launches of each do not tell the spread, those of all together do. The
fit is an M-estimate with Hampel's three-part function (1974, JASA 69(346), 383-393), begun at Huber's
(1973, Annals of Statistics 1(5), 799-821), whose interval is used: so a launch that shared the machine
with somebody counts little, and beyond FAR_OFF robust standard deviations not at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from distbench.analysis.log_ratios import NAN, LogRatio

# Robust standard deviations: up to the first a launch counts in full, from there on as if it lay there,
# and from the second to the last ever less.
FULL, FALLING, FAR_OFF = 2.0, 3.0, 5.0
LEAST_FREEDOM = 4  # with less nothing tells which of the launches is the one that lies off
HUBER_TURNS, MOST_TURNS = 20, 60
_MAD_TO_SD = 1.4826  # of a normal distribution
_ENOUGH = 1e-9  # of a logarithm: a billionth is no change

Array = np.ndarray[Any, Any]


class LaunchRate(NamedTuple):
    """What one launch gave: a positive rate of one candidate in one round."""

    candidate: int
    round: int
    images_per_s: float


@dataclass(frozen=True)
class LaunchEffects:
    """The fit of many launches. `spread` is the sd of one launch's logarithm, NaN where unknown.

    `far_off` are the launches that lie so far from the fit that they count for nothing.
    """

    rates: tuple[LaunchRate, ...]
    far_off: tuple[LaunchRate, ...]
    spread: float
    freedom: float
    _design: Array
    _inverse: Array  # of design' · design, or its pseudo-inverse
    _solution: Array
    _columns: dict[int, int]
    _rounds: dict[int, int]

    def __contains__(self, candidate: int) -> bool:
        return candidate in self._columns

    def ratio(self, candidate: int, base: int) -> LogRatio:
        """The candidate's rate ÷ the base's; NaN where no chain of common rounds joins them."""
        if candidate == base:
            return LogRatio(0.0, 0.0, math.inf)
        contrast = np.zeros(self._design.shape[1])
        contrast[self._columns[candidate]] = 1
        contrast[self._columns[base]] = -1
        return self._estimate(contrast)

    def rate(self, candidate: int) -> LogRatio:
        """The logarithm of the candidate's rate in a typical round."""
        contrast = np.zeros(self._design.shape[1])
        contrast[self._columns[candidate]] = 1
        return self._estimate(contrast)

    def launches(self, candidate: int) -> list[float]:
        """The logarithms of the candidate's rates, each without its round's part."""
        return [
            math.log(one.images_per_s) - self._part_of_round(one.round)
            for one in self.rates
            if one.candidate == candidate
        ]

    def _part_of_round(self, number: int) -> float:
        return float(_round_code(self._rounds, number) @ self._solution[len(self._columns) :])

    def _estimate(self, contrast: Array) -> LogRatio:
        value = float(contrast @ self._solution)
        reached = contrast @ self._inverse @ self._design.T @ self._design
        if not np.allclose(reached, contrast, atol=1e-6):
            return LogRatio(NAN, NAN, NAN)
        error = self.spread * math.sqrt(max(0.0, float(contrast @ self._inverse @ contrast)))
        return LogRatio(value, error, self.freedom if self.freedom > 0 else NAN)


def fit_launches(rates: Iterable[LaunchRate]) -> LaunchEffects:
    """The fit of these launches, of which there must be one at least."""
    rates = tuple(rates)
    columns = {name: place for place, name in enumerate(dict.fromkeys(r.candidate for r in rates))}
    rounds = {name: place for place, name in enumerate(dict.fromkeys(r.round for r in rates))}
    design = _design(rates, columns, rounds)
    logs = np.log([one.images_per_s for one in rates])
    solve = np.linalg.pinv(design)
    freedom = len(rates) - int(np.linalg.matrix_rank(design))
    solution, spread, robust = _fit(design, solve, logs, freedom)
    distances = np.abs(logs - design @ solution)
    return LaunchEffects(
        rates=rates,
        far_off=tuple(
            one
            for one, distance in zip(rates, distances)
            if distance > max(FAR_OFF * robust, _ENOUGH)
        ),
        spread=spread,
        freedom=float(freedom),
        _design=design,
        _inverse=solve @ solve.T,
        _solution=solution,
        _columns=columns,
        _rounds=rounds,
    )


def _design(rates: Sequence[LaunchRate], columns: dict[int, int], rounds: dict[int, int]) -> Array:
    """A column for each candidate, and one for each round but the last, whose part is minus their sum."""
    design = np.zeros((len(rates), len(columns) + len(rounds) - 1))
    for row, one in enumerate(rates):
        design[row, columns[one.candidate]] = 1
        design[row, len(columns) :] = _round_code(rounds, one.round)
    return design


def _round_code(rounds: dict[int, int], number: int) -> Array:
    code = np.zeros(len(rounds) - 1)
    if rounds[number] == len(rounds) - 1:
        code[:] = -1
    else:
        code[rounds[number]] = 1
    return code


def _fit(design: Array, solve: Array, logs: Array, freedom: int) -> tuple[Array, float, float]:
    """The solution, the sd of one launch allowed for the pulling in, and the robust sd (∞: not used)."""
    solution = solve @ logs
    if freedom < 1:
        return solution, NAN, math.inf
    residuals, robust = logs - design @ solution, math.inf
    # A candidate's only launch has no residual, whatever it was.
    tells = 1 - np.einsum("rc,cr->r", design, solve) > _ENOUGH
    for turn in range(MOST_TURNS if freedom >= LEAST_FREEDOM else 0):
        robust = _robust_spread(residuals[tells], freedom)
        change = solve @ _pulled(residuals, robust, turn >= HUBER_TURNS)
        solution = solution + change
        residuals = logs - design @ solution
        if turn > HUBER_TURNS and np.abs(change).max() < _ENOUGH:
            break
    pulled = _pulled(residuals, robust, falling=True)
    share = float((np.abs(residuals[tells]) <= FULL * robust).mean())
    if not share:  # of arithmetic's rounding alone
        return solution, 0.0, robust
    allowed = 1 + (len(logs) - freedom) / len(logs) * (1 - share) / share
    return solution, allowed * math.sqrt(float(pulled @ pulled) / freedom) / share, robust


def _pulled(residuals: Array, spread: float, falling: bool) -> Array:
    """Residuals pulled in to FULL spreads; where `falling`, to nothing beyond FAR_OFF."""
    if math.isinf(spread):
        return residuals
    near = np.clip(residuals, -FULL * spread, FULL * spread)
    if not falling or not spread:
        return near
    rest = (FAR_OFF - np.abs(residuals) / spread) / (FAR_OFF - FALLING)
    return np.asarray(near * np.clip(rest, 0, 1))


def _robust_spread(residuals: Array, freedom: int) -> float:
    scale = math.sqrt(len(residuals) / freedom)
    return float(_MAD_TO_SD * np.median(np.abs(residuals)) * scale)
