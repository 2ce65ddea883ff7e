"""Rounds of one launch of each setting, until the fastest is known. Knows no processes.

The order of each round is shuffled anew, so that drift meets all settings alike; a setting is judged by
its launches, which differ among themselves more than the steps of one do.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from distbench import units
from distbench.analysis.launch_effects import LaunchRate, fit_launches
from distbench.tune import halving
from distbench.tune.space import Choice

MOST_ROUNDS = 30  # of one stage; what is not told apart by then differs by about what matters
CAUTION = 2.0
CLEARLY, HALVED = "clearly slower", "in the worse half"
DECIDED, NO_MORE_LAUNCHES, TOO_MANY_ROUNDS = "decided", "no more launches", "too many rounds"


class Failure(NamedTuple):
    """A setting that cannot be run, and why."""

    cause: str


class Launches(Protocol):
    """What the search asks for."""

    def rate(self, choice: Choice, round_number: int) -> float | Failure | None:
        """Images/s of one launch of a setting; None: no launch can be had any more."""

    def is_half_spent(self, round_number: int) -> bool:
        """Whether half of what there is was used by the end of this round."""


class Dropped(NamedTuple):
    """After which round a setting left, and why."""

    round: int
    why: str


def say_nothing(text: str) -> None:
    """For rounds that nobody follows."""


@dataclass
class Rounds:
    """The rounds of one search. Candidates are numbered in the order of `choices`."""

    launches: Launches
    seed: int
    say: Callable[[str], None] = say_nothing
    choices: list[Choice] = field(default_factory=list)
    rates: list[LaunchRate] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    dropped: dict[int, Dropped] = field(default_factory=dict)
    alive: list[int] = field(default_factory=list)
    count: int = 0
    looks: int = 0  # at which it was decided who stays
    was_half_way: bool = False

    def __post_init__(self) -> None:
        self._shuffler = random.Random(self.seed)

    def enter(self, choices: Sequence[Choice], why_others_leave: str = "") -> None:
        """Makes these the settings that are left; those that have failed stay away."""
        for choice in choices:
            if choice not in self.choices:
                self.choices.append(choice)
        entered = {self.choices.index(choice) for choice in choices} - set(self.failed)
        self.drop([number for number in self.alive if number not in entered], why_others_leave)
        self.alive = sorted(entered)
        for number in self.alive:
            self.dropped.pop(number, None)

    def drop(self, numbers: Sequence[int], why: str) -> None:
        """These leave."""
        for number in numbers:
            self.dropped[number] = Dropped(self.count, why)
        self.alive = [number for number in self.alive if number not in numbers]

    def run_one(self) -> bool:
        """One launch of each setting that is left; whether there were launches for all of them."""
        self.count += 1
        order = list(self.alive)
        self._shuffler.shuffle(order)
        if self.count == 1:  # what the others are compared with comes first
            order.sort(key=lambda number: number != self.alive[0])
        for number in order:
            found = self.launches.rate(self.choices[number], self.count)
            if found is None:
                return False
            if isinstance(found, Failure):
                self.failed[number] = found.cause
                self.alive.remove(number)
            else:
                self.rates.append(LaunchRate(number, self.count, found))
        return True

    def halve(self) -> str:
        """Rounds of the settings that are left until the leader is known; how it ended."""
        for turn in range(1, MOST_ROUNDS + 1):
            if not self.run_one():
                return NO_MORE_LAUNCHES
            if not self.alive:
                return DECIDED
            if len(self.alive) > 1 and (turn == 1 or not self._look(turn)):
                continue
            return DECIDED
        return TOO_MANY_ROUNDS

    def _look(self, turn: int) -> bool:
        """Decides who stays; whether the leader is known."""
        self.looks += 1
        effects = fit_launches(self.rates)
        leader = halving.leader_of(effects, self.alive)
        found = halving.behind(effects, self.alive, leader, self.confidence)
        self.drop(halving.clearly_slower(effects, found, leader), CLEARLY)
        is_decided = turn >= halving.LEAST_ROUNDS and halving.is_decided(
            [one for one in found if one.candidate in self.alive]
        )
        if (turn in halving.HALVING_ROUNDS or self._is_half_way()) and not is_decided:
            self.drop(halving.worse_half(effects, self.alive), HALVED)
        rate = units.rate(effects.rate(leader).ratio)
        self.say(f"round {self.count}: {len(self.alive)} left, the best at {rate} images/s")
        return is_decided or len(self.alive) == 1

    def _is_half_way(self) -> bool:
        """Whether half of what there is was used just now: the rest is for the better half."""
        if not self.was_half_way and self.launches.is_half_spent(self.count):
            self.was_half_way = True
            return True
        return False

    @property
    def confidence(self) -> float:
        """That of each interval at the last look."""
        return halving.confidence_of(max(1, self.looks), len(self.choices) - 1)

    def leader(self, is_decided: bool) -> int | None:
        """The fastest of what is left, else of what was dropped; None where nothing was measured.

        Before it is decided the one with the highest rate less CAUTION standard errors: so that no
        setting of a single lucky launch is ahead of one that has proved itself. Where no setting has
        been launched twice nothing tells luck apart, and the first one stays: the default.
        """
        if not self.rates:
            return None
        effects = fit_launches(self.rates)
        measured = [n for n in range(len(self.choices)) if n in effects and n not in self.failed]
        left = [number for number in measured if number in self.alive] or measured
        if not left:
            return None
        if is_decided:
            return halving.leader_of(effects, left)
        if math.isnan(effects.spread):  # one launch each, whose order is luck
            return left[0]
        estimates = {number: effects.rate(number) for number in left}
        return max(left, key=lambda n: (estimates[n].log - CAUTION * estimates[n].error, -n))
