"""Processes of a launch: started in a session of their own, found by a mark, and ended for certain.

The mark is a variable in their environment, which children inherit: so processes of a launch are found
through /proc on this machine even when the process that started them was killed. Ranks on other hosts
are ended by their launcher, and cannot be seen from here. Linux only.
"""

from __future__ import annotations

import ctypes
import functools
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from distbench.errors import MissingPartError, OutputError

GRACE_S = 10.0  # between SIGTERM and SIGKILL: launchers end the ranks on other hosts meanwhile
KILL_WAIT_S = 10.0  # a process in the kernel's hands may take a moment to go
_LOOK_EVERY_S = 0.05
_PR_SET_PDEATHSIG = 1
Process = subprocess.Popen[bytes]


def start(argv: Sequence[str], environ: Mapping[str, str], log: Path) -> Process:
    """Starts `argv` in a session of its own, which prints into the new file `log`.

    The kernel sends it SIGTERM when this process ends, so that the launcher ends its ranks.
    Raises MissingPartError where the program is not there, OutputError where `log` cannot be made.
    """
    prctl = ctypes.CDLL(None).prctl
    try:
        output = os.open(
            log, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW, 0o644
        )
    except OSError as error:
        raise OutputError(
            f"{log} cannot be made ({error.strerror}); make the study's directory writable"
        ) from error
    try:
        return subprocess.Popen(
            argv,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=functools.partial(_die_with_parent, prctl, os.getpid()),
        )
    except OSError as error:
        raise MissingPartError(
            f"{argv[0]} cannot be started ({error.strerror}); install it, or name another launcher"
        ) from error
    finally:
        os.close(output)


def _die_with_parent(prctl: Callable[..., Any], parent: int) -> None:
    """Runs in the child. The parent may have ended before the kernel was asked."""
    prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() != parent:
        os._exit(1)


def wait(process: Process, timeout_s: float) -> bool:
    """Sleeps until the process has ended, at most `timeout_s`; whether it has.

    It does not look again and again meanwhile: what is measured needs the cores.
    """
    if process.poll() is not None:
        return True
    descriptor = os.pidfd_open(process.pid)
    try:
        select.select([descriptor], [], [], timeout_s)
    finally:
        os.close(descriptor)
    return process.poll() is not None


def marked(variable: str, mark: str) -> list[int]:
    """Ids of this machine's processes whose environment holds `variable` = `mark`, but for this one."""
    own = os.getpid()
    numbers = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
    return [pid for pid in sorted(numbers) if pid != own and _is_marked(pid, variable, mark)]


def _is_marked(pid: int, variable: str, mark: str) -> bool:
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # gone, or another user's
        return False
    return f"{variable}={mark}".encode() in environ.split(b"\0")


def end_marked(variable: str, mark: str, grace_s: float) -> list[int]:
    """Ends all processes with the mark: SIGTERM, `grace_s` later SIGKILL. Returns those still there."""
    for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, KILL_WAIT_S)):
        deadline = time.monotonic() + patience_s
        _signal_marked(variable, mark, number)
        while not _all_gone(variable, mark):
            if time.monotonic() >= deadline:
                break
            if number == signal.SIGKILL:  # also what was started since
                _signal_marked(variable, mark, number)
        else:
            return []
    return marked(variable, mark)


def wait_until_gone(variable: str, mark: str, timeout_s: float) -> bool:
    """Waits for processes with the mark that are about to end; whether all have."""
    deadline = time.monotonic() + timeout_s
    while not _all_gone(variable, mark):
        if time.monotonic() >= deadline:
            return False
    return True


def _all_gone(variable: str, mark: str) -> bool:
    """Two looks: a process that is just being started may show no environment for a moment."""
    if marked(variable, mark):
        time.sleep(_LOOK_EVERY_S)
        return False
    time.sleep(_LOOK_EVERY_S)
    return not marked(variable, mark)


def _signal_marked(variable: str, mark: str, number: signal.Signals) -> None:
    for pid in marked(variable, mark):
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            continue
        try:
            # looked at again behind the descriptor: the id may be another process's by now
            if _is_marked(pid, variable, mark):
                signal.pidfd_send_signal(descriptor, number)
        except OSError:
            continue
        finally:
            os.close(descriptor)
