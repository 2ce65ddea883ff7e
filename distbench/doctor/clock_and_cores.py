"""The clock that steps are timed with, and the cores that the ranks share."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from distbench import units
from distbench.cpu_quota import core_quota
from distbench.doctor.verdicts import Verdict, note, ok, problem

READINGS = 20_000
COARSE_NS = 1_000  # a step of a millisecond is then known to 0.1 %
USELESS_NS = 1_000_000
SLOW_SOURCES = ("hpet", "acpi_pm", "jiffies", "pit")
BUSY_SHARE = 0.5  # of the cores, by the load average of the last minute
THREADS_VARIABLE = "DISTBENCH_THREADS_PER_RANK"
_CLOCK_SOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")


class Clock(NamedTuple):
    """What many readings in a row showed."""

    tick_ns: int  # the least difference between two readings that differ; 0 where none did
    steps_back: int
    source: str


class Cores(NamedTuple):
    """What this process may use; `quota` is the limit by cgroup in cores, None where there is none."""

    allowed: int
    of_machine: int
    quota: float | None
    load: float


def collect_clock(
    read_ns: Callable[[], int] = time.perf_counter_ns, source: Path = _CLOCK_SOURCE
) -> Clock:
    """Reads the clock many times."""
    readings = [read_ns() for _ in range(READINGS)]
    steps = [after - before for before, after in itertools.pairwise(readings)]
    forward = [step for step in steps if step > 0]
    try:
        name = source.read_text().strip()
    except OSError:
        name = ""
    return Clock(min(forward, default=0), sum(step < 0 for step in steps), name)


def judge_clock(clock: Clock) -> list[Verdict]:
    """Verdicts on time.perf_counter_ns."""
    text = f"time.perf_counter_ns goes in steps of {clock.tick_ns} ns"
    if clock.source:
        text += f" (clock source {clock.source})"
    fix = "see clocksource in the kernel's log; boot with clocksource=tsc where the CPU has a steady one"
    if clock.steps_back:
        return [problem(f"{text} and went back {clock.steps_back} time(s)", fix)]
    if not 0 < clock.tick_ns < USELESS_NS:
        return [problem(f"{text}, too coarse to time a step with", fix)]
    if clock.tick_ns > COARSE_NS or clock.source in SLOW_SOURCES:
        return [note(text, fix)]
    return [ok(text, clock_tick_s=clock.tick_ns / 1e9)]


def collect_cores() -> Cores:
    """Affinity, cgroup limit and load of this machine."""
    return Cores(
        allowed=len(os.sched_getaffinity(0)),
        of_machine=os.cpu_count() or 1,
        quota=core_quota(),
        load=os.getloadavg()[0],
    )


def judge_cores(cores: Cores, ranks: int, environ: Mapping[str, str]) -> list[Verdict]:
    """Verdicts on the cores against ranks × threads."""
    usable = cores.allowed if cores.quota is None else min(cores.allowed, cores.quota)
    text = f"{cores.allowed} of {cores.of_machine} core(s) allowed"
    if cores.quota is not None:
        text += f", of which a cgroup grants {units.significant(cores.quota, 2)}"
    return [_share(text, usable, ranks, environ), *_others(cores)]


def _share(text: str, usable: float, ranks: int, environ: Mapping[str, str]) -> Verdict:
    if usable < ranks:
        return note(
            f"{text}, for {ranks} ranks: they wait for each other's cores",
            "ask for more cores (--cpus-per-task, taskset, the container's CPU limit) or fewer ranks",
        )
    given = environ.get(THREADS_VARIABLE, "")
    threads = int(given) if given.isdecimal() and given != "0" else int(usable) // ranks
    if ranks * threads > usable:
        return note(
            f"{text}, for {ranks} rank(s) of {threads} threads each ({THREADS_VARIABLE})",
            f"unset {THREADS_VARIABLE}, so that the cores are shared out",
        )
    return ok(f"{text}, for {ranks} rank(s) of {threads} thread(s) each")


def _others(cores: Cores) -> Iterator[Verdict]:
    if cores.load > BUSY_SHARE * cores.of_machine:
        yield note(
            f"the load of the last minute is {cores.load:.1f} on {cores.of_machine} core(s)",
            "see by top who computes here, and measure when nobody does",
        )
