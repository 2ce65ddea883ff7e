"""Signals that end a rank, heard by a thread: Python's own handlers wait for a collective to return."""

from __future__ import annotations

import signal
import socket
import time
from contextlib import suppress
from typing import Any

from distbench.worker.stall import SIGNALLED, Cause

HEARD = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Signals:
    """From `install` on, the numbers of signals can be read from `reader`; the first one counts."""

    def __init__(self) -> None:
        self.reader, self._writer = socket.socketpair()
        self.reader.setblocking(False)
        self._writer.setblocking(False)
        self.received: int | None = None
        self.received_s = 0.0
        self._before: dict[int, Any] = {}
        self._fd_before = -1

    def install(self) -> None:
        """To be called on the main thread."""
        self._fd_before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in HEARD:
            if signal.getsignal(number) != signal.SIG_IGN:  # as nohup sets it, to be kept
                self._before[number] = signal.signal(number, _wake_only)

    def read(self) -> None:
        """Notes what has come."""
        with suppress(BlockingIOError):
            for number in self.reader.recv(64):
                if number in HEARD and self.received is None:
                    self.received, self.received_s = number, time.monotonic()

    def wake(self) -> None:
        """Wakes whoever waits for the reader."""
        with suppress(OSError):
            self._writer.send(b"\0")

    def remove(self) -> None:
        """Puts back what was there before; to be called on the main thread."""
        try:
            signal.set_wakeup_fd(self._fd_before)
        except (OSError, ValueError):  # what was there before has been closed
            signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self.reader.close()
        self._writer.close()


def cause_of_signal(number: int, rank: int, stage: str) -> Cause:
    """The cause where a rank was told to end."""
    name = signal.Signals(number).name
    return Cause(
        f"rank {rank} received {name} in {stage}; what was measured until then is kept",
        SIGNALLED + number,
        (rank,),
        name,
    )


def _wake_only(number: int, frame: Any) -> None:
    """Only so that Python's C code writes the number to the reader."""
