"""The search for the fastest setting among all combinations of the levels. Knows no processes.

Where there are at most MOST_PRODUCT combinations, all of them take part in rounds from which the slower
ones leave (`halving`). Else there are three stages: each level by itself, all else at the default, in
SCREENING_ROUNDS rounds; then, of the levels that were not clearly slower, the combinations that promise
the most by the product of their ratios; then what differs from the leader in one level, for levels that
only pay off together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from distbench.analysis.launch_effects import LaunchEffects, LaunchRate, fit_launches
from distbench.analysis.log_ratios import LogRatio
from distbench.tune import halving
from distbench.tune.rounds import (
    DECIDED,
    NO_MORE_LAUNCHES,
    Dropped,
    Launches,
    Rounds,
    say_nothing,
)
from distbench.tune.space import Choice, Space, best_combinations, predicted

MOST_PRODUCT = 24  # combinations that are all run
SCREENING_ROUNDS = 3  # of each level by itself
MOST_COMBINED = 10  # combinations of the levels that were left
MOST_NEIGHBOURS = 6  # single changes of the leader at the end
LEAST_PROMISE = math.log(0.97)  # of what such a change makes of the rate
PROMISED_LESS = "promised less than others"


@dataclass(frozen=True)
class Found:
    """What a search came to; candidates are numbered in the order of `choices`.

    `leader` is None where no launch was complete. `confidence` is that of each interval at the last
    look; `ended` is one of the words of `rounds`.
    """

    choices: tuple[Choice, ...]
    rates: tuple[LaunchRate, ...]
    failed: Mapping[int, str]
    dropped: Mapping[int, Dropped]
    leader: int | None
    confidence: float
    rounds: int
    ended: str

    @property
    def effects(self) -> LaunchEffects:
        """The fit of all launches, of which there must be one."""
        return fit_launches(self.rates)

    def behind_leader(self) -> list[halving.Behind]:
        """Every other candidate that was measured against the leader."""
        if self.leader is None:
            return []
        numbers = range(len(self.choices))
        return halving.behind(self.effects, numbers, self.leader, self.confidence)


def search(
    space: Space, launches: Launches, seed: int, say: Callable[[str], None] = say_nothing
) -> Found:
    """Searches until the leader is known or there are no more launches."""
    rounds = Rounds(launches, seed, say)
    if space.count <= MOST_PRODUCT:
        rounds.enter(space.product())
        ended = rounds.halve()
    else:
        ended = _in_stages(space, rounds)
    return Found(
        choices=tuple(rounds.choices),
        rates=tuple(rounds.rates),
        failed=dict(rounds.failed),
        dropped=dict(rounds.dropped),
        leader=rounds.leader(ended == DECIDED),
        confidence=rounds.confidence,
        rounds=rounds.count,
        ended=ended,
    )


def _in_stages(space: Space, rounds: Rounds) -> str:
    rounds.say("first each level by itself")
    if not _screen(space, rounds):
        return NO_MORE_LAUNCHES
    if not rounds.rates:
        return DECIDED  # all have failed
    levels = _plausible_levels(space, rounds)
    carried = _carried(space, rounds)
    combined = best_combinations(levels, MOST_COMBINED, without=carried)
    rounds.say(f"now {len(combined)} combination(s) of the levels that were not clearly slower")
    rounds.enter([*carried, *combined], PROMISED_LESS)
    ended = rounds.halve()
    neighbours = _neighbours(space, rounds) if ended == DECIDED else []
    if not neighbours:
        return ended
    rounds.say(f"now {len(neighbours)} setting(s) that differ from the leader in one level")
    rounds.enter([*(rounds.choices[number] for number in rounds.alive), *neighbours])
    return rounds.halve()


def _screen(space: Space, rounds: Rounds) -> bool:
    """Rounds of the single changes; fewer where they use up half of what there is."""
    rounds.enter([space.default, *space.single_changes(space.default)])
    for turn in range(1, SCREENING_ROUNDS + 1):
        if not rounds.run_one():
            return False
        if rounds.launches.is_half_spent(rounds.count):
            rounds.was_half_way = True
        if not rounds.alive or rounds.was_half_way:
            return True
        if turn > 1:
            rounds.looks += 1
            rounds.drop(_clearly_slower_levels(space, rounds), "clearly slower than another level")
        rounds.say(f"round {rounds.count}: {len(rounds.alive)} left")
    return True


def _clearly_slower_levels(space: Space, rounds: Rounds) -> list[int]:
    """Single changes that are clearly slower than another level of their axis."""
    effects = fit_launches(rounds.rates)
    slower: list[int] = []
    for place in range(len(space.axes)):
        numbers = list(_numbers_of_axis(space, rounds, place).values())
        if numbers:
            leader = halving.leader_of(effects, numbers)
            found = halving.behind(effects, numbers, leader, rounds.confidence)
            slower += halving.clearly_slower(effects, found, leader)
    default = rounds.choices.index(space.default)
    return [number for number in slower if number != default]


def _numbers_of_axis(space: Space, rounds: Rounds, place: int) -> dict[int, int]:
    """By level, the candidates that are left of the default and of the single changes of one axis."""
    found = {}
    for number in rounds.alive:
        choice = rounds.choices[number]
        if all(level == 0 for other, level in enumerate(choice) if other != place):
            found[choice[place]] = number
    return found


def _base(space: Space, rounds: Rounds) -> int:
    """What effects are told against: the default, or the first that was measured where it has failed."""
    default = rounds.choices.index(space.default)
    return default if default not in rounds.failed else rounds.rates[0].candidate


def _plausible_levels(space: Space, rounds: Rounds) -> list[dict[int, float]]:
    """For each axis the levels that are left, with the logarithm of what each makes of the rate."""
    effects, base = fit_launches(rounds.rates), _base(space, rounds)
    levels = []
    for place in range(len(space.axes)):
        numbers = _numbers_of_axis(space, rounds, place)
        parts = {level: effects.ratio(number, base).log for level, number in numbers.items()}
        levels.append(parts or {0: 0.0})
    return levels


def _carried(space: Space, rounds: Rounds) -> list[Choice]:
    """The default and the best single change: they join the new rounds to those before."""
    effects = fit_launches(rounds.rates)
    best = halving.leader_of(effects, rounds.alive or [_base(space, rounds)])
    numbers = dict.fromkeys([_base(space, rounds), best])
    return [rounds.choices[number] for number in numbers]


def _neighbours(space: Space, rounds: Rounds) -> list[Choice]:
    """Single changes of the leader that were not tried and may be worth it, best first."""
    leader = rounds.leader(is_decided=True)
    if leader is None:
        return []
    own = rounds.choices[leader]
    parts = _known_parts(space, rounds)
    bar = predicted(parts, own) + LEAST_PROMISE
    found = [
        choice
        for choice in space.single_changes(own)
        if choice not in rounds.choices
        and all(level in axis for level, axis in zip(choice, parts))
        and predicted(parts, choice) >= bar
    ]
    return sorted(found, key=lambda choice: -predicted(parts, choice))[:MOST_NEIGHBOURS]


def _known_parts(space: Space, rounds: Rounds) -> list[dict[int, float]]:
    """What each level makes of the default's rate, for all levels that did not fail."""
    effects, base = fit_launches(rounds.rates), _base(space, rounds)
    parts: list[dict[int, float]] = [{0: 0.0} for _ in space.axes]
    for number, choice in enumerate(rounds.choices):
        places = [place for place, level in enumerate(choice) if level]
        if len(places) == 1 and number in effects and number not in rounds.failed:
            parts[places[0]][choice[places[0]]] = effects.ratio(number, base).log
    return parts


def level_effect(found: Found, space: Space, choice: Choice) -> LogRatio | None:
    """The rate of a single change of the default ÷ the default's; None where one was not measured."""
    if not found.rates or not {choice, space.default} <= set(found.choices):
        return None
    effects = found.effects
    own, base = (found.choices.index(one) for one in (choice, space.default))
    return effects.ratio(own, base) if own in effects and base in effects else None
