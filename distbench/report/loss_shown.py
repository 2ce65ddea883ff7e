"""A loss budget rounded for a reader, so that the parts as shown sum to the loss as shown.

All times of one budget have the same unit and number of decimals. The measured and the ideal step are
rounded, their difference is the loss, and the parts share it out by largest remainders (Hamilton's
method): each is one of the two numbers that its value lies between.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from distbench import units
from distbench.analysis.loss import LossBudget, LossPart

DIGITS = 4  # of the measured step, as elsewhere
LOSS_DIGITS = 3  # of the loss, for which the step gets so many decimals more:
MOST_DECIMALS_MORE = 2
NO_SHARE = ""


class ShownPart(NamedTuple):
    """One part as text; `interval` is that of `time`, `of_loss` empty where there is no clear loss."""

    part: LossPart
    time: str
    interval: str
    points: str
    of_loss: str


class ShownBudget(NamedTuple):
    """One budget as text. Times have their unit, points are per cent of the measured step.

    `is_lost` says that there is a loss to speak of, which its interval tells from none.
    """

    budget: LossBudget
    ideal: str
    measured: str
    loss: str
    loss_interval: str
    efficiency_points: str
    loss_points: str
    parts: tuple[ShownPart, ...]
    is_lost: bool

    def of(self, part: LossPart) -> ShownPart:
        """The text of one part of the budget."""
        return next(one for one in self.parts if one.part is part)


class _Scale(NamedTuple):
    """Seconds as whole numbers of the last digit shown."""

    factor: float
    unit: str
    decimals: int

    def count(self, value_s: float) -> int:
        """How many last digits `value_s` is, rounded as Python writes it."""
        return _count(value_s * self.factor, self.decimals)

    def exact(self, value_s: float) -> float:
        """The same unrounded."""
        return value_s * self.factor * 10.0**self.decimals

    def number(self, count: int) -> str:
        """A count as the number that is shown."""
        return _number(count, self.decimals)

    def text(self, count: int) -> str:
        """The same with its unit."""
        return f"{self.number(count)} {self.unit}"


def shown(budget: LossBudget) -> ShownBudget:
    """The budget as text."""
    scale = _scale(budget)
    measured, ideal = scale.count(budget.measured_s), scale.count(budget.ideal_s)
    counts = apportioned([scale.exact(part.loss_s) for part in budget.parts], measured - ideal)
    efficiency = _count(100 * budget.efficiency, 1)
    points = apportioned([1000 * part.share for part in budget.parts], 1000 - efficiency)
    is_lost = budget.is_clear and measured > ideal and efficiency < 1000
    return ShownBudget(
        budget=budget,
        ideal=scale.text(ideal),
        measured=scale.text(measured),
        loss=scale.text(measured - ideal),
        loss_interval=_interval(scale, budget.loss_low_s, budget.loss_high_s, measured - ideal),
        efficiency_points=_number(efficiency, 1),
        loss_points=_number(1000 - efficiency, 1),
        parts=tuple(
            ShownPart(
                part=part,
                time=scale.text(count),
                interval=_interval(scale, part.low_s, part.high_s, count),
                points=_number(tenths, 1),
                of_loss=share,
            )
            for part, count, tenths, share in zip(
                budget.parts, counts, points, _shares(budget, is_lost)
            )
        ),
        is_lost=is_lost,
    )


def apportioned(values: Sequence[float], total: int) -> list[int]:
    """Whole numbers that sum to `total`, each next to its value; of equal remainders the first is up.

    `total` must be as near to the sum of the values as their number.
    """
    floors = [math.floor(value) for value in values]
    largest_first = sorted(range(len(values)), key=lambda at: floors[at] - values[at])
    up = largest_first[: total - sum(floors)]
    return [floor + (at in up) for at, floor in enumerate(floors)]


def _scale(budget: LossBudget) -> _Scale:
    measured_s, loss_s = budget.measured_s, abs(budget.loss_s)
    steps = ((10.0, 1.0, "s"), (1e-3, 1e3, "ms"), (0.0, 1e6, "µs"))
    factor, unit = next((one[1:]) for one in steps if measured_s >= one[0])
    decimals = max(0, _decimals(measured_s * factor, DIGITS))
    finer = _decimals(loss_s * factor, LOSS_DIGITS) if loss_s else 0
    return _Scale(factor, unit, min(max(decimals, finer), decimals + MOST_DECIMALS_MORE))


def _decimals(value: float, digits: int) -> int:
    return digits - 1 - math.floor(math.log10(value))


def _shares(budget: LossBudget, is_lost: bool) -> list[str]:
    """Of the loss in whole per cent; a share of nothing is none."""
    if not is_lost:
        return [NO_SHARE] * len(budget.parts)
    shares = [100 * part.loss_s / budget.loss_s for part in budget.parts]
    return [f"{count} %" for count in apportioned(shares, 100)]


def _interval(scale: _Scale, low_s: float, high_s: float, count: int) -> str:
    """Rounded outwards, so that it holds what is shown."""
    if math.isnan(low_s) or math.isnan(high_s):
        return units.NOT_AVAILABLE
    low = min(math.floor(round(scale.exact(low_s), 6)), count)
    high = max(math.ceil(round(scale.exact(high_s), 6)), count)
    return f"{scale.number(low)} to {scale.text(high)}"


def _count(value: float, decimals: int) -> int:
    return int(Decimal(f"{value:.{decimals}f}").scaleb(decimals))


def _number(count: int, decimals: int) -> str:
    return f"{Decimal(count).scaleb(-decimals):f}"
