"""The settings that may be chosen: axes with their levels, and choices, which name a level of each. Pure.

A choice is a tuple with one position for each axis. Position 0 is the default, from which tuning starts.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Choice = tuple[int, ...]
MOST_ENUMERATED = 20_000  # combinations that are looked at, none of them run


@dataclass(frozen=True)
class Axis:
    """One setting or one of Horovod's variables, and its levels; the first one is the default.

    A level of None stands for what happens where nobody sets it, which `unset` tells in words.
    """

    name: str
    levels: tuple[Any, ...]
    is_horovod: bool = False
    unset: str = "not set"
    changes_training: bool = False  # another level computes or learns something else


@dataclass(frozen=True)
class Space:
    """All combinations of the levels of some axes."""

    axes: tuple[Axis, ...]

    @property
    def default(self) -> Choice:
        """The choice that tuning starts from."""
        return (0,) * len(self.axes)

    @property
    def count(self) -> int:
        """How many choices there are."""
        return math.prod(len(axis.levels) for axis in self.axes)

    def product(self) -> list[Choice]:
        """Every choice, the default first."""
        return list(itertools.product(*(range(len(axis.levels)) for axis in self.axes)))

    def single_changes(self, of: Choice) -> list[Choice]:
        """Every choice that differs from `of` in one axis."""
        return [
            (*of[:place], level, *of[place + 1 :])
            for place, axis in enumerate(self.axes)
            for level in range(len(axis.levels))
            if level != of[place]
        ]

    def differences(self, choice: Choice, base: Choice) -> list[tuple[Axis, Any]]:
        """The axes in which a choice differs from another, with its own levels."""
        return [
            (axis, axis.levels[own])
            for axis, own, other in zip(self.axes, choice, base)
            if own != other
        ]


def best_combinations(
    levels: Sequence[Mapping[int, float]], most: int, without: Iterable[Choice] = ()
) -> list[Choice]:
    """The combinations of levels whose parts add up to the most, best first; none of `without`.

    `levels` holds for each axis the levels that come into question and their parts.
    """
    kept = [_best(axis, len(axis)) for axis in levels]
    while math.prod(len(axis) for axis in kept) > MOST_ENUMERATED:
        longest = max(range(len(kept)), key=lambda place: len(kept[place]))
        kept[longest] = _best(levels[longest], len(kept[longest]) - 1)
    left_out = set(without)
    choices = [one for one in itertools.product(*kept) if one not in left_out]
    return sorted(choices, key=lambda choice: -predicted(levels, choice))[:most]


def predicted(levels: Sequence[Mapping[int, float]], choice: Choice) -> float:
    """The sum of the parts of a choice's levels."""
    return sum(axis[level] for axis, level in zip(levels, choice))


def _best(axis: Mapping[int, float], count: int) -> list[int]:
    return sorted(axis, key=lambda level: (-axis[level], level))[:count]


def level_text(value: Any, axis: Axis) -> str:
    """A level as a person reads it."""
    if value is None:
        return axis.unset
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value)


def changed_levels(space: Space, base: Choice) -> Iterator[tuple[Axis, Any, Choice]]:
    """Every single change of `base`: the axis, the level, and the choice."""
    for choice in space.single_changes(base):
        ((axis, level),) = space.differences(choice, base)
        yield axis, level, choice
