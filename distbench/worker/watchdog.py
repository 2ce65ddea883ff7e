"""The thread that watches over its rank and, by a line of its own, over the other ranks.

Horovod hangs or ends with its slowest rank: its stall inspector never speaks under Gloo, a stopped
process hangs a job over MPI for ever, and Python's signal handlers wait for a collective to return.
So this thread hears the signals, says that its rank lives, and ends the process where the job cannot
go on (see `judge.py`). It never calls TensorFlow or Horovod.
"""

from __future__ import annotations

import os
import selectors
import threading
import time
from collections.abc import Callable
from typing import NoReturn, Protocol

from distbench.errors import DistbenchError, RankFailedError
from distbench.worker.channel import Contact, Hub, Message, Spoke, allow_connections
from distbench.worker.judge import LEAST_SILENCE_S, Judge
from distbench.worker.peers import Peers
from distbench.worker.pulse import Pulse
from distbench.worker.signals import Signals, cause_of_signal
from distbench.worker.stall import Cause
from distbench.worker.time_limits import TimeLimits

BEAT_S = 0.5
MOST_BEATS_PER_S = 200  # that rank 0 reads, beside the steps that it times
LEAVING_LIMIT_S = 20.0  # for the farewell of MPI and Python
LAST_RESORT_S = 4.0  # after which a rank leaves even where its last words hang in a slow disk
SIGNAL_GRACE_S = 0.3  # a launcher ends all ranks when one was lost: that one is then the cause
ECHO_PATIENCE_S = 2.0  # in which another rank's failure becomes known, where there was one


class LastWords(Protocol):
    """What a rank leaves on disk and says when its watch ends it."""

    def __call__(self, cause: Cause, is_echo: bool) -> None: ...


class Watchdog:
    """One rank's watch. `start` and `stop` belong to the main thread."""

    def __init__(
        self,
        rank: int,
        size: int,
        limits: TimeLimits,
        pulse: Pulse,
        last_words: LastWords,
        leave: Callable[[int], NoReturn] = os._exit,
    ) -> None:
        self.rank, self.size = rank, size
        self.pulse = pulse
        self.last_words = last_words
        self.beat_s = max(BEAT_S, size / MOST_BEATS_PER_S)
        self.peers = Peers(pulse.clock_s)
        self.judge = Judge(limits, pulse, self.peers, rank, size, self.beat_s)
        self._leave = leave
        self._selector = selectors.DefaultSelector()
        self._line: Hub | Spoke | None = None
        self._signals = Signals()
        self._parent = os.getppid()
        self._ends = threading.Event()
        self._one_ending = threading.Lock()
        self._to_say: list[Message] = []
        self._next_beat_s = 0.0
        self._turned_s = pulse.clock_s()
        self._leaving: tuple[float, int] | None = None  # since when, and with which code
        self._thread = threading.Thread(target=self._watch, name="distbench-watch", daemon=True)

    def start(self) -> None:
        """Begins to watch, and to hear signals."""
        self._signals.install()
        self._selector.register(self._signals.reader, selectors.EVENT_READ, self._signals.read)
        self._thread.start()

    def open_hub(self, is_one_host: bool) -> Contact:
        """On rank 0: begins to listen; returns where, to be handed to every other rank."""
        self.peers.expect(range(1, self.size))
        allow_connections(self.size)
        hub = Hub(self._selector, is_one_host, self.peers.hear, self.peers.lose)
        self._line = hub
        return hub.contact

    def join_hub(self, contact: Contact) -> str:
        """On the other ranks: connects to rank 0; returns the reason where that is not possible."""
        self.peers.expect([0])
        try:
            self._line = Spoke(self._selector, self.rank, contact, self.peers.hear, self.peers.lose)
        except OSError as error:
            self.peers.expect([])
            return f"rank 0 cannot be reached ({error.strerror or error})"
        self.judge.has_hub = True
        return ""

    def tell_failure(self, error: DistbenchError) -> None:
        """This rank fails by itself: the others are told before its connection ends."""
        cause = Cause(error.sentence, error.exit_code, (self.rank,), type(error).__name__)
        self._say({"failed": list(cause)})

    def others_failure(self) -> Cause | None:
        """Another rank's failure, where one is known or soon becomes known; else None.

        Horovod ends the collectives of all ranks when one leaves: the error that they see is no first
        cause.
        """
        return self.peers.wait_for_failure(ECHO_PATIENCE_S)

    def leave(self, exit_code: int) -> None:
        """The rank ends by itself; from now on only that it really does is watched."""
        self._leaving = (self.pulse.clock_s(), exit_code)
        self._say({"bye": True})

    def stop(self) -> None:
        """Ends the watch and closes what it opened."""
        self._ends.set()
        self._signals.wake()
        if self._thread.is_alive():
            self._thread.join()
        if self._line is not None:
            self._line.close()
        self._selector.close()
        self._signals.remove()

    def _say(self, message: Message) -> None:
        """Hands a message to the watching thread, to which the sockets belong."""
        self._to_say.append(message)
        self._signals.wake()

    def _watch(self) -> None:
        while not self._ends.is_set():
            self.turn(self.beat_s)

    def turn(self, patience_s: float) -> None:
        """Hears for at most so long, says that this rank lives, and judges."""
        for key, _ in self._selector.select(patience_s):
            key.data()
        now_s = self.pulse.clock_s()
        if now_s - self._turned_s > patience_s + LEAST_SILENCE_S:
            self.judge.excuse(now_s)
        self._turned_s = now_s
        if now_s >= self._next_beat_s:
            self._next_beat_s = now_s + self.beat_s
            self._to_say.append({"beat": list(self.pulse.standing())})
        while self._to_say:
            message = self._to_say.pop(0)
            if self._line is not None:
                self._line.tell(message)
        verdict = self._verdict(now_s)
        if verdict is not None:
            self.end(*verdict)

    def end(self, cause: Cause, is_echo: bool) -> None:
        """Says the last words and ends the process; in bounded time, whatever the disk does."""
        if not self._one_ending.acquire(blocking=False):
            return
        last_resort = threading.Timer(LAST_RESORT_S, self._leave, [cause.exit_code])
        last_resort.daemon = True
        last_resort.start()
        if self._line is not None:
            kind = "end" if isinstance(self._line, Hub) else "failed"
            self._line.tell({kind: list(cause)})
        try:
            self.last_words(cause, is_echo)
        finally:
            last_resort.cancel()
            self._leave(cause.exit_code)

    def _verdict(self, now_s: float) -> tuple[Cause, bool] | None:
        signal = self._signals.received
        if signal is not None and self._leaving is None:
            return self._after_signal(signal)
        if self._leaving is not None:
            since_s, code = self._leaving
            if now_s - since_s > LEAVING_LIMIT_S:
                self._leave(code)
            return None
        if os.getppid() != self._parent:
            sentence = "the launcher is gone, so that every rank ends"
            return Cause(sentence, RankFailedError.exit_code, (), "LauncherGone"), self.rank != 0
        return self.judge.verdict()

    def _after_signal(self, signal: int) -> tuple[Cause, bool] | None:
        known = self.peers.failure()
        if known is not None:
            return known, self.rank != 0 or known.is_told_by_its_rank
        if time.monotonic() - self._signals.received_s < SIGNAL_GRACE_S:
            time.sleep(0.02)
            return None
        cause = cause_of_signal(signal, self.rank, self.pulse.stage)
        return cause, self.judge.has_hub  # rank 0 tells it, once for all ranks
