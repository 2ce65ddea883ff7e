"""Starts the doctor's ranks for real, and ends them for certain, within a time limit."""

from __future__ import annotations

import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from distbench.doctor.mpi_flavour import OPEN_MPI
from distbench.doctor.probe_rank import LOADING
from distbench.durable_files import read_object
from distbench.launchers import Launch, launch_argv
from distbench.study import processes
from distbench.study.study_causes import log_end

MARK_VARIABLE = "DISTBENCH_DOCTOR_MARK"
GRACE_S = 3.0  # for launchers to end their ranks
LEAVE_S = 1.0  # for ranks to go after their launcher has
LOOK_EVERY_S = 0.5


class Limits(NamedTuple):
    """The most that each part may take, in seconds, counted from the end of the one before."""

    start_s: float  # until every rank has said its first word
    load_s: float  # until every rank has loaded TensorFlow and Horovod
    work_s: float  # until the launcher has ended


@dataclass(frozen=True)
class Started:
    """How one job of the doctor went; `exit_code` is None where it was ended at its time limit."""

    exit_code: int | None
    wall_s: float
    ranks: Sequence[Mapping[str, Any]]  # the facts of those that told any
    log: str
    strays: int = 0  # processes that stayed behind and were ended
    immortal: Sequence[int] = ()  # ids of processes that could not be ended


def probe_argv(controller: str, ranks: int, flavour: str) -> list[str]:
    """The command that starts the probe's ranks, without the probe's folder."""
    command = [sys.executable, "-m", "distbench.doctor.probe_rank"]
    if controller == "mpi" and flavour not in (OPEN_MPI, ""):
        return ["mpirun", "-np", str(ranks), *command]  # the flags below are Open MPI's
    launcher = "mpirun" if controller == "mpi" else "local"
    return launch_argv(Launch(launcher, ranks), command)


def time_limits(import_s: float, ranks: int, cores: float) -> Limits:
    """Limits by what loading TensorFlow alone took here, and by how many ranks share a core."""
    share = max(1.0, ranks / max(1.0, cores))
    return Limits(start_s=20.0 + share, load_s=15.0 + 4.0 * import_s * share, work_s=20.0 * share)


def run(argv: Sequence[str], environ: Mapping[str, str], ranks: int, limits: Limits) -> Started:
    """Runs `argv`, which starts `ranks` ranks, with a folder as its last word.

    Afterwards none of its processes lives.

    Raises MissingPartError where the program is not there.
    """
    mark = str(uuid.uuid4())
    with tempfile.TemporaryDirectory(prefix="distbench-doctor-") as name:
        folder = Path(name)
        log, told = folder / "log", folder / "ranks"
        told.mkdir()
        started_s = time.monotonic()
        process = processes.start([*argv, str(told)], {**environ, MARK_VARIABLE: mark}, log)
        has_ended, strays = False, 0
        immortal: list[int] = []
        try:
            has_ended = _watch(process, told, ranks, limits)
        finally:
            if not has_ended:
                immortal = processes.end_marked(MARK_VARIABLE, mark, GRACE_S)
            elif not processes.wait_until_gone(MARK_VARIABLE, mark, LEAVE_S):
                strays = len(processes.marked(MARK_VARIABLE, mark))
                immortal = processes.end_marked(MARK_VARIABLE, mark, GRACE_S)
            if process.poll() is None:  # it has hidden its environment
                process.kill()
            exit_code = process.wait(processes.KILL_WAIT_S)
        return Started(
            exit_code=exit_code if has_ended else None,
            wall_s=time.monotonic() - started_s,
            ranks=_facts(told),
            log=log_end(log),
            strays=strays,
            immortal=immortal,
        )


def _watch(process: processes.Process, told: Path, ranks: int, limits: Limits) -> bool:
    """Waits for the launcher; whether it has ended within the limits."""
    part, since_s = 0, time.monotonic()
    while not processes.wait(process, LOOK_EVERY_S):
        now_s = time.monotonic()
        reached = part_reached(_facts(told), ranks)
        if reached > part:
            part, since_s = reached, now_s
        if now_s - since_s >= limits[part]:
            return False
    return True


def part_reached(facts: Sequence[Mapping[str, Any]], ranks: int) -> int:
    """Which of the limits counts: 0 while ranks start, 1 while they load, 2 while they work."""
    if len(facts) < ranks:
        return 0
    return 1 if any(rank.get("stage") == LOADING for rank in facts) else 2


def _facts(told: Path) -> list[Mapping[str, Any]]:
    return [read_object(path) for path in sorted(told.glob("rank-*.json"))]
