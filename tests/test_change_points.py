from __future__ import annotations

import math

import numpy as np
import pytest

from distbench.analysis.change_points import fit_line, fit_step, shift_p, trend_p


def test_a_line_by_hand() -> None:
    series = np.array([1.0, 1.1, 1.2, 1.3, 1.4, 1.5])
    found = fit_line(series)
    assert found.values == pytest.approx(series)
    assert found.squares == pytest.approx(0, abs=1e-20)
    # 1.05 and 1.45 are the thirds' medians, four of five intervals apart
    assert found.change == pytest.approx(0.5)


def test_one_wild_value_is_no_change() -> None:
    assert fit_line(np.array([1.0] * 11 + [50.0])).change == 0


def test_a_step_by_hand() -> None:
    # levels 1.0 and 1.2 from the third value on; around them ± 0.01
    series = np.array([1.01, 0.99, 1.21, 1.19, 1.21, 1.19])
    found = fit_step(series)
    assert found.at == 2
    assert found.change == pytest.approx(0.2)
    assert found.squares == pytest.approx(6 * 0.01**2)
    # t = 0.2 ÷ √(6e-4 ÷ 4 · (1/2 + 1/4)) = 18.86 with 4 degrees of freedom; 3 places between values
    # and 2 within a block were tried
    t = 0.2 / math.sqrt(1.5e-4 * 0.75)
    assert shift_p(found) == pytest.approx(5 * two_sided_t4(t), rel=1e-6)
    assert shift_p(found, inflation=4.0) == pytest.approx(5 * two_sided_t4(t / 2), rel=1e-6)


def test_a_shift_within_a_block_by_hand() -> None:
    # 1.0 and 1.2 again, and one block in which both met
    found = fit_step(np.array([1.01, 0.99, 1.12, 1.21, 1.19, 1.20]))
    assert (found.at, found.between) == (2, 1)
    assert found.change == pytest.approx(0.2)
    assert found.squares == pytest.approx(4 * 0.01**2)
    assert shift_p(found) < 0.005
    # what lies beyond both levels is no meeting of them
    assert fit_step(np.array([1.01, 0.99, 1.40, 1.21, 1.19, 1.20])).between == 0


def two_sided_t4(t: float) -> float:
    """Student's t with 4 degrees of freedom, in closed form."""
    x = t / math.sqrt(4 + t * t)
    return 1 - 1.5 * (x - x**3 / 3)


def test_either_part_has_two_values_and_a_tenth() -> None:
    assert fit_step(np.array([9.0, 1, 1, 1, 1, 1])).at == 2
    assert fit_step(np.array([1.0, 1, 1, 1, 1, 9])).at == 4
    assert fit_step(np.array([9.0] * 3 + [1.0] * 97)).at == 10


def test_a_steady_rise_of_six_is_the_least_that_is_a_trend() -> None:
    rise = np.array([1.0, 1.1, 1.3, 1.4, 1.8, 1.9])
    assert trend_p(rise) == pytest.approx(2 / math.factorial(6), rel=1e-9)
    assert trend_p(rise[::-1]) == pytest.approx(2 / math.factorial(6), rel=1e-9)
    assert trend_p(np.array([1.0, 1.1, 1.3, 1.4, 1.9, 1.8])) > 0.003


def test_a_trend_among_what_is_alike_is_less_certain() -> None:
    rise = np.array([1.0, 1.1, 1.3, 1.4, 1.8, 1.9])
    # the normal deviate of 0.00278 is 2.9913; a quarter of the information halves it
    assert trend_p(rise, inflation=4.0) == pytest.approx(math.erfc(2.9913 / 2 / math.sqrt(2)), 1e-3)


@pytest.mark.parametrize("count", [6, 50])
def test_what_is_all_the_same_has_neither(count: int) -> None:
    series = np.ones(count)
    assert trend_p(series) == 1
    assert shift_p(fit_step(series)) == 1


def test_a_shift_without_any_noise_is_certain() -> None:
    series = np.array([1.0] * 4 + [2.0] * 4)
    assert shift_p(fit_step(series)) == 0


@pytest.mark.parametrize("count", [6, 10, 30])
def test_noise_alone_is_seldom_called_a_shift_or_a_trend(count: int) -> None:
    """At 5 %; of 400 series the expected 20 and four standard deviations are 37."""
    generator = np.random.default_rng(count)
    noise = [generator.standard_normal(count) for _ in range(400)]
    assert sum(shift_p(fit_step(one)) < 0.05 for one in noise) <= 37
    assert sum(trend_p(one) < 0.05 for one in noise) <= 37
