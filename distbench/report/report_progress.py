"""How far a long report is: one line that updates on a terminal, few lines elsewhere, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TextIO

QUIET_S = 2.0  # a report that is done by then says nothing
LINE_EVERY_S = 10.0
TERMINAL_REFRESH_S = 0.2


class ReportProgress:
    """Shows on `stream` what it is told, as `analysis.collect.Progress`; `clock_s` tells seconds."""

    def __init__(self, stream: TextIO, clock_s: Callable[[], float]) -> None:
        self._stream = stream
        self._clock_s = clock_s
        self._on_terminal = stream.isatty()
        self._is_open = False  # a line that moves stands there
        self._next_s = clock_s() + QUIET_S

    def __call__(self, what: str, done: int = 0, total: int = 0) -> None:
        """Shows it unless too little time went by since the last."""
        now_s = self._clock_s()
        if now_s < self._next_s:
            return
        text = f"distbench: {what}" + (f" {done} of {total}" if total else "")
        if self._on_terminal:
            self._next_s, self._is_open = now_s + TERMINAL_REFRESH_S, True
            print(f"\r\x1b[K{text}", end="", file=self._stream, flush=True)
        else:
            self._next_s = now_s + LINE_EVERY_S
            print(text, file=self._stream, flush=True)

    def finish(self) -> None:
        """Clears the terminal's line for what comes next."""
        if self._is_open:
            self._is_open = False
            print("\r\x1b[K", end="", file=self._stream, flush=True)
