"""Timing of blocks: warm-up and timed steps between two reads of one clock. Knows no framework."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Clock = Callable[[], int]  # integer nanoseconds, such as time.perf_counter_ns


@dataclass(frozen=True)
class BlockTimes:
    """Start (the clock's own zero) and duration of each step, in integer nanoseconds."""

    start_ns: list[int]
    duration_ns: list[int]


def time_block(
    step: Callable[[], Any],
    synchronise: Callable[[], Any],
    clock_ns: Clock,
    steps: int,
    after_step: Callable[[int, int], None] = lambda index, duration_ns: None,
) -> BlockTimes:
    """Runs `step` `steps` times and times each run.

    The device is synchronised before both reads of the clock, so that an interval holds all the work
    of its step and none of another's. Between the two reads nothing is printed, written, allocated
    for the record or copied to the host. The step's result is kept until the clock has been read
    and dropped before the next interval starts. `after_step(index, duration_ns)` runs outside.
    """
    starts, durations = array("q", bytes(8 * steps)), array("q", bytes(8 * steps))
    for index in range(steps):
        synchronise()
        start_ns = clock_ns()
        result = step()
        synchronise()
        end_ns = clock_ns()
        del result
        starts[index] = start_ns
        durations[index] = end_ns - start_ns
        after_step(index, end_ns - start_ns)
    return BlockTimes(starts.tolist(), durations.tolist())


def clock_resolution_ns(clock_ns: Clock, readings: int = 1000) -> int:
    """The smallest step of the clock that was seen between two different readings."""
    smallest = 0
    previous = clock_ns()
    for _ in range(readings):
        now = clock_ns()
        if now > previous and (smallest == 0 or now - previous < smallest):
            smallest = now - previous
        previous = now
    return smallest
