"""Whether a phase was in a steady state while it was timed, and how alike neighbouring steps are.

A median says what a step takes only where steps go on in the same way from the first block to the last
(Barrett et al. 2017). Whether they do is asked of the medians of the blocks, which are spread over the
whole run: what differs from block to block by chance, for whatever reason, is then no trend.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from distbench.analysis.autocorrelation import (
    Correlation,
    inflation,
    lag_one,
    of_neighbouring_blocks,
)
from distbench.analysis.change_points import Fit, fit_line, fit_step, shift_p, trend_p
from distbench.analysis.collect import Run
from distbench.analysis.statistics import LEAST_SAMPLES
from distbench.analysis.summary import NANOSECONDS_PER_S, main_group, measured_groups
from distbench.config import PHASES

FLAT, WARMUP, SLOWDOWN, UNSTEADY, UNKNOWN = "flat", "warmup", "slowdown", "unsteady", "unknown"
LEAST_SHIFT = 0.03  # of the median; METHOD M12
LEAST_TREND = 0.02  # of the median, from the first block to the last
# Of steady runs, the share in which any phase may be called anything else. Among five phases it still
# lets six blocks speak that grow one after the other, which chance does in 2 ÷ 6! = 0.0028 of cases.
FALSE_ALARMS = 0.03
TESTS = 2  # of each phase: trend and shift
UNLIKELY = 0.01  # of runs of independent steps, the share in which any phase may seem correlated
LEAST_TO_LOOK_INSIDE = 5  # steps of a block whose own correlation says something
FITTED = 3  # parameters of two levels and where they meet
STRETCHES = 12  # into which fewer than LEAST_SAMPLES blocks are cut instead
ADJOINING = 0.5  # of a step between two blocks: what is less is no gap
LEAST_TO_CORRELATE = 20  # blocks whose own correlation says something
NAN = float("nan")
Array = np.ndarray[Any, Any]


class Steadiness(NamedTuple):
    """What became of one phase while it was timed; relative values are fractions of its median.

    `verdict` is 'flat', 'warmup' (faster from some block on), 'slowdown' (slower from some block on),
    'unsteady' (it changed all the time, or more than once) or 'unknown' (too few steps to tell).
    `trend` is the change from the first block to the last, `shift` that of the likeliest change point,
    which came after the fraction `shift_at` of the blocks. `step_correlation` is that of neighbouring
    steps of a block, 0 where it cannot be told from 0. `block_correlation` is the largest that must be
    reckoned with for the medians of neighbouring blocks.
    """

    phase: str
    steps: int
    verdict: str
    trend: float = NAN
    shift: float = NAN
    shift_at: float = NAN
    step_correlation: float = 0.0
    block_correlation: float = 0.0

    @property
    def is_steady(self) -> bool:
        """Whether nothing speaks against a steady state."""
        return self.verdict in (FLAT, UNKNOWN)


def steadiness(run: Run, jobs: pd.DataFrame) -> tuple[Steadiness, ...]:
    """Of every phase of the main group, in the ladder's order; `jobs` is what `job_steps` made."""
    main = main_group(jobs)
    if main is None:
        return ()
    group = measured_groups(jobs)[main]
    phases = [phase for phase in PHASES if (group["phase"] == phase).any()]
    return tuple(
        _of_phase(run, phase, group[group["phase"] == phase], len(phases)) for phase in phases
    )


class _Series(NamedTuple):
    """The job steps of one phase, relative to its median, and the `medians` of its units.

    A unit is a block, or a stretch of one where there are too few blocks; `unit` says of each step in
    which it is, `time` when it began, counted in steps, and `follows` of each step but the first
    whether it goes on with the one before. `size` is how many steps a unit has and `gap` how many
    would fit between two blocks.
    """

    steps: Array
    unit: Array
    medians: Array
    time: Array
    follows: Array
    size: int
    gap: float


def _of_phase(run: Run, phase: str, jobs: pd.DataFrame, phases: int) -> Steadiness:
    """One of `phases` phases that share what a run may be wrongly accused of."""
    series = _series(run, phase, jobs)
    medians, unlikely = series.medians, UNLIKELY / phases
    if len(medians) < LEAST_SAMPLES:
        return Steadiness(phase, len(jobs), UNKNOWN)
    line, step = fit_line(medians), fit_step(medians)
    left = _better(line, step).values
    inside = _correlation_inside(series, left)
    possible = inside.as_it_may_be(unlikely) if _certain(inside, unlikely) else inside.value
    inflated = inflation(of_neighbouring_blocks(possible, series.size, series.gap))
    verdict = _verdict(medians, line, step, inflated, FALSE_ALARMS / phases / TESTS)
    steps = inside
    if verdict == FLAT:
        steps, left = lag_one(series.steps - 1, series.follows), np.ones(len(medians))
    possible = of_neighbouring_blocks(steps.as_it_may_be(unlikely), series.size, series.gap)
    return Steadiness(
        phase=phase,
        steps=len(jobs),
        verdict=verdict,
        trend=line.change,
        shift=step.change,
        shift_at=step.at / len(medians),
        step_correlation=_certain(steps, unlikely),
        block_correlation=max(possible, _certain(_of_blocks(medians - left), unlikely)),
    )


