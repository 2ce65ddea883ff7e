from __future__ import annotations

import math

import pytest

from distbench.analysis.launch_effects import LaunchEffects, LaunchRate, fit_launches
from distbench.tune import halving
from distbench.tune.halving import behind, clearly_slower, is_decided, verdict, worse_half


def effects_of(*logs: list[float]) -> LaunchEffects:
    """One list of logarithms for each candidate, by round."""
    return fit_launches(
        LaunchRate(candidate, number, math.exp(log))
        for candidate, own in enumerate(logs)
        for number, log in enumerate(own)
    )


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.90, 0.99, "slower"),
        (0.995, 1.005, "no difference that matters"),
        (0.95, 1.005, "at most 1 % faster"),
        (0.95, 1.02, "not resolved"),
        (1.001, 1.02, "not resolved"),
        (math.nan, math.nan, "not resolved"),
        (1 - 1e-15, 1 - 1e-15, "no difference that matters"),
    ],
)
def test_verdicts(low: float, high: float, said: str) -> None:
    assert verdict(low, high) == said


def test_all_looks_together_spend_the_error_once() -> None:
    spent = sum(1 - halving.confidence_of(look, 7) for look in range(1, 10_000))
    assert 7 * spent == pytest.approx(0.05, rel=1e-3)
    assert halving.confidence_of(1, 0) == pytest.approx(0.975)


def test_the_leader_and_those_behind_it() -> None:
    effects = effects_of([0.0, 0.001], [-0.1, -0.101], [0.0005, 0.0])
    assert halving.leader_of(effects, [0, 1, 2]) == 0
    assert halving.leader_of(effects, [1, 2]) == 2
    found = behind(effects, [0, 1, 2, 9], 0, 0.95)
    assert [one.candidate for one in found] == [1, 2]
    assert found[0].verdict == "slower"
    assert clearly_slower(effects, found, 0) == [1]


def test_one_bad_launch_of_two_does_not_cost_a_place() -> None:
    """Sixteen quiet candidates make the pooled spread small; candidate 1's first launch was slow."""
    quiet = [[0.0005 * (number % 2) - 0.01, -0.01] for number in range(30)]
    effects = effects_of([0.0, 0.0], [-0.4, 0.001], *quiet)
    found = behind(effects, [0, 1], 0, 0.95)
    assert found[0].verdict == "slower"
    assert clearly_slower(effects, found, 0) == []


def test_the_worse_half_leaves_and_two_stay() -> None:
    effects = effects_of(*([-0.01 * number] * 2 for number in range(5)))
    assert worse_half(effects, [4, 3, 2, 1, 0]) == [3, 4]
    assert worse_half(effects, [0, 1, 2]) == [2]
    assert worse_half(effects, [0, 1]) == []


def test_it_is_decided_where_nothing_can_be_much_faster() -> None:
    effects = effects_of([0.0, 0.0, 0.0001], [-0.001, 0.0, 0.0])
    assert is_decided(behind(effects, [0, 1], 0, 0.95))
    assert not is_decided(behind(effects_of([0.0], [0.0]), [0, 1], 0, 0.95))
    assert is_decided([])
