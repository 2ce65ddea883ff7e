"""The loss budget: from the ideal step to the measured one, part by part.

The loss of a size is its median step minus the ideal one: that step × its efficiency (METHOD 3.6). Each
part is the median over the rounds of differences inside a round, of this size minus the baseline. The
residual is the loss minus the parts, so that they sum to it exactly. In a single round the rungs leave
nothing over: what the residual shows is that medians do not add up, or that phases were not run.
Nothing is clipped; a negative part gives time back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from distbench.analysis.collect import Run
from distbench.analysis.communication import communication
from distbench.analysis.limits import Links
from distbench.analysis.loss_ladder import (
    COMPUTING,
    EXPOSED,
    RESIDUAL,
    WIRE,
    Ladder,
    Scheme,
    costs,
    ladders,
    scheme_of,
)
from distbench.analysis.scaling import Point, curve_phase, curve_points, widened
from distbench.analysis.statistics import median_interval

LARGE = 0.1  # of the loss: so much of it is not to be left without a word
NO_BASELINE = "none measured: the typical rank's own computing"
MEASURED_LINKS = (
    "The links count as fast as the run's own fastest allreduce showed them: the wire's part is what no "
    "overlap can hide of an allreduce that is always so fast."
)


@dataclass(frozen=True)
class LossPart:
    """One part of the loss, in seconds a step with its 95 % interval; NaN ends where there is none.

    `share` is loss_s ÷ the measured step: points of efficiency as a fraction.
    """

    name: str
    loss_s: float
    low_s: float
    high_s: float
    share: float
    share_low: float
    share_high: float


@dataclass(frozen=True)
class LossBudget:
    """Where the time of one size goes, from `ideal_s` to `measured_s`, seconds a step.

    `efficiency` is ideal_s ÷ measured_s; `loss_low_s` and `loss_high_s` are the interval of `loss_s`.
    `parts` sum to `loss_s` and end with the residual. `exposed_s` is what of the communication is
    exposed, with its interval, and `allreduce_s` the allreduce alone; NaN where they were not run.
    `has_baseline` is False where one size was measured, and the ideal is the typical rank's own
    computing. `notes` say what could not be told apart, and what the links rest on.
    """

    size: int
    nodes: int
    phase: str
    baseline: str
    has_baseline: bool
    ideal_s: float
    measured_s: float
    efficiency: float
    loss_low_s: float
    loss_high_s: float
    parts: tuple[LossPart, ...]
    exposed_s: float
    exposed_low_s: float
    exposed_high_s: float
    allreduce_s: float
    scaling: str
    device_kind: str
    is_simulated: bool
    notes: tuple[str, ...]

    @property
    def loss_s(self) -> float:
        """What a step takes longer than the ideal one."""
        return self.measured_s - self.ideal_s

    @property
    def residual(self) -> LossPart:
        """What no part explains."""
        return self.parts[-1]

    @property
    def residual_is_large(self) -> bool:
        """Whether the residual is more than a tenth of the loss."""
        return abs(self.residual.loss_s) > LARGE * abs(self.loss_s)

    @property
    def largest(self) -> LossPart:
        """The part that costs most."""
        return max(self.parts, key=lambda part: part.loss_s)

    @property
    def giving_back(self) -> tuple[LossPart, ...]:
        """The parts by which the loss is clearly smaller, each by more than a tenth of it."""
        limit_s = -LARGE * abs(self.loss_s)
        named = self.parts[:-1]
        return tuple(part for part in named if part.loss_s < limit_s and part.high_s < 0)

    @property
    def is_clear(self) -> bool:
        """Whether the loss differs from 0 by its interval; without an interval it is taken to."""
        return not self.loss_low_s <= 0 <= self.loss_high_s

    @property
    def is_disturbed(self) -> bool:
        """Whether more communication is exposed than the allreduce alone takes: interference."""
        low_s = self.exposed_s if math.isnan(self.exposed_low_s) else self.exposed_low_s
        return low_s > self.allreduce_s

    @property
    def is_below_computing(self) -> bool:
        """Whether less than nothing is exposed: with communication the step is faster than without."""
        high_s = self.exposed_s if math.isnan(self.exposed_high_s) else self.exposed_high_s
        return high_s < 0


def loss_budgets(
    run: Run, jobs: pd.DataFrame, scaling: pd.DataFrame | None, links: Links
) -> tuple[LossBudget, ...]:
    """The budget of every size that has a baseline, ascending; none for the baseline itself.

    `jobs` is what `job_steps` made of the run's steps, `scaling` the curve. Where one size of two
    ranks or more was asked for, there is one budget against the typical rank's own computing.
    """
    phase = curve_phase(run.config)
    if phase is None:
        return ()
    sizes = _sizes(run, jobs, phase, links)
    budgets = []
    for size, base_size, baseline, efficiency in _wanted(run, sizes, scaling):
        own, base = sizes[size], sizes.get(base_size)
        compared = _with_baseline(own, base, efficiency, phase) if base else _alone(own, phase)
        if compared is not None and not compared.lost.empty:
            budgets.append(_budget(run, own, compared, phase, baseline, links))
    return tuple(budgets)


class _Size(NamedTuple):
    """One size as measured: its median step, images per rank and step, and its ladder."""

    point: Point
    step_s: float
    batch: float
    ladder: Ladder


def _sizes(run: Run, jobs: pd.DataFrame, phase: str, links: Links) -> dict[int, _Size]:
    points = [point for point in curve_points(jobs) if (point.jobs["phase"] == phase).any()]
    found = {}
    for point, ladder in zip(points, ladders(run, jobs, points, phase, links)):
        steps = point.jobs[point.jobs["phase"] == phase]
        batch = int(steps["images"].iloc[0]) / point.size
        found[point.size] = _Size(point, float(steps["step_s"].median()), batch, ladder)
    return found


def _wanted(
    run: Run, sizes: Iterable[int], scaling: pd.DataFrame | None
) -> list[tuple[int, int, str, float]]:
    """Size, the baseline's size (0: none) and name, and efficiency of each budget that can be made."""
    asked = run.config.sizes or (run.size,)
    if len(asked) == 1:
        return [(size, 0, NO_BASELINE, math.nan) for size in sizes if size == asked[0] > 1]
    if scaling is None:
        return []
    return [
        (int(row.size), int(row.baseline_size), str(row.baseline), float(row.efficiency))
        for row in scaling.itertuples()
        if row.size != row.baseline_size and not math.isnan(row.efficiency)
    ]


