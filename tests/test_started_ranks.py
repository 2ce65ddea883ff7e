from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from distbench.doctor import probe_rank
from distbench.doctor.started_ranks import (
    MARK_VARIABLE,
    Limits,
    part_reached,
    probe_argv,
    run,
    time_limits,
)
from distbench.errors import MissingPartError

# Tells a fact as a rank does, in the folder that is its last word.
TELL = """
import json, os, pathlib, sys
path = pathlib.Path(sys.argv[-1], f"rank-{os.getpid()}.json")
path.write_text(json.dumps({"stage": STAGE, "rank": 0}))
"""
# Deaf to SIGTERM, with a child in a session of its own; both tell their ids on the way.
HANG = (
    TELL
    + """
import signal, subprocess, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "300"], start_new_session=True)
print("ids", os.getpid(), child.pid, flush=True)
time.sleep(300)
"""
)
STRAY = """
import subprocess
child = subprocess.Popen(["sleep", "300"], start_new_session=True)
print("ids", child.pid, flush=True)
"""

LONG = Limits(60, 60, 60)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def assert_gone(log: str) -> None:
    ids = next(line for line in log.splitlines() if line.startswith("ids")).split()[1:]
    assert ids
    for pid in ids:
        stat = Path(f"/proc/{pid}/stat")
        # one that nobody has waited for yet is a name without a process
        assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_what_ranks_tell_and_print_is_brought() -> None:
    code = TELL.replace("STAGE", '"done"') + "print('hello'); sys.exit(3)"
    found = run(python(code), os.environ, 1, LONG)
    assert found.exit_code == 3
    assert found.ranks == [{"stage": "done", "rank": 0}]
    assert "hello" in found.log
    assert found.strays == 0
    assert not found.immortal


@pytest.mark.parametrize(
    ("stage", "limits"),
    [("hvd.init", Limits(60, 60, 1)), ("LOADING", Limits(60, 1, 60)), ("", Limits(3, 60, 60))],
)
def test_a_hang_in_any_part_is_ended_with_all_its_processes(stage: str, limits: Limits) -> None:
    stage = stage.replace("LOADING", probe_rank.LOADING)
    code = HANG if stage else HANG.replace("rank-", "other-")
    began_s = time.monotonic()
    found = run(python(code.replace("STAGE", repr(stage))), os.environ, 1, limits)
    assert time.monotonic() - began_s < 50
    assert found.exit_code is None
    assert [rank["stage"] for rank in found.ranks] == ([stage] if stage else [])
    assert not found.immortal
    assert_gone(found.log)


def test_what_outlives_its_launcher_is_ended_and_counted() -> None:
    found = run(python(STRAY), os.environ, 1, LONG)
    assert found.exit_code == 0
    assert found.strays == 1
    assert_gone(found.log)


def test_an_interrupt_leaves_nothing_running(monkeypatch: pytest.MonkeyPatch) -> None:
    from distbench.study import processes

    marks = []
    real_start = processes.start

    def start(argv, environ, log):
        marks.append(environ[MARK_VARIABLE])
        return real_start(argv, environ, log)

    def interrupt(process, timeout_s):
        raise KeyboardInterrupt

    monkeypatch.setattr(processes, "start", start)
    monkeypatch.setattr(processes, "wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(["sleep", "300"], os.environ, 1, LONG)
    assert processes.marked(MARK_VARIABLE, marks[0]) == []


def test_a_launcher_that_is_not_there_is_said() -> None:
    with pytest.raises(MissingPartError, match="no-such-launcher"):
        run(["no-such-launcher"], os.environ, 1, LONG)


def test_the_command_fits_the_launcher() -> None:
    gloo = probe_argv("gloo", 3, "Open MPI")
    assert gloo[:2] == ["horovodrun", "--gloo"]
    assert gloo[-2:] == ["-m", "distbench.doctor.probe_rank"]
    assert "--map-by" in probe_argv("mpi", 3, "Open MPI")
    # flags of Open MPI would stop another's launcher
    assert probe_argv("mpi", 3, "MPICH")[:4] == ["mpirun", "-np", "3", sys.executable]


def test_the_time_limits_grow_with_what_loading_costs_and_with_ranks_on_a_core() -> None:
    alone = time_limits(4.0, 2, 2)
    assert alone == (21, 31, 20)
    assert time_limits(4.0, 2, 64) == alone
    assert time_limits(4.0, 8, 2) == (24, 79, 80)


def test_the_slowest_rank_tells_which_limit_counts() -> None:
    loading, working = {"stage": probe_rank.LOADING}, {"stage": "hvd.init"}
    assert part_reached([], 2) == part_reached([working], 2) == 0
    assert part_reached([working, loading], 2) == 1
    assert part_reached([working, working], 2) == 2
