from __future__ import annotations

import math

import numpy as np
import pytest

from distbench.analysis.autocorrelation import (
    UNSEEN,
    Correlation,
    inflation,
    lag_one,
    of_neighbouring_blocks,
)


def ar1(rho: float, count: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(count)
    series = np.empty(count)
    series[0] = noise[0]
    for index in range(1, count):
        series[index] = rho * series[index - 1] + math.sqrt(1 - rho**2) * noise[index]
    return series


def test_four_values_by_hand() -> None:
    # variance 1, differences 0, 2, 0: 1 − (4/3) ÷ 2 = 1/3, and (1 + 3 · 1/3) ÷ 4 for the mean
    values = np.array([-1.0, -1.0, 1.0, 1.0])
    found = lag_one(values, np.ones(3, dtype=bool))
    assert found == (pytest.approx(1 / 3 + 2 / 4), 3)
    # where the pair in the middle does not follow, neighbours are the same, and no more than MOST
    assert lag_one(values, np.array([True, False, True])) == (0.99, 2)


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.6, 0.9])
def test_a_long_series_shows_its_correlation(rho: float) -> None:
    found = lag_one(ar1(rho, 20_000), np.ones(19_999, dtype=bool))
    assert found.value == pytest.approx(rho, abs=0.02)


def test_short_series_are_right_on_average() -> None:
    found = [
        lag_one((values := ar1(0.6, 60, seed)) - values.mean(), np.ones(59, dtype=bool)).value
        for seed in range(300)
    ]
    assert np.mean(found) == pytest.approx(0.6, abs=0.04)


def test_an_outlier_does_not_hide_it() -> None:
    values = ar1(0.8, 2000)
    values[1000] = 1e6
    assert lag_one(values, np.ones(1999, dtype=bool)).value == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("values", [[1.0] * 50, [1.0, 1 + 1e-9] * 25])
def test_what_does_not_vary_is_not_correlated(values: list[float]) -> None:
    assert lag_one(np.array(values) - 1, np.ones(49, dtype=bool)) == (0.0, 49)


def test_without_pairs_nothing_is_known() -> None:
    found = lag_one(np.array([1.0, -1.0, 1.0]), np.zeros(2, dtype=bool))
    assert found == (0.0, 0)
    assert not found.is_told_from_zero(0.5)
    assert found.as_it_may_be(0.05) == UNSEEN


def test_when_it_is_told_from_zero() -> None:
    # one of 40 independent series of 100 pairs shows more than 1.96 ÷ 10
    assert not Correlation(0.19, 100).is_told_from_zero(0.025)
    assert Correlation(0.20, 100).is_told_from_zero(0.025)


def test_what_must_be_reckoned_with() -> None:
    assert Correlation(0.1, 100).as_it_may_be(0.01) == pytest.approx(0.3)
    assert Correlation(0.1, 10).as_it_may_be(0.01) == UNSEEN
    assert Correlation(0.8, 100).as_it_may_be(0.01) == pytest.approx(0.86)
    assert Correlation(0.985, 100).as_it_may_be(0.01) == 0.99


def test_blocks_by_hand() -> None:
    # blocks of one step with two others between: ρ³
    assert of_neighbouring_blocks(0.5, 1, 2) == pytest.approx(0.125)
    # a, b | c, d: cov = ρ + 2ρ² + ρ³ = 1.125, var = 2 + 2ρ = 3
    assert of_neighbouring_blocks(0.5, 2, 0) == pytest.approx(1.125 / 3)
    assert of_neighbouring_blocks(0.5, 2, 1) == pytest.approx(1.125 / 6)
    assert of_neighbouring_blocks(0.0, 2, 0) == 0


@pytest.mark.parametrize(("rho", "steps", "gap"), [(0.6, 5, 0), (0.9, 10, 3), (0.6, 2, 1)])
def test_blocks_of_a_series_are_as_alike_as_that(rho: float, steps: int, gap: int) -> None:
    series = ar1(rho, 200_000 // (steps + gap) * (steps + gap))
    means = series.reshape(-1, steps + gap)[:, :steps].mean(axis=1)
    found = np.corrcoef(means[1:], means[:-1])[0, 1]
    assert found == pytest.approx(of_neighbouring_blocks(rho, steps, gap), abs=0.03)


def test_inflation_by_hand() -> None:
    assert inflation(0.0) == 1
    assert inflation(0.6) == pytest.approx(4)
