"""Progress for a person, from rank 0 only: one line that updates on a terminal, lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import TextIO

from distbench import units
from distbench.plan import PlannedBlock

LINE_EVERY_STEPS = 10
TERMINAL_REFRESH_NS = 200_000_000
# While rank 0 prints between two steps, the others may wait for it inside their next one. So inside a
# block it prints at most this often, and else after the block, before all ranks meet again.
QUIET_INSIDE_BLOCK_NS = 2_000_000_000


class Progress:
    """Writes where the run is. Called between timed spans, never inside one."""

    def __init__(
        self, stream: TextIO, clock_ns: Callable[[], int], plan: list[PlannedBlock]
    ) -> None:
        self._stream = stream
        self._clock_ns = clock_ns
        self._on_terminal = stream.isatty()
        self._total_steps = sum(block.steps for block in plan)
        self._done = 0
        self._lines: list[str] = []  # not yet shown
        self._last_ns = clock_ns()

    def say(self, text: str) -> None:
        """One line that stays."""
        self._clear()
        print(f"distbench: {text}", file=self._stream, flush=True)

    def step(self, block: PlannedBlock, duration_ns: int) -> None:
        """Counts one step."""
        self._done += 1
        if self._on_terminal:
            self._lines = [self._line(block, duration_ns)]
        elif self._done % LINE_EVERY_STEPS == 0 or self._done == self._total_steps:
            self._lines.append(self._line(block, duration_ns))
        if self._clock_ns() - self._last_ns >= QUIET_INSIDE_BLOCK_NS:
            self._show()

    def waited(self, block: PlannedBlock) -> None:
        """Counts the steps of a block that other ranks ran."""
        self._done += block.steps
        self._lines.append(self._line(block, None))

    def block_done(self) -> None:
        """Shows what was counted, on a terminal at most five times a second."""
        waits = self._clock_ns() - self._last_ns < TERMINAL_REFRESH_NS
        if not (self._on_terminal and waits and self._done < self._total_steps):
            self._show()

    def finish(self) -> None:
        """Leaves the terminal's line."""
        self._clear()

    def _show(self) -> None:
        self._last_ns = self._clock_ns()
        for line in self._lines:
            text = f"\r\x1b[K{line}" if self._on_terminal else f"{line}\n"
            print(text, end="", file=self._stream, flush=True)
        self._lines = []

    def _line(self, block: PlannedBlock, duration_ns: int | None) -> str:
        latest = "" if duration_ns is None else f", latest step {units.seconds(duration_ns / 1e9)}"
        return f"distbench: step {self._done} of {self._total_steps}, {block.in_words}{latest}"

    def _clear(self) -> None:
        if self._on_terminal:
            print("\r\x1b[K", end="", file=self._stream, flush=True)
