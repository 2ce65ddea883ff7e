"""Starts real ranks, as a user does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

LAUNCHERS = {
    "gloo": ["horovodrun", "--gloo", "-np", "{ranks}", "-H", "localhost:{ranks}"],
    "mpi": ["mpirun", "--allow-run-as-root", "--oversubscribe", "-np", "{ranks}"],
}
TINY = ["--preset", "quick", "--batch-size", "2", "--steps", "12", "--warmup-steps", "1"]
LIMIT_S = 180


def clean_environment(**changes: str) -> dict[str, str]:
    """This environment without settings of distbench or traces of a launcher."""
    prefixes = ("DISTBENCH_", "OMPI_", "HOROVOD_", "PMI")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    return {**kept, "TF_CPP_MIN_LOG_LEVEL": "3", **changes}


def need(*programs: str) -> None:
    """Skips the test where a program or Horovod is missing."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    pytest.importorskip("horovod", reason="Horovod is not installed")


def run(command: list[str], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end; the test fails if it hangs."""
    return subprocess.run(
        command,
        cwd=cwd,
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        stdin=subprocess.DEVNULL,
    )


def launch(
    launcher: str, command: list[str], cwd: Path, ranks: int = 2, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs `command` as `ranks` ranks under horovodrun over Gloo or under mpirun."""
    start = [part.format(ranks=ranks) for part in LAUNCHERS[launcher]]
    need(start[0])
    return run([*start, *command], cwd, **environment)


def start(
    launcher: str, command: list[str], cwd: Path, ranks: int, output: Path, **environment: str
) -> subprocess.Popen[bytes]:
    """Begins what `launch` runs, in a session of its own, and prints into `output`."""
    start = [part.format(ranks=ranks) for part in LAUNCHERS[launcher]]
    need(start[0])
    with output.open("wb") as stream:
        return subprocess.Popen(
            [*start, *command],
            cwd=cwd,
            env=clean_environment(**environment),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def on_own_disks(launcher: str, command: list[str]) -> list[str]:
    """`command` in a folder disk-<rank> of each rank's own, as where hosts share no disk."""
    variable = {"gloo": "HOROVOD_RANK", "mpi": "OMPI_COMM_WORLD_RANK"}[launcher]
    own_folder = f'mkdir -p "disk-${variable}" && cd "disk-${variable}" && exec "$@"'
    return ["bash", "-c", own_folder, "bash", *command]


def distbench(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "distbench", *arguments]


def only_run(cwd: Path) -> Path:
    """The one run directory under results/."""
    directories = list((cwd / "results").iterdir())
    assert len(directories) == 1
    return directories[0]


def status(directory: Path) -> Any:
    return json.loads((directory / "status.json").read_text())


def processes_left(marker: str) -> list[str]:
    """Command lines of processes that name `marker` in their environment or working directory."""
    left = []
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal() or int(process.name) == os.getpid():
            continue
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            # one without words is at its end: the kernel has its memory back already
            if words and os.readlink(process / "cwd").startswith(marker):
                left.append(words)
        except OSError:
            continue
    return left
