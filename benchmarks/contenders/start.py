"""How each contender's ranks are started, and whether it can be at all."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from contenders.comparison import LIBRARY, OURS, PEERS
from contenders.job import Command
from contenders.line import HOST
from contenders.task import Task
from distbench.launchers import Launch, launch_argv

CONTROLLERS = ("mpi", "gloo")
HELPERS = ("mpi", "peak")  # small, and no rivals: they bound what is possible
CONTENDERS = (OURS, LIBRARY, *PEERS, *HELPERS)
# What a contender imports, but for the Horovod of more than one rank.
_IMPORTS = {
    "distbench": "tensorflow, horovod.tensorflow",
    "distbench_library": "tensorflow, horovod.tensorflow",
    "keras": "keras, tensorflow",
    "pytorch": "torch, numpy",
    "mpi": "mpi4py, numpy",
    "peak": "tensorflow",
}
IMPORT_LIMIT_S = 300.0
_BENCHMARKS = Path(__file__).parent.parent
_A_DAY_S = "86400"


def reason_missing(name: str, task: Task, pythons: Mapping[str, str]) -> str:
    """Why a contender cannot take part, in words; empty where it can."""
    if name == "mpi" and task.ranks == 1:
        return "one rank reduces nothing"
    horovod = ", horovod.tensorflow" if name == "keras" and task.ranks > 1 else ""
    command = [_python(name, pythons), "-c", f"import {_IMPORTS[name]}{horovod}"]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=IMPORT_LIMIT_S, env=_variables()
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"not installed: its Python cannot be used ({type(error).__name__})"
    last_line = (result.stderr.strip().splitlines() or ["no word"])[-1]
    return f"not installed: {last_line}" if result.returncode else ""


def commands(name: str, task: Task, controller: str, pythons: Mapping[str, str]) -> list[Command]:
    """What starts all ranks of a contender: one launcher, or one plain process for each rank."""
    rank = [_python(name, pythons), "-m", "contenders.rank", name, *task.flags()]
    if task.ranks == 1 or name in ("pytorch", "peak"):
        port = _free_port()
        return [(rank, _plain_variables(task, index, port)) for index in range(task.ranks)]
    over_mpi = name == "mpi" or controller == "mpi"
    launch = Launch("mpirun" if over_mpi else "local", task.ranks)
    return [(launch_argv(launch, rank), _variables())]


def _python(name: str, pythons: Mapping[str, str]) -> str:
    return pythons.get(name, sys.executable)


def _variables() -> dict[str, str]:
    path = [str(_BENCHMARKS), str(_BENCHMARKS.parent), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(part for part in path if part),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # Ranks that are stopped for minutes are not lost.
        "HOROVOD_GLOO_TIMEOUT_SECONDS": _A_DAY_S,
        "HOROVOD_STALL_CHECK_DISABLE": "1",
    }


def _plain_variables(task: Task, rank: int, port: int) -> dict[str, str]:
    """What torch.distributed reads."""
    place = {"RANK": rank, "WORLD_SIZE": task.ranks, "LOCAL_RANK": rank, "MASTER_PORT": port}
    return {
        **_variables(),
        **{name: str(value) for name, value in place.items()},
        "MASTER_ADDR": HOST,
        "GLOO_SOCKET_IFNAME": "lo",
    }


def _free_port() -> int:
    """Free at this moment: the ranks find each other there."""
    with socket.create_server((HOST, 0)) as server:
        return int(server.getsockname()[1])
