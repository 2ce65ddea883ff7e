"""Where this rank's main thread stands, for the thread that watches over it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NamedTuple

BEFORE_BLOCK, IN_STEPS, AFTER_BLOCK = 0, 1, 2
WARM_UP = "warm-up"
SET_UP = -1  # the block of everything before the first one
_OWN_CODE = Path(__file__).parents[1]
# Where our own code waits for the other ranks: mpi4py's calls have no frame of their own.
_WAITING_FILES = frozenset({"world.py"})


class Place(NamedTuple):
    """How far a rank has come; places of two ranks can be compared.

    `block` counts the blocks of the plan, SET_UP before the first. `part` tells whether the rank is
    before, in or after the block's steps; `step` how many of them it has done, or before them whether the
    rank is ready (1) or not yet (0).
    """

    block: int
    part: int
    step: int


class Standing(NamedTuple):
    """What a rank says of itself to the others."""

    place: Place
    stage: str  # in words
    code: str  # the innermost line of Python, such as 'session.py:210 in _timed'
    is_waiting: bool  # for other ranks, for the device or for TensorFlow, as far as Python can see


class Pulse:
    """Written by the main thread, a few plain stores a step; read by the watching thread."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self.clock_s = clock_s
        self.stage = "starting"
        self.place = Place(SET_UP, BEFORE_BLOCK, 0)
        self.moved_s = self.started_s = clock_s()
        self.slowest_step_s = 0.0
        self.is_timing = False  # between the first block and the end of the last
        self.is_warm = False  # every warm-up block is done, so that a step's usual time is known
        self.steps_left = 0  # of the plan, from the first timed block on
        self.stages = [(self.stage, self.started_s)]  # and when each began, up to the timed blocks
        self._main_thread = threading.get_ident()

    def enter(self, stage: str) -> None:
        """The next part of the work outside of the blocks."""
        self.is_timing = False
        block, part, step = self.place
        self._move(stage, Place(block, part, step + 1))
        if not self.is_warm:
            self.stages.append((stage, self.moved_s))

    def spend(self, stage: str) -> None:
        """What follows counts as another stage of the start; how far the rank has come stays as it is."""
        if not self.is_warm:
            self.stages.append((stage, self.clock_s()))

    def enter_block(self, index: int, stage: str) -> None:
        """The rank gets ready to meet the others before block `index` of the plan."""
        if self.place.block == SET_UP:
            self.stages.append((WARM_UP, self.clock_s()))
        self.is_timing = True
        self._move(stage, Place(index, BEFORE_BLOCK, 0))

    def meet(self) -> None:
        """What this rank must do before the block is done; it waits for the others to begin."""
        self._move(self.stage, Place(self.place.block, BEFORE_BLOCK, 1))

    def warm_up_is_done(self, steps_left: int) -> None:
        """From now on a step's usual time is known, and how many of them are to come."""
        self.steps_left = steps_left
        self.is_warm = True
        self.stages.append(("timing", self.clock_s()))

    def begin_steps(self) -> None:
        """The ranks have met."""
        self._move(self.stage, Place(self.place.block, IN_STEPS, 0))

    def step_done(self, index: int, duration_ns: int) -> None:
        """Step `index` of the block took `duration_ns`."""
        self.slowest_step_s = max(self.slowest_step_s, duration_ns / 1e9)
        self._move(self.stage, Place(self.place.block, IN_STEPS, index + 1))

    def end_steps(self) -> None:
        """All steps of the block are done, or none is this rank's; the ranks meet again."""
        self._move(self.stage, Place(self.place.block, AFTER_BLOCK, 0))

    def _move(self, stage: str, place: Place) -> None:
        self.stage, self.place, self.moved_s = stage, place, self.clock_s()

    def standing(self) -> Standing:
        """Where the main thread is now."""
        frame = sys._current_frames().get(self._main_thread)
        code, is_waiting = _code_at(frame) if frame else ("", False)
        return Standing(self.place, self.stage, code, is_waiting)


def _code_at(frame: FrameType) -> tuple[str, bool]:
    path = Path(frame.f_code.co_filename)
    is_ours = path.is_relative_to(_OWN_CODE)
    text = f"{path.name}:{frame.f_lineno} in {frame.f_code.co_name}"
    return text, not is_ours or path.name in _WAITING_FILES