def _series(run: Run, phase: str, jobs: pd.DataFrame) -> _Series:
    middle = jobs.groupby("group", observed=True)["step_s"].transform("median")
    relative = (jobs["step_s"] / middle).to_numpy()
    has_blocks = jobs["block"].nunique() >= LEAST_SAMPLES
    unit = _units(jobs, 1 if has_blocks else STRETCHES)
    medians = pd.Series(relative).groupby(unit).median().to_numpy()
    gap = _gap_s(run, jobs, phase) / float(jobs["step_s"].median()) if has_blocks else 0.0
    block = pd.factorize(jobs["block"], sort=True)[0]
    time = block * (jobs["step"].max() + 1 + gap) + jobs["step"].to_numpy()
    size = round(len(jobs) / len(medians))
    return _Series(relative, unit, medians, time, _follows(jobs, gap), size, gap)


def _correlation_inside(series: _Series, fitted: Array) -> Correlation:
    """Of steps without what changes from unit to unit, lest a change hides behind itself.

    What changes is taken to change between the units, or evenly from the middle of one to the middle
    of the next, whichever leaves less. Short units show nothing but the noise of their own medians:
    there it is the `fitted` change.
    """
    steps, unit, medians = series.steps, series.unit, series.medians
    if series.size < LEAST_TO_LOOK_INSIDE:
        return lag_one(steps - fitted[unit], series.follows, FITTED)
    changes = (medians[unit], _smooth(series))
    return min(lag_one(steps - change, series.follows, len(medians)) for change in changes)


def _smooth(series: _Series) -> Array:
    """Of each step, what lies on the line from one unit's median to the next, in the middle of units.

    Before the first and after the last the line goes on.
    """
    middle = np.bincount(series.unit, series.time) / np.bincount(series.unit)
    after = np.clip(np.searchsorted(middle, series.time), 1, len(middle) - 1)
    slope = np.diff(series.medians) / np.diff(middle)
    return np.asarray(series.medians[after] + slope[after - 1] * (series.time - middle[after]))


def _units(jobs: pd.DataFrame, stretches: int) -> Array:
    """By job step the number of its block, from 0; or of its stretch, where blocks are cut."""
    block = pd.factorize(jobs["block"], sort=True)[0]
    pieces = -(-stretches // (block.max() + 1))
    longest = jobs.groupby("block")["step"].transform("max").to_numpy() + 1
    piece = jobs["step"].to_numpy() * pieces // longest
    return np.asarray(pd.factorize(block * pieces + piece, sort=True)[0])


def _better(line: Fit, step: Fit) -> Fit:
    return line if line.squares < step.squares else step


def _follows(jobs: pd.DataFrame, gap: float) -> Array:
    """Of each row but the first, whether it is the next step of the same group.

    A block goes on with the one before where nothing runs between them: `gap` is in steps.
    """
    block, step = jobs["block"].to_numpy(), jobs["step"].to_numpy()
    group = pd.factorize(jobs["group"])[0]
    is_next = (block[1:] == block[:-1]) & (step[1:] == step[:-1] + 1)
    if gap < ADJOINING:
        is_next |= (block[1:] == block[:-1] + 1) & (step[1:] == 0)
    return np.asarray(is_next & (group[1:] == group[:-1]))


def _gap_s(run: Run, jobs: pd.DataFrame, phase: str) -> float:
    """The median time between two blocks of a phase, in which other phases and groups run."""
    blocks = run.blocks
    is_own = (blocks["phase"] == phase) & (blocks["group"] == jobs["group"].iloc[0])
    own = blocks[is_own & ~blocks["warmup"].astype(bool)]
    own = own[own["rank"] == own["rank"].min()].sort_values("block")
    gaps_ns = own["start_ns"].to_numpy()[1:] - own["end_ns"].to_numpy()[:-1]
    return max(float(np.median(gaps_ns)) / NANOSECONDS_PER_S, 0.0) if len(gaps_ns) else 0.0


def _of_blocks(residuals: Array) -> Correlation:
    """The blocks' own correlation; none where there are too few of them."""
    if len(residuals) < LEAST_TO_CORRELATE:
        return Correlation(0.0, 0)
    return lag_one(residuals, np.ones(len(residuals) - 1, dtype=bool))


def _certain(found: Correlation, alarms: float) -> float:
    return found.value if found.is_told_from_zero(alarms) else 0.0


def _verdict(medians: Array, line: Fit, step: Fit, inflated: float, alarms: float) -> str:
    """`alarms` is the share of steady series of which each of the two tests may say otherwise."""
    is_shifted = _is_shifted(step, inflated, alarms)
    is_trend = abs(line.change) >= LEAST_TREND and trend_p(medians, inflated) < alarms
    if not is_shifted and not is_trend:
        return FLAT
    if _better(line, step) is line:
        return UNSTEADY
    left = medians - step.values
    if _is_shifted(fit_step(left), inflated, alarms):
        return UNSTEADY
    return WARMUP if step.change < 0 else SLOWDOWN


def _is_shifted(step: Fit, inflated: float, alarms: float) -> bool:
    return abs(step.change) >= LEAST_SHIFT and shift_p(step, inflated) < alarms
