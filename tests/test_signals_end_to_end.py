"""Signals to real jobs, whose rank 0 is inside of a collective: out at once, and told on disk.

Rank 1 sleeps by plan in front of a step's allreduce, so that the others surely wait for it there.
"""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import termios
import time
from pathlib import Path

import pytest

from distbench.records import raw_file_name, read_rank_file
from tests.launching import TINY, clean_environment, distbench, need, processes_left, start, status

RANKS = 2
FLAGS = [*TINY, "--blocks", "6", "--output", "run"]
SLEEP = {
    "DISTBENCH_TESTING": "1",
    "DISTBENCH_FAULT": "sleep:rank=1,phase=forward_backward_allreduce,step=8,seconds=300",
}
OUT_S = 5.0  # 2 s are promised; a busy machine may take longer to end its launcher
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
TARGETS = (
    "launcher",
    "rank-0",
    "rank-1",
    "group",
)  # the group is what Ctrl-C at a terminal reaches
SLICE = ((signal.SIGTERM, "gloo", "launcher"), (signal.SIGINT, "mpi", "rank-0"))


def case(number: signal.Signals, launcher: str, target: str) -> object:
    everyday = (number, launcher, target) in SLICE
    marks = [pytest.mark.real] if everyday else [pytest.mark.faults]
    return pytest.param(
        number, launcher, target, marks=marks, id=f"{number.name}-{launcher}-{target}"
    )


@pytest.mark.parametrize(
    ("number", "launcher", "target"),
    [case(one, by, to) for one in SIGNALS for by in ("gloo", "mpi") for to in TARGETS],
)
def test_a_signal_ends_the_job_at_once_and_is_told_on_disk(
    number: signal.Signals, launcher: str, target: str, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    with start(launcher, distbench(*FLAGS), tmp_path, RANKS, output, **SLEEP) as job:
        wait_until_struck(output)
        sent_s = time.monotonic()
        send(number, target, job.pid, tmp_path)
        job.wait(60)
        while processes_left(str(tmp_path)) and time.monotonic() - sent_s < 60:
            time.sleep(0.02)
        took_s = time.monotonic() - sent_s
    text = output.read_text(errors="replace")
    print(f"{number.name} to {target} over {launcher}: out after {took_s:.2f} s")
    assert processes_left(str(tmp_path)) == []
    assert took_s < OUT_S, text
    assert job.returncode != 0
    verdict = status(tmp_path / "run")
    assert verdict["state"] == "failed", text
    assert re.search(cause_of(number, launcher, target), verdict["cause"]), verdict["cause"]
    for rank in range(RANKS):
        records = read_rank_file(tmp_path / "run" / "raw" / raw_file_name(rank))
        assert records.problems == []
        assert sum(not block["warmup"] for block in records.blocks) > 0


def cause_of(number: signal.Signals, launcher: str, target: str) -> str:
    """horovodrun hands SIGTERM for SIGINT on, and is simply killed by SIGUSR1."""
    if target.startswith("rank-"):
        return rf"^rank {target[-1]} received {number.name} in forward_backward_allreduce"
    if launcher == "gloo" and number == signal.SIGUSR1:
        return r"received SIGTERM in|the launcher is gone"
    return r"^rank \d received SIG(TERM|INT|USR1) in forward_backward_allreduce"


def wait_until_struck(output: Path) -> None:
    """Until rank 1 sleeps and rank 0 waits for it."""
    deadline_s = time.monotonic() + 120
    while "DISTBENCH_FAULT at" not in output.read_text(errors="replace"):
        assert time.monotonic() < deadline_s, output.read_text(errors="replace")
        time.sleep(0.05)
    time.sleep(0.5)


def send(number: signal.Signals, target: str, launcher_pid: int, directory: Path) -> None:
    if target == "launcher":
        os.kill(launcher_pid, number)
    elif target == "group":
        os.killpg(launcher_pid, number)
    else:
        os.kill(pid_of_rank(int(target[-1]), directory), number)


def pid_of_rank(rank: int, directory: Path) -> int:
    """The process in `directory` that the launcher told to be this rank."""
    wanted = {f"{name}={rank}".encode() for name in ("HOROVOD_RANK", "OMPI_COMM_WORLD_RANK")}
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        try:
            is_here = os.readlink(process / "cwd") == str(directory)
            is_rank = is_here and wanted & set((process / "environ").read_bytes().split(b"\0"))
            if is_rank and b"-m\0distbench" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    # a shell of the launcher's may bear the same variables: the rank is the youngest
    assert found
    return max(found)


@pytest.mark.real
def test_ctrl_c_leaves_the_terminal_sane(tmp_path: Path) -> None:
    """One rank at a real terminal: same modes as before, and the next line begins at its left."""
    need()
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    command = distbench(*TINY, "--steps", "20000", "--blocks", "500", "--output", "run")
    environment = clean_environment(TERM="xterm")
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True,
    ) as job:  # fmt: skip
        shown = b""
        while b"step " not in shown:
            assert job.poll() is None, shown
            if select.select([ours], [], [], 0.5)[0]:
                shown += os.read(ours, 4096)
        os.kill(job.pid, signal.SIGINT)
        assert job.wait(60) == 128 + signal.SIGINT
    os.set_blocking(ours, False)
    shown += os.read(ours, 65536)
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)
    last = shown.decode().splitlines()[-1]
    assert re.search(r"distbench: rank 0 received SIGINT in \w+", last)
    assert shown.endswith(b"\n")
    assert b"\x1b[?" not in shown  # no mode was switched that would have to be put back
    assert status(tmp_path / "run")["exit_code"] == 128 + signal.SIGINT
