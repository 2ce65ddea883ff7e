from __future__ import annotations

import math

import numpy as np
import pytest

from distbench.analysis.launch_intervals import mean_of_launches, paired_ratio, unpaired_ratio

T_2 = 4.302653  # Student's t for 97.5 % with 2 degrees of freedom


def test_students_interval_of_the_mean() -> None:
    value, low, high = mean_of_launches([1.0, 2.0, 3.0])  # sd 1
    assert value == 2.0
    assert low == pytest.approx(2 - T_2 / math.sqrt(3), abs=1e-5)
    assert high == pytest.approx(2 + T_2 / math.sqrt(3), abs=1e-5)


def test_one_launch_has_no_interval() -> None:
    value, *ends = mean_of_launches([5.0])
    assert value == 5.0
    assert all(math.isnan(end) for end in ends)
    for ratio in (paired_ratio([0.5]), unpaired_ratio([1.0], [2.0, 2.0])):
        assert ratio.value == pytest.approx(0.5)
        assert math.isnan(ratio.low)
        assert math.isnan(ratio.high)


def test_ratios_within_launches_are_averaged_by_their_logarithms() -> None:
    value, low, high = paired_ratio([1.0, math.e, math.e**2])
    assert value == pytest.approx(math.e)
    assert low == pytest.approx(math.exp(1 - T_2 / math.sqrt(3)), rel=1e-5)
    assert high == pytest.approx(math.exp(1 + T_2 / math.sqrt(3)), rel=1e-5)


def test_welchs_interval_between_launches() -> None:
    """Variances of the logarithms 2 and 2, two launches each: se √2, 2 degrees of freedom."""
    value, low, high = unpaired_ratio([1.0, math.e**2], [math.e, math.e**3])
    assert value == pytest.approx(1 / math.e)
    assert low == pytest.approx(math.exp(-1 - T_2 * math.sqrt(2)), rel=1e-5)
    assert high == pytest.approx(math.exp(-1 + T_2 * math.sqrt(2)), rel=1e-5)


def test_launches_that_are_all_alike_leave_no_doubt() -> None:
    assert unpaired_ratio([4.0, 4.0], [2.0, 2.0, 2.0]) == pytest.approx((2.0, 2.0, 2.0))
    assert mean_of_launches([3.0, 3.0]) == (3.0, 3.0, 3.0)


def test_two_wild_launches_bound_nothing() -> None:
    value, low, high = paired_ratio([1e-60, 1e60])
    assert value == pytest.approx(1.0)
    assert (low, high) == (0.0, math.inf)


def test_the_interval_covers_the_truth_as_often_as_it_promises() -> None:
    """1 % launch effect, five launches, as in METHOD R2: 95 % of the intervals, not 14 %."""
    generator = np.random.default_rng(1)
    launches = generator.normal(1.0, 0.01, size=(2000, 5))
    covered = [low <= 1.0 <= high for _, low, high in map(mean_of_launches, launches.tolist())]
    assert 0.935 <= np.mean(covered) <= 0.965


def test_the_ratio_between_launches_covers_the_truth_too() -> None:
    generator = np.random.default_rng(2)
    own = 0.9 * np.exp(generator.normal(0, 0.03, size=(1000, 5)))
    base = np.exp(generator.normal(0, 0.01, size=(1000, 4)))
    found = [unpaired_ratio(one, other) for one, other in zip(own.tolist(), base.tolist())]
    assert 0.93 <= np.mean([low <= 0.9 <= high for _, low, high in found]) <= 0.97
