from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from distbench.tune.rounds import DECIDED, NO_MORE_LAUNCHES, Failure
from distbench.tune.search import MOST_PRODUCT, level_effect, search
from distbench.tune.space import Choice
from tests.tune_fakes import KnownLaunches, space_of


def truth(parts: list[list[float]], spread: float, seed: int) -> Callable[[Choice, int], float]:
    """Rates whose logarithms are sums of the levels' parts, with noise and drift."""
    rng = random.Random(seed)

    def rate(choice: Choice, round_number: int) -> float:
        log = sum(own[level] for own, level in zip(parts, choice))
        return 100 * math.exp(log - 0.01 * round_number + rng.gauss(0, spread))

    return rate


def test_few_combinations_all_take_part() -> None:
    launches = KnownLaunches(truth([[0, 0.1], [0, -0.1, 0.05]], 0.003, 1))
    found = search(space_of(2, 3), launches, seed=0)
    assert found.leader is not None
    assert found.choices[found.leader] == (1, 2)
    assert found.ended == DECIDED
    assert len(found.choices) == 6
    assert all(one.verdict == "slower" for one in found.behind_leader())


PARTS = [[0, 0.08, -0.3], [0, 0.05, -0.2], [0, -0.1, 0.06], [0, 0.0, -0.1]]


def test_many_combinations_are_searched_in_stages() -> None:
    space = space_of(3, 3, 3, 3)
    assert space.count > MOST_PRODUCT
    launches = KnownLaunches(truth(PARTS, 0.004, 2))
    said: list[str] = []
    found = search(space, launches, seed=0, say=said.append)
    assert found.leader is not None
    assert found.choices[found.leader][:3] == (1, 1, 2)
    assert len(launches.asked) < space.count
    effect = level_effect(found, space, (0, 0, 2, 0))
    assert effect is not None
    low, high = effect.interval()
    assert low < math.exp(0.06) < high
    assert level_effect(found, space, (2, 2, 2, 2)) is None
    assert any("combination" in line for line in said)


def test_levels_that_only_pay_off_together_are_found_by_the_last_stage() -> None:
    """Level 1 of the last axis pays off by 5 % only where the first axis is at its best level."""
    base = truth(PARTS, 0.003, 3)

    def rate(choice: Choice, round_number: int) -> float:
        bonus = 0.05 if choice[3] == 1 and choice[0] == 1 else -0.005 * (choice[3] == 1)
        return base(choice, round_number) * math.exp(bonus)

    found = search(space_of(3, 3, 3, 3), KnownLaunches(rate), seed=0)
    assert found.leader is not None
    assert found.choices[found.leader] == (1, 1, 2, 1)


def test_half_of_the_launches_are_kept_for_the_combinations() -> None:
    launches = KnownLaunches(truth(PARTS, 0.004, 4), most=30)
    found = search(space_of(3, 3, 3, 3), launches, seed=0)
    assert found.ended == NO_MORE_LAUNCHES
    assert any(sum(level > 0 for level in choice) > 1 for choice, _ in launches.asked)
    assert found.leader is not None


@pytest.mark.parametrize("counts", [(2, 3), (3, 3, 3, 3)])
def test_where_the_default_fails_the_others_are_compared(counts: tuple[int, ...]) -> None:
    base = truth(PARTS, 0.003, 5)

    def rate(choice: Choice, round_number: int) -> float | Failure:
        return base(choice, round_number) if any(choice) else Failure("out of memory")

    found = search(space_of(*counts), KnownLaunches(rate), seed=0)
    assert found.failed[0] == "out of memory"
    assert found.leader is not None
    assert found.choices[found.leader][:2] == (1, 1)


@pytest.mark.parametrize("counts", [(2, 3), (3, 3, 3, 3)])
def test_where_all_fail_nothing_is_found(counts: tuple[int, ...]) -> None:
    found = search(space_of(*counts), KnownLaunches(lambda *_: Failure("no")), seed=0)
    assert found.leader is None
    assert found.behind_leader() == []
    assert level_effect(found, space_of(*counts), found.choices[1]) is None


def test_it_finds_a_setting_within_one_per_cent_with_realistic_noise() -> None:
    hits = 0
    for seed in range(20):
        rng = random.Random(seed)
        logs = [0.0, -0.005, -0.008, *(-rng.uniform(0.012, 0.2) for _ in range(7))]
        rng.shuffle(logs)
        found = search(space_of(10), KnownLaunches(truth([logs], 0.011, seed)), seed)
        assert found.leader is not None
        hits += logs[found.choices[found.leader][0]] >= math.log(0.99)
    assert hits >= 18