class _Compared(NamedTuple):
    """One size beside its ideal, in seconds: by round what is lost, and what of it each part is.

    `parts` holds rounds × names. `exposed` are those names whose sum is the exposed communication,
    with the one last that takes what the others leave.
    """

    ideal_s: float
    has_baseline: bool
    lost: pd.Series
    parts: pd.DataFrame
    exposed: tuple[str, ...]
    notes: tuple[str, ...]


def _with_baseline(own: _Size, base: _Size, efficiency: float, phase: str) -> _Compared:
    ratio = own.batch / base.batch
    lost = own.ladder.whole - ratio * base.ladder.whole
    spent = costs(own.ladder) - ratio * costs(base.ladder)
    scheme = scheme_of(own.ladder, phase)
    return _compared(efficiency * own.step_s, True, lost, spent, scheme)


def _alone(own: _Size, phase: str) -> _Compared | None:
    """None where computing was not measured apart."""
    scheme, typical = scheme_of(own.ladder, phase), own.ladder.typical
    if COMPUTING not in scheme.parts:
        return None
    without = scheme._replace(parts=tuple(name for name in scheme.parts if name != COMPUTING))
    lost = own.ladder.whole - typical
    return _compared(float(typical.median()), False, lost, costs(own.ladder), without)


def _compared(
    ideal_s: float, has_baseline: bool, lost: pd.Series, spent: pd.DataFrame, scheme: Scheme
) -> _Compared:
    """Rounds that lack a rung are left out."""
    parts = spent.copy()
    if scheme.rest:
        parts[scheme.rest] = spent[EXPOSED] - spent[list(scheme.known)].sum(axis=1)
    parts = parts[list(scheme.parts)]
    whole = parts.notna().all(axis=1) & lost.reindex(parts.index).notna()
    rounds = parts.index[whole]
    exposed = (*scheme.known, scheme.rest) if scheme.rest else ()
    return _Compared(ideal_s, has_baseline, lost[rounds], parts.loc[rounds], exposed, scheme.notes)


