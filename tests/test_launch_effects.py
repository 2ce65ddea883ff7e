from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from distbench.analysis.launch_effects import LaunchRate, fit_launches


def balanced(candidates: int, rounds: int, log: Callable[[int, int], float]) -> list[LaunchRate]:
    return [
        LaunchRate(candidate, number, math.exp(log(candidate, number)))
        for number in range(rounds)
        for candidate in range(candidates)
    ]


def test_what_a_round_does_to_all_is_taken_away() -> None:
    """Round r is slower by 10 r %; candidate 1 is 5 % faster than candidate 0."""
    fit = fit_launches(balanced(2, 3, lambda candidate, r: 0.05 * candidate - 0.1 * r))
    assert fit.ratio(1, 0).log == pytest.approx(0.05)
    assert fit.ratio(0, 1).log == pytest.approx(-0.05)
    assert fit.rate(0).log == pytest.approx(-0.1)  # of the middle round
    assert fit.launches(1) == pytest.approx([-0.05] * 3)
    assert fit.spread == pytest.approx(0, abs=1e-12)
    assert (0 in fit, 2 in fit) == (True, False)


def test_the_ratio_and_its_interval_by_hand() -> None:
    """Two candidates, two rounds: the differences are 0.02 and 0.04, so that 1 degree is left."""
    logs = {(0, 0): 0.0, (1, 0): 0.02, (0, 1): 0.0, (1, 1): 0.04}
    fit = fit_launches(balanced(2, 2, lambda candidate, r: logs[candidate, r]))
    found = fit.ratio(1, 0)
    assert found.log == pytest.approx(0.03)
    assert found.error == pytest.approx(0.01)  # sd of the differences ÷ √2
    assert found.freedom == 1
    low, high = found.interval()
    assert (low, high) == pytest.approx(
        (math.exp(0.03 - 12.706 * 0.01), math.exp(0.03 + 12.706 * 0.01)), rel=1e-3
    )


def test_a_candidate_against_itself_is_one_for_certain() -> None:
    fit = fit_launches(balanced(2, 3, lambda candidate, r: 0.01 * ((candidate + r) % 2)))
    assert fit.ratio(1, 1).interval() == (1.0, 1.0)


def test_one_launch_each_has_no_interval() -> None:
    fit = fit_launches(balanced(3, 1, lambda candidate, r: 0.1 * candidate))
    assert fit.ratio(2, 0).log == pytest.approx(0.2)
    assert math.isnan(fit.ratio(2, 0).interval()[0])
    assert math.isnan(fit.spread)


def test_candidates_without_a_common_round_cannot_be_compared() -> None:
    rates = [LaunchRate(0, 1, 100.0), LaunchRate(0, 2, 101.0), LaunchRate(1, 3, 100.0)]
    assert math.isnan(fit_launches(rates).ratio(1, 0).log)
    joined = [*rates, LaunchRate(2, 2, 100.0), LaunchRate(2, 3, 50.0)]
    assert fit_launches(joined).ratio(1, 0).log == pytest.approx(math.log(2 / 1.01))


def test_a_launch_that_lies_far_off_counts_for_nothing() -> None:
    noise = np.random.default_rng(1).normal(0, 0.01, (6, 6))

    def log(candidate: int, r: int) -> float:
        return float(noise[candidate, r]) - (0.3 if (candidate, r) == (1, 2) else 0.0)

    fit = fit_launches(balanced(6, 6, log))
    plain_mean = float(noise[1].mean() - noise[0].mean()) - 0.3 / 6
    assert plain_mean < -0.04
    assert abs(fit.ratio(1, 0).log) < 0.015
    assert fit.spread < 0.02
    assert [(one.candidate, one.round) for one in fit.far_off] == [(1, 2)]


def test_quiet_launches_all_count() -> None:
    noise = np.random.default_rng(2).normal(0, 0.01, (6, 6))
    fit = fit_launches(balanced(6, 6, lambda candidate, r: float(noise[candidate, r])))
    assert fit.far_off == ()


@pytest.mark.parametrize(("candidates", "rounds"), [(2, 8), (8, 3), (16, 2)])
def test_intervals_hold_the_truth_about_as_often_as_they_promise(
    candidates: int, rounds: int
) -> None:
    rng, hits = np.random.default_rng(7), 0
    for _ in range(300):
        noise = rng.normal(0, 0.01, (candidates, rounds))
        drift = rng.normal(0, 0.05, rounds)
        fit = fit_launches(
            balanced(candidates, rounds, lambda c, r: 0.02 * c + drift[r] + noise[c, r])  # noqa: B023
        )
        low, high = fit.ratio(1, 0).interval()
        hits += low <= math.exp(0.02) <= high
    assert 0.91 <= hits / 300 <= 0.985
