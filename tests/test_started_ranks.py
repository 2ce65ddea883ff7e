from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from distbench.doctor.started_ranks import MARK_VARIABLE, probe_argv, run, time_limit_s
from distbench.errors import MissingPartError

# Tells a fact as a rank does, in the folder that is its last word.
TELL = """
import json, os, pathlib, sys
path = pathlib.Path(sys.argv[-1], f"rank-{os.getpid()}.json")
path.write_text(json.dumps({"stage": STAGE, "rank": 0}))
"""
# Deaf to SIGTERM, with a child in a session of its own; both tell their ids on the way.
HANG = (
    TELL.replace("STAGE", '"hvd.init"')
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
    found = run(python(code), os.environ, limit_s=30)
    assert found.exit_code == 3
    assert found.ranks == [{"stage": "done", "rank": 0}]
    assert "hello" in found.log
    assert found.strays == 0
    assert not found.immortal


def test_a_hang_is_ended_with_all_its_processes() -> None:
    began_s = time.monotonic()
    found = run(python(HANG), os.environ, limit_s=3)
    assert time.monotonic() - began_s < 60
    assert found.exit_code is None
    assert found.ranks == [{"stage": "hvd.init", "rank": 0}]
    assert not found.immortal
    assert_gone(found.log)


def test_what_outlives_its_launcher_is_ended_and_counted() -> None:
    found = run(python(STRAY), os.environ, limit_s=30)
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
        run(["sleep", "300"], os.environ, limit_s=30)
    assert processes.marked(MARK_VARIABLE, marks[0]) == []


def test_a_launcher_that_is_not_there_is_said() -> None:
    with pytest.raises(MissingPartError, match="no-such-launcher"):
        run(["no-such-launcher"], os.environ, limit_s=1)


def test_the_command_fits_the_launcher() -> None:
    gloo = probe_argv("gloo", 3, "Open MPI")
    assert gloo[:2] == ["horovodrun", "--gloo"]
    assert gloo[-2:] == ["-m", "distbench.doctor.probe_rank"]
    assert "--map-by" in probe_argv("mpi", 3, "Open MPI")
    # flags of Open MPI would stop another's launcher
    assert probe_argv("mpi", 3, "MPICH")[:4] == ["mpirun", "-np", "3", sys.executable]


def test_the_time_limit_grows_with_what_loading_costs() -> None:
    assert time_limit_s(0.0, 2, 2) == 20
    assert time_limit_s(4.0, 2, 2) == 28
    assert time_limit_s(4.0, 8, 2) == 52
    assert time_limit_s(4.0, 2, 64) == 28