def _budget(
    run: Run, own: _Size, compared: _Compared, phase: str, baseline: str, links: Links
) -> LossBudget:
    measured_s = own.step_s
    loss_s = measured_s - compared.ideal_s
    whole = own.ladder.whole
    total = _part("", loss_s, compared.lost, whole, measured_s)
    cost = communication(own.point.jobs)
    notes = compared.notes
    if WIRE in compared.parts and links.is_measured:
        notes = (*notes, MEASURED_LINKS)
    return LossBudget(
        size=own.point.size,
        nodes=len(own.ladder.on_nodes),
        phase=phase,
        baseline=baseline,
        has_baseline=compared.has_baseline,
        ideal_s=compared.ideal_s,
        measured_s=measured_s,
        efficiency=compared.ideal_s / measured_s,
        loss_low_s=total.low_s,
        loss_high_s=total.high_s,
        parts=tuple(_parts(compared, loss_s, whole, measured_s)),
        exposed_s=cost.exposed_s,
        exposed_low_s=cost.exposed_interval_s.low,
        exposed_high_s=cost.exposed_interval_s.high,
        allreduce_s=float(own.ladder.allreduce.median()),
        scaling=run.config.scaling,
        device_kind=run.device_kind,
        is_simulated=run.is_simulated,
        notes=notes,
    )


def _parts(
    compared: _Compared, loss_s: float, whole: pd.Series, measured_s: float
) -> list[LossPart]:
    """Every part, and the residual last: what the others leave of the loss."""
    values = {str(name): float(rounds.median()) for name, rounds in compared.parts.items()}
    if compared.exposed:
        *known, rest = compared.exposed
        exposed_s = float(compared.parts[list(compared.exposed)].sum(axis=1).median())
        values[rest] = exposed_s - math.fsum(values[name] for name in known)
    parts = [
        _part(name, value_s, compared.parts[name], whole, measured_s)
        for name, value_s in values.items()
    ]
    left_s = loss_s - math.fsum(values.values())
    left = compared.lost - compared.parts.sum(axis=1)
    return [*parts, _part(RESIDUAL, left_s, left, whole, measured_s)]


def _part(
    name: str, value_s: float, rounds: pd.Series, whole: pd.Series, measured_s: float
) -> LossPart:
    """With the intervals of the rounds' own values, grown where they must to hold the part's."""
    share = value_s / measured_s
    of_time = widened(median_interval(rounds.to_numpy()), value_s)
    of_step = widened(median_interval((rounds / whole).dropna().to_numpy()), share)
    return LossPart(name, value_s, of_time.low, of_time.high, share, of_step.low, of_step.high)


def loss_frame(budgets: Sequence[LossBudget]) -> pd.DataFrame:
    """One row per size and part, sizes ascending, parts from ideal to measured.

    `step_loss_s` is what the whole step loses: the sum of `loss_s` over the parts of a size.
    `share_of_loss` = loss_s ÷ step_loss_s.
    """
    rows = [_frame_row(budget, part) for budget in budgets for part in budget.parts]
    return pd.DataFrame(rows)


def _frame_row(budget: LossBudget, part: LossPart) -> dict[str, object]:
    return {
        **{name: getattr(budget, name) for name in _OF_BUDGET},
        "step_loss_s": budget.loss_s,
        "step_loss_s_low": budget.loss_low_s,
        "step_loss_s_high": budget.loss_high_s,
        "part": part.name,
        "loss_s": part.loss_s,
        "loss_s_low": part.low_s,
        "loss_s_high": part.high_s,
        "share": part.share,
        "share_low": part.share_low,
        "share_high": part.share_high,
        "share_of_loss": part.loss_s / budget.loss_s if budget.loss_s else math.nan,
    }


_OF_BUDGET = (
    "size",
    "nodes",
    "phase",
    "baseline",
    "ideal_s",
    "measured_s",
    "efficiency",
    "exposed_s",
    "exposed_low_s",
    "exposed_high_s",
    "allreduce_s",
)
