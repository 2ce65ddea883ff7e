from __future__ import annotations

import pytest

from distbench.tune.budget import Budget, LaunchTime, expected_s


def test_what_was_spent_before_counts() -> None:
    now = [100.0]
    budget = Budget(60.0, spent_before_s=10.0, clock=lambda: now[0])
    assert (budget.spent_s, budget.left_s) == (10.0, 50.0)
    now[0] += 70.0
    assert (budget.spent_s, budget.left_s) == (80.0, -20.0)


@pytest.mark.parametrize(
    ("cell", "work", "seconds"),
    [
        ("a", 10.0, 12.0),  # the longest of its own
        ("new", 10.0, 12.0),  # as those with the same work
        ("new", 50.0, 37.5),  # a quarter more than b
        ("new", 80.0, 60.0),  # twice the work of b
        ("new", 1.0, 12.0),  # less work saves no start-up
    ],
)
def test_how_long_a_launch_may_take(cell: str, work: float, seconds: float) -> None:
    times = [LaunchTime("a", 10.0, 11.0), LaunchTime("a", 10.0, 12.0), LaunchTime("b", 40.0, 30.0)]
    assert expected_s(cell, work, times) == pytest.approx(seconds)


def test_nothing_is_expected_of_the_first() -> None:
    assert expected_s("a", 1.0, []) is None
