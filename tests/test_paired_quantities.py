from __future__ import annotations

import math

import pytest

from distbench.analysis.cell_pairs import CellPair
from distbench.analysis.paired_quantities import EFFICIENCY, Measured, measure
from tests.compare_fakes import launch

STEP = (2, "train_step")


def pair(*sides: list[object], label: str = "") -> CellPair:
    return CellPair(label, *(tuple(side) for side in sides))  # type: ignore[arg-type]


def only(rows: list[Measured]) -> Measured:
    (row,) = rows
    return row


def test_one_launch_each_is_compared_by_its_rounds() -> None:
    row = only(measure(pair([launch([10.0, 10.0, 10.0])], [launch([11.0, 10.0, 12.1])]))[0])
    assert (row.size, row.quantity) == STEP
    assert (row.replication, row.count_a, row.count_b) == ("rounds", 3, 3)
    assert row.a == pytest.approx(0.01)
    assert row.b == pytest.approx(0.011)  # the cube root of 11 · 10 · 12.1
    assert row.found.ratio == pytest.approx(1.1)


@pytest.mark.parametrize(
    ("a", "b", "replication", "counts"),
    [
        (1, 1, "rounds", (4, 4)),
        (2, 1, "rounds", (8, 4)),
        (2, 2, "launches", (2, 2)),
        (3, 1, "launches", (3, 1)),
        (1, 3, "launches", (1, 3)),
    ],
)
def test_launches_are_the_unit_where_there_are_enough(
    a: int, b: int, replication: str, counts: tuple[int, int]
) -> None:
    rounds = [10.0, 10.1, 10.2, 10.3]
    row = only(measure(pair([launch(rounds)] * a, [launch(rounds)] * b))[0])
    assert row.replication == replication
    assert (row.count_a, row.count_b) == counts


def test_a_launch_counts_by_its_median_whatever_its_rounds() -> None:
    a = [launch([10.0, 10.0, 99.0]), launch([10.0, 10.0, 10.0])]
    row = only(measure(pair(a, a))[0])
    assert (row.replication, row.a) == ("launches", pytest.approx(0.01))


def test_what_only_one_side_has_is_named_and_not_compared() -> None:
    a = [launch({STEP: [1.0, 1.1], (4, "train_step"): [1.0, 1.1]})]
    b = [launch({STEP: [1.0, 1.1], (2, "forward"): [1.0, 1.1]})]
    rows, apart, _ = measure(pair(a, b, label="config D"))
    assert [(row.cell, row.size, row.quantity) for row in rows] == [("config D", *STEP)]
    assert apart == [
        "only A has train_step of 4 rank(s) of config D",
        "only B has forward of 2 rank(s) of config D",
    ]


def test_all_phases_of_a_size_that_one_side_lacks_are_one_line() -> None:
    steps = [1.0, 1.1]
    a = [launch({STEP: steps, (4, "forward"): steps, (4, "train_step"): steps})]
    _, apart, _ = measure(pair(a, [launch({STEP: steps})]))
    assert apart == ["only A has forward, train_step of 4 rank(s)"]


def curve(one: list[float], two: list[float], **changes: object) -> object:
    return launch({(1, "train_step"): one, STEP: two}, measures_sizes_together=True, **changes)


def test_efficiency_of_launches_that_hold_their_baseline_is_by_round() -> None:
    """Rounds drift together: each has an efficiency of exactly 10 ÷ 12.5, so nothing varies."""
    a = [curve([10.0, 11.0, 12.0], [12.5, 13.75, 15.0])]
    b = [curve([10.0, 11.0, 12.0], [20.0, 22.0, 24.0])]
    row = next(row for row in measure(pair(a, b))[0] if row.quantity == EFFICIENCY)
    assert (row.size, row.a, row.b) == (2, pytest.approx(0.8), pytest.approx(0.5))
    assert row.found.ratio == pytest.approx(0.625)
    assert row.found.error == pytest.approx(0, abs=1e-12)
    assert (row.replication, row.count_a) == ("rounds", 3)


def test_efficiency_of_separate_launches_holds_the_spread_of_both_sizes() -> None:
    a, b = (
        [
            launch({(size, "train_step"): [ms]}, run_id=run_id)
            for size, first in ((1, 10.0), (2, 12.4))
            for ms in (first, first + 0.1, first + 0.2)
        ]
        for run_id in ("run-1", "run-2")
    )
    row = next(row for row in measure(pair(a, b))[0] if row.quantity == EFFICIENCY)
    steps = [row for row in measure(pair(a, b))[0] if row.quantity != EFFICIENCY]
    assert row.found.error > 0
    assert row.replication == "launches"
    assert row.a == pytest.approx(steps[0].a / steps[1].a)
    assert row.found.error**2 == pytest.approx(sum(step.found.error**2 for step in steps))
    assert math.isnan(row.b_half)


def test_efficiencies_against_different_baselines_are_not_compared() -> None:
    a = [curve([10.0, 10.1], [12.0, 12.1])]
    b = [launch({STEP: [12.0, 12.1], (4, "train_step"): [13.0, 13.1]})]
    rows, _, notes = measure(pair(a, b))
    assert [row.quantity for row in rows] == ["train_step"]
    assert notes == ["efficiency is not compared: A's baseline is size 1, B's size 2"]


def test_efficiencies_of_different_phases_are_not_compared() -> None:
    a = curve([10.0, 10.1], [12.0, 12.1])
    b = curve([10.0, 10.1], [12.0, 12.1], curve_phase="forward")
    assert all(row.quantity != EFFICIENCY for row in measure(pair([a], [b]))[0])


def test_efficiency_needs_a_launch_with_both_sizes() -> None:
    whole = curve([10.0, 10.1], [12.0, 12.1])
    halves = [
        launch({(1, "train_step"): [10.0, 10.1]}, measures_sizes_together=True),
        launch({STEP: [12.0, 12.1]}, measures_sizes_together=True),
    ]
    rows = measure(pair([whole], halves))[0]
    assert [row.quantity for row in rows] == ["train_step", "train_step"]
