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

    The longest of its own; else the longest of those whose work is the nearest, in proportion where it
    has more to do than they.
    """
    own = [one.wall_s for one in times if one.cell_id == cell_id]
    if own:
        return max(own)
    if not times:
        return None
    nearest = min(abs(one.work - work) for one in times)
    alike = [one for one in times if abs(one.work - work) == nearest]
    return max(one.wall_s * max(1.0, work / one.work) for one in alike)
