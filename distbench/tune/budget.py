"""The time that a tuning may take, all of it counted, and whether one more launch fits into it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

MOST_RESERVED = 0.25  # of the whole, kept for the launches that tell the efficiency


class LaunchTime(NamedTuple):
    """How long a complete launch took, start-up included, and how much it had to do."""

    cell_id: str
    work: float  # images of all steps
    wall_s: float


@dataclass
class Budget:
    """`total_s` seconds, of which earlier sessions have spent some."""

    total_s: float
    spent_before_s: float = 0.0
    clock: Callable[[], float] = time.monotonic
    started_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.started_s = self.clock()

    @property
    def spent_s(self) -> float:
        """All seconds so far, of every session."""
        return self.spent_before_s + self.clock() - self.started_s

    @property
    def left_s(self) -> float:
        """What may still be used."""
        return self.total_s - self.spent_s


def expected_s(cell_id: str, work: float, times: Sequence[LaunchTime]) -> float | None:
    """How long a launch may take by what launches took so far; None where there was none.

    The longest of its own; else the longest of the others, those with less work taken to grow with it.
    By how much is known from launches of different work, since start-up grows with none; where all had
    the same, in proportion.
    """
    own = [one.wall_s for one in times if one.cell_id == cell_id]
    if own:
        return max(own)
    if not times:
        return None
    alike = [one for one in times if one.work >= work] or times
    nearest = min(abs(one.work - work) for one in alike)
    found = [one for one in alike if abs(one.work - work) == nearest]
    slope = _seconds_of_work(times)
    return max(one.wall_s + slope * max(0.0, work - one.work) for one in found)


def _seconds_of_work(times: Sequence[LaunchTime]) -> float:
    """What one more image takes, at least 0."""
    least, most = (pick(one.work for one in times) for pick in (min, max))
    quick = min(one.wall_s for one in times if one.work == least)
    slow = max(one.wall_s for one in times if one.work == most)
    if least == most:
        return slow / most
    return max(0.0, (slow - quick) / (most - least))
