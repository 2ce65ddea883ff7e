from __future__ import annotations

import pytest

from distbench.tune.budget import Budget, LaunchTime, expected_s


def test_what_was_spent_before_counts() -> None:
    now = [100.0]
    budget = Budget(60.0, spent_before_s=10.0, clock=lambda: now[0])
    assert (budget.spent_s, budget.left_s) == (10.0, 50.0)
    now[0] += 70.0
    assert (budget.spent_s, budget.left_s) == (80.0, -20.0)


TIMES = [LaunchTime("a", 10.0, 11.0), LaunchTime("a", 10.0, 12.0), LaunchTime("b", 40.0, 26.0)]


@pytest.mark.parametrize(
    ("cell", "work", "seconds"),
    [
        ("a", 10.0, 12.0),  # the longest of its own
        ("a", 99.0, 12.0),
        ("new", 10.0, 12.0),  # as those with the same work
        ("new", 1.0, 12.0),  # less work saves no start-up
        ("new", 20.0, 26.0),  # at most as long as one with more work
        ("new", 80.0, 46.0),  # 40 images more, at (26 - 11) s for 30 images
    ],
)
def test_how_long_a_launch_may_take(cell: str, work: float, seconds: float) -> None:
    assert expected_s(cell, work, TIMES) == pytest.approx(seconds)


def test_without_launches_of_different_work_it_grows_in_proportion() -> None:
    assert expected_s("new", 20.0, TIMES[:2]) == pytest.approx(12.0 + 12.0)


def test_more_work_never_takes_less_time() -> None:
    assert expected_s("new", 80.0, [TIMES[2], LaunchTime("c", 10.0, 90.0)]) == pytest.approx(26.0)


def test_nothing_is_expected_of_the_first() -> None:
    assert expected_s("a", 1.0, []) is None
