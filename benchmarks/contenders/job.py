"""The runner's side of a contender: its job is started, asked, stopped and continued, and surely ended.

While another contender is measured, every rank of this one is stopped (SIGSTOP): the threads with which
MPI and Horovod poll would take cores from it. Launchers keep running: they sleep, and must be able to
end their ranks should the runner be killed. Linux only.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import selectors
import signal
import socket
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from contenders.line import HOST, PORT_VARIABLE, SECRET_VARIABLE, Line, LineClosedError
from distbench.study import processes

MARK_VARIABLE = "SIDE_BY_SIDE_MARK"  # names the processes of one job
START_LIMIT_S = 300.0  # until every rank has called
BUILD_LIMIT_S = 1800.0  # until every rank is ready
BLOCK_LIMIT_S = 1800.0
FAREWELL_S = 15.0  # ranks leave together, and so may wait for each other
GRACE_S = 5.0
HELLO_S = 10.0
STOP_WAIT_S = 5.0
LOG_SHOWN_BYTES = 3000
Command = tuple[Sequence[str], Mapping[str, str]]  # arguments and further variables


class ContenderFailedError(Exception):
    """A contender could not be started, or did not last."""


class Job:
    """One contender. `ready` is what each rank said when it was ready, by rank."""

    def __init__(self, name: str, ranks: int, folder: Path) -> None:
        self.name = name
        self.ready: list[dict[str, Any]] = []
        self._ranks = ranks
        self._logs = folder
        self._mark = uuid.uuid4().hex
        self._processes: list[processes.Process] = []
        self._lines: list[Line] = []
        self._handles: list[int] = []

    def start(self, commands: Sequence[Command]) -> None:
        """Starts the ranks, waits until all have built, and stops them."""
        secret = secrets.token_hex(32)
        with socket.create_server((HOST, 0), backlog=self._ranks) as server:
            variables = {
                MARK_VARIABLE: self._mark,
                PORT_VARIABLE: str(server.getsockname()[1]),
                SECRET_VARIABLE: secret,
            }
            for index, (argv, further) in enumerate(commands):
                environ = {**os.environ, **further, **variables}
                log = self._logs / f"{self._mark}-{index}.log"
                self._processes.append(processes.start(argv, environ, log))
            self._welcome(server, secret)
        told = self._hear_all(BUILD_LIMIT_S)
        order = sorted(range(self._ranks), key=lambda index: told[index]["ready"]["rank"])
        self._lines = [self._lines[index] for index in order]
        self._handles = [self._handles[index] for index in order]
        self.ready = [told[index]["ready"] for index in order]
        self.pause()

    @property
    def phases(self) -> list[str]:
        """What it can be asked for."""
        return list(self.ready[0]["phases"])

    def _welcome(self, server: socket.socket, secret: str) -> None:
        """Waits for the calls of all ranks."""
        deadline_s = time.monotonic() + START_LIMIT_S
        server.settimeout(0.5)
        while len(self._lines) < self._ranks:
            if time.monotonic() > deadline_s or self._has_ended():
                raise self._failed("not all of its ranks were started")
            with contextlib.suppress(TimeoutError):
                line = Line(server.accept()[0])
                try:
                    hello = line.hear(HELLO_S)
                except LineClosedError:
                    hello = {}
                if hmac.compare_digest(str(hello.get("secret", "")), secret):
                    self._lines.append(line)
                    self._handles.append(os.pidfd_open(hello["pid"]))
                else:
                    line.close()

    def _has_ended(self) -> bool:
        return any(process.poll() is not None for process in self._processes)

    def run(self, phase: str, steps: int) -> list[float]:
        """Seconds of each step of the job: those of its slowest rank. Only this job runs meanwhile."""
        with self._awake():
            self._say_all(run=phase, steps=steps)
            told = self._hear_all(BLOCK_LIMIT_S)
        return [max(of_step) for of_step in zip(*(one["step_s"] for one in told))]

    @contextlib.contextmanager
    def _awake(self) -> Iterator[None]:
        self._signal(signal.SIGCONT)
        yield
        self.pause()

    def pause(self) -> None:
        """Returns when every rank has stopped."""
        self._signal(signal.SIGSTOP)
        deadline_s = time.monotonic() + STOP_WAIT_S
        while not all(map(_is_stopped, self._handles)):
            if time.monotonic() > deadline_s:
                raise self._failed("a rank cannot be stopped")
            time.sleep(0.001)

    def _signal(self, number: signal.Signals) -> None:
        for handle in self._handles:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number)

    def _say_all(self, **message: Any) -> None:
        for line in self._lines:
            try:
                line.say(**message)
            except LineClosedError as error:
                raise self._failed(f"a rank has gone ({error})") from error

    def _hear_all(self, limit_s: float) -> list[dict[str, Any]]:
        """One message of every rank; whichever goes first is heard first."""
        deadline_s = time.monotonic() + limit_s
        told = {
            index: self._hear(line) for index, line in enumerate(self._lines) if line.has_message
        }
        with selectors.DefaultSelector() as selector:
            for index, line in enumerate(self._lines):
                if index not in told:
                    selector.register(line, selectors.EVENT_READ, index)
            while len(told) < len(self._lines):
                events = selector.select(max(0.0, deadline_s - time.monotonic()))
                if not events:
                    raise self._failed(f"no answer within {limit_s:.0f} s")
                for key, _ in events:
                    told[key.data] = self._hear(self._lines[key.data])
                    selector.unregister(key.fileobj)
        return [told[index] for index in range(len(self._lines))]

    def _hear(self, line: Line) -> dict[str, Any]:
        try:
            message = line.hear(HELLO_S)
        except LineClosedError as error:
            raise self._failed(f"a rank has gone ({error})") from error
        if "failed" in message:
            raise self._failed(str(message["failed"]))
        return message

    def _failed(self, reason: str) -> ContenderFailedError:
        logs = "".join(
            path.read_text(errors="replace")[-LOG_SHOWN_BYTES:]
            for path in sorted(self._logs.glob(f"{self._mark}-*.log"))
        )
        print(f"--- {self.name}: {reason}\n{logs}\n---", flush=True)
        return ContenderFailedError(f"{self.name}: {reason}")

    def part(self) -> int:
        """Bids the ranks farewell; the most memory that one of them held, in bytes."""
        self._signal(signal.SIGCONT)
        self._say_all(end=True)
        most = max(int(one["peak_rss_bytes"]) for one in self._hear_all(FAREWELL_S))
        deadline_s = time.monotonic() + FAREWELL_S
        for process in self._processes:
            processes.wait(process, max(0.0, deadline_s - time.monotonic()))
        return most

    def end(self) -> None:
        """Whatever state it is in: afterwards nothing of it runs."""
        for line in self._lines:
            line.close()
        self._signal(signal.SIGKILL)  # also ends what is stopped
        left = processes.end_marked(MARK_VARIABLE, self._mark, GRACE_S)
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait(processes.KILL_WAIT_S)
        for handle in self._handles:
            os.close(handle)
        self._lines, self._handles, self._processes = [], [], []
        if left:
            raise ContenderFailedError(f"{self.name}: processes {left} cannot be ended")


def _is_stopped(handle: int) -> bool:
    """Whether the process behind the handle is stopped, or has gone."""
    for text in Path(f"/proc/self/fdinfo/{handle}").read_text().splitlines():
        name, _, value = text.partition(":")
        if name == "Pid":
            try:
                status = Path(f"/proc/{int(value)}/stat").read_text()
            except OSError:
                return True
            return status.rpartition(")")[2].split()[0] in "TtZX"
    return True
