from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from distbench.errors import MissingPartError, OutputError
from distbench.study import processes
from tests.study_fakes import ROOT

VARIABLE = "A_TEST_MARK"
# Children of children, one of them in a session of its own, and deaf to SIGTERM.
FAMILY = """
import signal, subprocess, sys, time
code = (
    "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('ready', flush=True); time.sleep(100)"
)
child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True,
                         stdout=subprocess.PIPE)
child.stdout.readline()
print("ready", flush=True)
time.sleep(100)
"""


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A mark whose processes are ended and waited for after the test."""
    mark = str(uuid.uuid4())
    started: list[processes.Process] = []
    real_start = processes.start
    monkeypatch.setattr(
        processes, "start", lambda *words: started.append(real_start(*words)) or started[-1]
    )
    yield mark
    processes.end_marked(VARIABLE, mark, grace_s=0)
    for process in started:
        process.wait(60)


def environment(mark: str) -> dict[str, str]:
    return {**os.environ, VARIABLE: mark}


def start(code: str, mark: str, log: Path) -> processes.Process:
    """Starts Python code and waits until it says 'ready'."""
    process = processes.start([sys.executable, "-c", code], environment(mark), log)
    deadline = time.monotonic() + 60
    while b"ready" not in log.read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process


def test_a_launch_has_a_session_of_its_own_and_prints_into_its_log(
    mark: str, tmp_path: Path
) -> None:
    code = "import os, sys; print(os.getsid(0)); print('on stderr', file=sys.stderr); input()"
    process = processes.start([sys.executable, "-c", code], environment(mark), tmp_path / "log")
    assert process.wait(60) == 1  # no input is there
    told = (tmp_path / "log").read_text()
    assert f"{process.pid}\n" in told
    assert "on stderr" in told
    assert process.pid != os.getsid(0)


def test_a_log_is_never_overwritten_and_no_link_followed(mark: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for name in ("link", "."):
        with pytest.raises(OutputError, match="cannot be made"):
            processes.start(["true"], environment(mark), tmp_path / name)
    assert not (tmp_path / "target").exists()


def test_a_program_that_is_missing_is_named(mark: str, tmp_path: Path) -> None:
    with pytest.raises(MissingPartError, match="no-such-launcher cannot be started"):
        processes.start(["no-such-launcher"], environment(mark), tmp_path / "log")


def test_waiting_tells_whether_the_process_has_ended(mark: str, tmp_path: Path) -> None:
    process = start(
        "print('ready', flush=True); import time; time.sleep(100)", mark, tmp_path / "l"
    )
    assert not processes.wait(process, 0.05)
    process.kill()
    assert processes.wait(process, 60)
    assert process.returncode == -signal.SIGKILL
    assert processes.wait(process, 60)


def test_all_processes_with_the_mark_are_found_and_no_others(mark: str, tmp_path: Path) -> None:
    process = start(FAMILY, mark, tmp_path / "log")
    found = processes.marked(VARIABLE, mark)
    assert process.pid in found
    assert len(found) == 2
    assert processes.marked(VARIABLE, mark[:-1]) == []
    assert processes.marked("TEST_MARK", mark) == []


def test_what_ignores_sigterm_is_killed(mark: str, tmp_path: Path) -> None:
    process = start(FAMILY, mark, tmp_path / "log")
    assert processes.end_marked(VARIABLE, mark, grace_s=0.3) == []
    assert process.wait(60) == -signal.SIGTERM
    assert processes.marked(VARIABLE, mark) == []


def test_what_ends_by_itself_is_waited_for(mark: str, tmp_path: Path) -> None:
    start("print('ready', flush=True); import time; time.sleep(0.3)", mark, tmp_path / "log")
    assert not processes.wait_until_gone(VARIABLE, mark, 0.0)
    assert processes.wait_until_gone(VARIABLE, mark, 60)
    assert processes.end_marked(VARIABLE, mark, grace_s=0) == []


def test_processes_that_cannot_be_ended_are_returned(
    mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start(
        "print('ready', flush=True); import time; time.sleep(100)", mark, tmp_path / "l"
    )
    with monkeypatch.context() as patched:
        patched.setattr(signal, "pidfd_send_signal", lambda *_: None)
        patched.setattr(processes, "KILL_WAIT_S", 0.1)
        assert processes.end_marked(VARIABLE, mark, grace_s=0.1) == [process.pid]


def test_a_launch_dies_with_the_process_that_started_it(mark: str, tmp_path: Path) -> None:
    code = (
        "import os, sys, time\nfrom pathlib import Path\nfrom distbench.study import processes\n"
        "argv = [sys.executable, '-c', \"print('ready', flush=True); import time; time.sleep(99)\"]\n"
        f"environ = {{**os.environ, {VARIABLE!r}: {mark!r}}}\n"
        f"processes.start(argv, environ, Path({str(tmp_path / 'log')!r}))\ntime.sleep(99)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    log = tmp_path / "log"
    deadline = time.monotonic() + 60
    while not log.exists() or b"ready" not in log.read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(processes.marked(VARIABLE, mark)) == 1
    parent.kill()
    parent.wait()
    assert processes.wait_until_gone(VARIABLE, mark, 60)
