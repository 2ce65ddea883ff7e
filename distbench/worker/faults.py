"""Faults by plan, to prove what distbench survives: DISTBENCH_FAULT, only with DISTBENCH_TESTING=1.

    DISTBENCH_FAULT=kind:rank=1,phase=train_step,step=3

`phase` is a phase of the ladder or one of STAGES; `step` counts the steps of that phase on that rank,
warm-up steps too, from 0. A run with a fault carries it in its manifest and is marked by the checks.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distbench import parsing
from distbench.config import PHASES
from distbench.errors import UsageError

FAULT, TESTING = "DISTBENCH_FAULT", "DISTBENCH_TESTING"
STAGES = ("import", "init", "build", "preflight", "final", "gather")
# What happens at one moment of one rank.
AT_ONCE = ("raise", "exit0", "sigkill", "sigstop", "sleep", "oom", "no-space", "nan")
# What goes on from that moment, or all the time.
LASTING = ("slow", "wrong-gradient", "wrong-version", "skewed-clock")
SLEEP_S = 3600.0
SLOW_S = 0.2
MEMORY_ROOM_BYTES = 1 << 30
CLOCK_RATE, CLOCK_OFFSET_NS = 1.05, 3_600_000_000_000
_WANTED = (
    f"it must be one of {', '.join((*AT_ONCE, *LASTING))}, with rank=, phase=, step= and seconds= "
    "after a colon, such as sigkill:rank=1,phase=train_step,step=3"
)


@dataclass(frozen=True)
class Fault:
    """What is to go wrong, where and when."""

    kind: str
    rank: int = 0
    phase: str = "train_step"
    step: int = 0
    seconds: float = 0.0


def read_fault(environ: Mapping[str, str]) -> Fault | None:
    """The fault that the environment asks for; None where there is none.

    Raises UsageError where it is none of ours, or where this is no test.
    """
    text = environ.get(FAULT)
    if text is None:
        return None
    if environ.get(TESTING) != "1":
        raise UsageError(
            f"{FAULT} is set, which breaks a rank on purpose; unset it, or set {TESTING}=1 to test "
            "distbench itself"
        )
    kind, _, details = text.partition(":")
    if kind not in (*AT_ONCE, *LASTING):
        raise UsageError(f"{FAULT} is {text!r}; {_WANTED}")
    return replace(Fault(kind), **_details(text, details))


def _details(text: str, details: str) -> dict[str, Any]:
    parsers: dict[str, Callable[[Any], Any]] = {
        "rank": parsing.whole_number(0),
        "phase": parsing.one_of(*PHASES, *STAGES),
        "step": parsing.whole_number(0),
        "seconds": parsing.number(0, 1e6),
    }
    found = {}
    for part in filter(None, details.split(",")):
        name, _, value = part.partition("=")
        if name not in parsers:
            raise UsageError(f"{FAULT} is {text!r} with the unknown part {name!r}; {_WANTED}")
        try:
            found[name] = parsers[name](value)
        except ValueError as wanted:
            raise UsageError(f"{FAULT} is {text!r}; its {name} must be {wanted}") from None
    return found


class Saboteur:
    """Brings the fault of one rank about; a rank without one has a Saboteur that does nothing."""

    def __init__(self, fault: Fault | None, rank: int) -> None:
        self._fault = fault if fault is not None and fault.rank == rank else None
        self._steps_done = 0
        self._descriptor: int | None = None
        self._parameter: Any = None

    def _is(self, *kinds: str) -> bool:
        return self._fault is not None and self._fault.kind in kinds

    def may_write_to(self, descriptor: int) -> None:
        """The file whose disk may become full."""
        self._descriptor = descriptor

    def may_spoil(self, parameter: Any) -> None:
        """The variable that may become NaN."""
        self._parameter = parameter

    def at(self, stage: str) -> None:
        """To be called where a stage begins."""
        if self._fault is not None and self._fault.phase == stage and self._is(*AT_ONCE):
            self._strike(self._fault)

    def around(self, phase: str, run: Callable[[], Any]) -> Callable[[], Any]:
        """The step of a phase with the fault in it, `run` itself where there is none."""
        fault = self._fault
        if fault is None or phase != fault.phase or not self._is(*AT_ONCE, "slow"):
            return run

        def spoiled() -> Any:
            step, self._steps_done = self._steps_done, self._steps_done + 1
            if self._is("slow") and step >= fault.step:
                time.sleep(fault.seconds or SLOW_S)
            elif self._is(*AT_ONCE) and step == fault.step:
                self._strike(fault)
            return run()

        return spoiled

    def clock(self, clock_ns: Callable[[], int]) -> Callable[[], int]:
        """The clock that this rank reads."""
        if not self._is("skewed-clock"):
            return clock_ns
        return lambda: round(clock_ns() * CLOCK_RATE) + CLOCK_OFFSET_NS

    def versions(self, found: Mapping[str, str]) -> dict[str, str]:
        """The versions that this rank tells the others."""
        changed = {"tensorflow": "0.0"} if self._is("wrong-version") else {}
        return {**found, **changed}

    def horovod(self, hvd: Any) -> Any:
        """The Horovod that this rank computes with."""
        return _WrongHorovod(hvd) if self._is("wrong-gradient") else hvd

    def _strike(self, fault: Fault) -> None:
        when = f"{FAULT} at {time.monotonic():.1f} s: {fault}"
        print(f"distbench: {when}", file=sys.stderr, flush=True)
        _STRIKES[fault.kind](self, fault)

    def _fill_disk(self) -> None:
        assert self._descriptor is not None  # no fault of this kind comes before the record is open
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, self._descriptor)
        os.close(full)

    def _make_nan(self) -> None:
        self._parameter.assign(self._parameter * float("nan"))


class _WrongHorovod:
    """Horovod, but for what this rank hands to the others."""

    def __init__(self, hvd: Any) -> None:
        self._hvd = hvd

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hvd, name)

    def allreduce(self, tensor: Any, **settings: Any) -> Any:
        return self._hvd.allreduce(tensor * 1.5, **settings)


def _raise(saboteur: Saboteur, fault: Fault) -> None:
    raise RuntimeError("raised on purpose")


def _run_out_of_memory(saboteur: Saboteur, fault: Fault) -> None:
    """Under a limit, since a machine may promise memory that it does not have."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    room = pages * resource.getpagesize() + MEMORY_ROOM_BYTES
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (room, before[1]))
    try:
        bytearray(2 * MEMORY_ROOM_BYTES)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


_STRIKES: Mapping[str, Callable[[Saboteur, Fault], None]] = {
    "raise": _raise,
    "exit0": lambda saboteur, fault: os._exit(0),
    "sigkill": lambda saboteur, fault: os.kill(os.getpid(), signal.SIGKILL),
    "sigstop": lambda saboteur, fault: os.kill(os.getpid(), signal.SIGSTOP),
    "sleep": lambda saboteur, fault: time.sleep(fault.seconds or SLEEP_S),
    "oom": _run_out_of_memory,
    "no-space": lambda saboteur, fault: saboteur._fill_disk(),
    "nan": lambda saboteur, fault: saboteur._make_nan(),
}
