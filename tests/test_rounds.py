from __future__ import annotations

import random

import pytest

from distbench.tune.rounds import (
    CLEARLY,
    DECIDED,
    HALVED,
    MOST_ROUNDS,
    NO_MORE_LAUNCHES,
    TOO_MANY_ROUNDS,
    Failure,
    Rounds,
)
from distbench.tune.space import Choice
from tests.tune_fakes import KnownLaunches

CHOICES = [(level,) for level in range(6)]


def noisy(rates: list[float], spread: float, seed: int = 1) -> KnownLaunches:
    rng = random.Random(seed)

    def rate(choice: Choice, round_number: int) -> float:
        return rates[choice[0]] * (1 + rng.gauss(0, spread)) * 0.98**round_number

    return KnownLaunches(rate)


def test_every_round_launches_all_that_is_left_in_an_order_of_its_own() -> None:
    launches = noisy([100.0] * 6, 0.01)
    rounds = Rounds(launches, seed=3)
    rounds.enter(CHOICES)
    for _ in range(4):
        assert rounds.run_one()
    orders = [[c for c, r in launches.asked if r == number] for number in range(1, 5)]
    assert orders[0][0] == (0,)  # the default comes first
    assert all(sorted(order) == CHOICES for order in orders)
    assert len({tuple(order) for order in orders}) > 1
    again = noisy([100.0] * 6, 0.01)
    same = Rounds(again, seed=3)
    same.enter(CHOICES)
    for _ in range(4):
        same.run_one()
    assert again.asked == launches.asked


def test_the_fastest_stays_and_the_clearly_slower_leave() -> None:
    launches = noisy([90.0, 100.0, 70.0, 80.0, 85.0, 60.0], 0.002)
    rounds = Rounds(launches, seed=0)
    rounds.enter(CHOICES)
    assert rounds.halve() == DECIDED
    assert rounds.alive == [1]
    assert rounds.leader(is_decided=True) == 1
    assert {one.why for one in rounds.dropped.values()} == {CLEARLY}
    assert rounds.count == 2


def test_alike_settings_are_halved_and_found_alike() -> None:
    launches = noisy([100.0, 100.2, 99.9, 100.1, 99.8, 100.0], 0.004)
    rounds = Rounds(launches, seed=0)
    rounds.enter(CHOICES)
    assert rounds.halve() == DECIDED
    assert 2 <= rounds.count <= 16
    assert len(rounds.alive) > 1


def test_the_worse_half_leaves_where_noise_hides_all() -> None:
    launches = noisy([100.0, 99.0, 98.5, 98.4, 98.3, 98.2], 0.08)
    rounds = Rounds(launches, seed=0)
    rounds.enter(CHOICES)
    assert rounds.halve() == TOO_MANY_ROUNDS
    assert rounds.count == MOST_ROUNDS
    assert len(rounds.alive) == 2
    assert HALVED in {one.why for one in rounds.dropped.values()}


def test_a_failure_is_kept_with_its_cause_and_the_rest_go_on() -> None:
    def rate(choice: Choice, round_number: int) -> float | Failure:
        return Failure("out of memory") if choice == (1,) else 100.0 - 20 * choice[0]

    rounds = Rounds(KnownLaunches(rate), seed=0)
    rounds.enter(CHOICES[:3])
    assert rounds.halve() == DECIDED
    assert rounds.failed == {1: "out of memory"}
    assert rounds.leader(is_decided=True) == 0
    rounds.enter(CHOICES[:3])
    assert rounds.alive == [0, 2]


def test_where_all_fail_there_is_no_leader() -> None:
    rounds = Rounds(KnownLaunches(lambda choice, number: Failure("no")), seed=0)
    rounds.enter(CHOICES)
    assert rounds.halve() == DECIDED
    assert rounds.leader(is_decided=True) is None


def test_where_launches_end_a_single_lucky_launch_does_not_win() -> None:
    rng = random.Random(2)

    def rate(choice: Choice, round_number: int) -> float:
        return (100.5 if choice == (2,) else 100.0 - choice[0]) * (1 + rng.gauss(0, 0.01))

    rounds = Rounds(KnownLaunches(rate, most=13), seed=0)
    rounds.enter(CHOICES[:2])
    for _ in range(5):
        rounds.run_one()
    rounds.enter(CHOICES[:3])
    assert not (rounds.run_one() and rounds.run_one())
    rounds.rates = [
        one._replace(images_per_s=101.0) if one.candidate == 2 else one for one in rounds.rates
    ]
    assert rounds.leader(is_decided=True) == 2
    assert rounds.leader(is_decided=False) == 0


@pytest.mark.parametrize("most", [0, 1, 3])
def test_launches_may_end_at_any_time(most: int) -> None:
    rounds = Rounds(KnownLaunches(lambda choice, number: 100.0, most), seed=0)
    rounds.enter(CHOICES)
    assert rounds.halve() == NO_MORE_LAUNCHES
    assert rounds.leader(is_decided=False) == (0 if most else None)


def test_with_one_launch_each_the_default_stays() -> None:
    launches = KnownLaunches(lambda choice, number: 100.0 + choice[0], most=4)
    rounds = Rounds(launches, seed=0)
    rounds.enter(CHOICES)
    assert rounds.halve() == NO_MORE_LAUNCHES
    assert rounds.leader(is_decided=False) == 0
