"""Rates of many candidates, launched in rounds: what a candidate does, apart from its round and its luck.

The logarithm of a launch's rate is taken to be a candidate's part, plus its round's, plus noise that is
alike for all candidates: a few launches of each do not tell the spread, those of all together do. The
fit is Huber's (1973, Annals of Statistics 1(5), 799-821): a launch that lies far off, as one does that
shared the machine with somebody, is pulled in to MOST_DEVIATIONS, and the interval allows for that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from distbench.analysis.log_ratios import NAN, LogRatio

MOST_DEVIATIONS = (
    2.0  # robust standard deviations; nearly all launches of a quiet machine lie within
)
LEAST_FREEDOM = 4  # with less nothing tells which of the launches is the one that lies off
MOST_TURNS = 50
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
    """The fit of many launches. `spread` is the sd of one launch's logarithm, NaN where unknown."""

    rates: tuple[LaunchRate, ...]
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
    solution, spread = _fit(design, solve, logs, freedom)
    return LaunchEffects(
        rates=rates,
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


def _fit(design: Array, solve: Array, logs: Array, freedom: int) -> tuple[Array, float]:
    """The solution, and the sd of one launch: that of the pulled-in residuals, allowed for the pulling."""
    solution = solve @ logs
    if freedom < 1:
        return solution, NAN
    residuals, most = logs - design @ solution, math.inf
    # A candidate's only launch has no residual, whatever it was.
    tells = 1 - np.einsum("rc,cr->r", design, solve) > _ENOUGH
    for _ in range(MOST_TURNS if freedom >= LEAST_FREEDOM else 0):
        most = MOST_DEVIATIONS * _robust_spread(residuals[tells], freedom)
        change = solve @ np.clip(residuals, -most, most)
        solution = solution + change
        residuals = logs - design @ solution
        if np.abs(change).max() < _ENOUGH:
            break
    share = float((np.abs(residuals[tells]) <= most).mean())
    pulled = np.clip(residuals, -most, most)
    allowed = 1 + (len(logs) - freedom) / len(logs) * (1 - share) / share if share else math.inf
    return solution, allowed * math.sqrt(float(pulled @ pulled) / freedom) / (share or 1.0)


def _robust_spread(residuals: Array, freedom: int) -> float:
    scale = math.sqrt(len(residuals) / freedom)
    return float(_MAD_TO_SD * np.median(np.abs(residuals)) * scale)
