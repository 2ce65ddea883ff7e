"""What is shown sums to what is shown, to the last digit."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distbench.analysis.loss import LossBudget, LossPart
from distbench.analysis.loss_ladder import (
    BEYOND,
    COMPUTING,
    OPTIMIZER,
    OVERHEAD,
    RESIDUAL,
    WAITING,
    WIRE,
)
from distbench.report.loss_shown import apportioned, shown

NAN = float("nan")
NAMES = (COMPUTING, WAITING, OVERHEAD, WIRE, BEYOND, OPTIMIZER)


def budget_of(
    ideal_s: float, *parts_s: float, residual_s: float = 0.0, **changes: Any
) -> LossBudget:
    """A budget whose parts have these values, each with an interval of ± 10 %."""
    measured_s = math.fsum([ideal_s, *parts_s, residual_s])
    parts = tuple(
        LossPart(
            name,
            value_s,
            value_s - 0.1 * abs(value_s),
            value_s + 0.1 * abs(value_s),
            value_s / measured_s,
            0.9 * value_s / measured_s,
            1.1 * value_s / measured_s,
        )
        for name, value_s in (*zip(NAMES, parts_s), (RESIDUAL, residual_s))
    )
    loss_s = measured_s - ideal_s
    values: dict[str, Any] = {
        "size": 8,
        "nodes": 2,
        "phase": "train_step",
        "baseline": "size 1",
        "has_baseline": True,
        "ideal_s": ideal_s,
        "measured_s": measured_s,
        "efficiency": ideal_s / measured_s,
        "loss_low_s": 0.9 * loss_s,
        "loss_high_s": 1.1 * loss_s,
        "parts": parts,
        "exposed_s": NAN,
        "exposed_low_s": NAN,
        "exposed_high_s": NAN,
        "allreduce_s": NAN,
        "scaling": "weak",
        "device_kind": "GPU",
        "is_simulated": False,
        "notes": (),
    }
    return LossBudget(**{**values, **changes})


def test_the_largest_remainders_are_rounded_up() -> None:
    assert apportioned([1.5, 2.4, 0.1], 4) == [2, 2, 0]
    assert apportioned([1.4, 2.4, 0.2], 4) == [2, 2, 0]  # of equal ones the first
    assert apportioned([-1.4, 3.4], 2) == [-1, 3]
    assert apportioned([1.0, 1.0], 2) == [1, 1]
    assert apportioned([], 0) == []


@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=8), st.sampled_from([-1, 0, 1]))
def test_what_is_apportioned_sums_and_lies_beside_its_value(values: list[float], off: int) -> None:
    total = round(math.fsum(values))
    floors = sum(math.floor(value) for value in values)
    total = min(max(total + off, floors), floors + len(values))
    found = apportioned(values, total)
    assert sum(found) == total
    assert all(abs(whole - value) <= 1 for whole, value in zip(found, values))


def number(text: str) -> Decimal:
    return Decimal(re.match(r"-?[0-9.]+", text)[0])  # type: ignore[index]


@given(
    st.floats(1e-5, 100.0),
    st.lists(st.floats(-0.2, 2.0), min_size=6, max_size=6),
    st.floats(-0.1, 0.1),
)
def test_all_that_is_shown_sums(ideal_s: float, relative: list[float], residual: float) -> None:
    budget = budget_of(
        ideal_s, *(ideal_s * part for part in relative), residual_s=ideal_s * residual
    )
    if not budget.measured_s > 0.1 * ideal_s:
        return  # ten times as fast as ideal
    text = shown(budget)
    units = {one.split()[-1] for one in (text.ideal, text.measured, text.loss)}
    assert len(units | {part.time.split()[-1] for part in text.parts}) == 1
    loss = sum(number(part.time) for part in text.parts)
    assert loss == number(text.loss) == number(text.measured) - number(text.ideal)
    points = sum(number(part.points) for part in text.parts)
    assert points == number(text.loss_points) == 100 - number(text.efficiency_points)
    if text.is_lost:
        assert sum(number(part.of_loss) for part in text.parts) == 100
    for part in text.parts:
        low, high = (number(end) for end in part.interval.split(" to "))
        assert low <= number(part.time) <= high


def test_a_budget_in_its_digits() -> None:
    text = shown(budget_of(0.06632, 0.0, 0.003, 0.002, 0.0123, 0.010, 0.0039))
    assert (text.ideal, text.measured, text.loss) == ("66.32 ms", "97.52 ms", "31.20 ms")
    assert (text.efficiency_points, text.loss_points) == ("68.0", "32.0")
    wire = text.parts[3]
    assert (wire.time, wire.points, wire.of_loss) == ("12.30 ms", "12.6", "39 %")
    assert wire.interval == "11.07 to 13.53 ms"
    assert text.loss_interval == "28.08 to 34.32 ms"
    assert text.of(wire.part) is wire


@pytest.mark.parametrize(
    ("ideal_s", "loss_s", "measured", "loss"),
    [
        (20.0, 4.0, "24.00 s", "4.00 s"),
        (1.2, 0.4, "1600 ms", "400 ms"),
        (0.1300, 0.00125, "131.25 ms", "1.25 ms"),  # three digits of the loss
        (0.13, 1e-6, "130.001 ms", "0.001 ms"),  # and no more than two decimals more
        (2e-4, 1e-4, "300.0 µs", "100.0 µs"),
    ],
)
def test_the_unit_follows_the_step_and_the_digits_the_loss(
    ideal_s: float, loss_s: float, measured: str, loss: str
) -> None:
    text = shown(budget_of(ideal_s, 0.0, loss_s))
    assert (text.measured, text.loss) == (measured, loss)


def test_the_intervals_are_rounded_outwards() -> None:
    budget = budget_of(0.1, 0.02, loss_low_s=0.01994, loss_high_s=0.02001)
    assert shown(budget).loss_interval == "19.9 to 20.1 ms"


def test_no_loss_has_no_shares() -> None:
    unclear = budget_of(0.1, 0.001, loss_low_s=-0.001, loss_high_s=0.002)
    gain = budget_of(0.1, -0.01, loss_low_s=-0.012, loss_high_s=-0.009)
    tiny = budget_of(0.1, 0.00004)
    nothing = budget_of(0.1)
    for budget in (unclear, gain, tiny, nothing):
        text = shown(budget)
        assert not text.is_lost
        assert {part.of_loss for part in text.parts} == {""}


def test_without_rounds_enough_there_is_no_interval() -> None:
    budget = budget_of(0.1, 0.02, loss_low_s=NAN, loss_high_s=NAN)
    assert shown(budget).loss_interval == "n/a"
    assert shown(budget).is_lost
