"""What the launchers tell a rank through its environment, before anything heavy is imported."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class LauncherVariables:
    """The variables in which one launcher tells a process its place, in the job and on its node."""

    launcher: str
    rank: str
    size: str
    local_rank: str
    local_size: str
    nodes: str


# The first that is set counts: horovodrun inside a Slurm allocation sets its own beside Slurm's.
# SLURM_STEP_NUM_TASKS exists only under srun, while SLURM_NTASKS is set in the batch shell as well.
KNOWN_LAUNCHERS = (
    LauncherVariables(
        "horovodrun over Gloo",
        "HOROVOD_RANK",
        "HOROVOD_SIZE",
        "HOROVOD_LOCAL_RANK",
        "HOROVOD_LOCAL_SIZE",
        "HOROVOD_CROSS_SIZE",
    ),
    LauncherVariables(
        "Open MPI",
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_LOCAL_SIZE",
        "OMPI_MCA_orte_num_nodes",
    ),
    LauncherVariables(
        "MPICH or Intel MPI", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS", ""
    ),
    LauncherVariables(
        "srun",
        "SLURM_PROCID",
        "SLURM_STEP_NUM_TASKS",
        "SLURM_LOCALID",
        "SLURM_STEP_TASKS_PER_NODE",
        "SLURM_STEP_NUM_NODES",
    ),
)
_LAUNCHER_PREFIXES = ("HOROVOD_", "OMPI_", "PMIX_", "PMI_", "MPI_LOCAL", "SLURM_", "PRTE_")


@dataclass(frozen=True)
class LaunchedAs:
    """What the environment says about this process; None where it does not say."""

    launcher: str
    rank: int
    size: int
    local_rank: int | None = None
    local_size: int | None = None
    nodes: int | None = None  # that hold ranks, where all of them have this rank's local rank


ALONE = LaunchedAs("none", 0, 1, 0, 1, 1)


def launched_as(environ: Mapping[str, str]) -> LaunchedAs:
    """Launcher, rank and number of ranks by the environment; ALONE where it names none."""
    for known in KNOWN_LAUNCHERS:
        rank, size = number_in(environ, known.rank), number_in(environ, known.size)
        if rank is not None and size is not None:
            return LaunchedAs(known.launcher, rank, size, *_place(environ, rank, size))
    return ALONE


def _place(
    environ: Mapping[str, str], rank: int, size: int
) -> tuple[int | None, int | None, int | None]:
    """Local rank, local size, nodes; under srun with Slurm's PMI only Slurm's variables name them."""
    for known in KNOWN_LAUNCHERS:
        same_job = (number_in(environ, known.rank), number_in(environ, known.size)) == (rank, size)
        local_rank, local_size = number_in(environ, known.local_rank), _local_size(environ, known)
        if same_job and local_rank is not None and local_size is not None:
            return local_rank, local_size, number_in(environ, known.nodes)
    return None, None, None


def number_in(environ: Mapping[str, str], name: str) -> int | None:
    """The whole number that a variable holds; None where it is not set or holds something else."""
    text = environ.get(name, "")
    return int(text) if text.isdecimal() else None


def _local_size(environ: Mapping[str, str], known: LauncherVariables) -> int | None:
    if known.launcher != "srun":
        return number_in(environ, known.local_size)
    counts = slurm_counts(environ.get(known.local_size, ""))
    node = number_in(environ, "SLURM_NODEID")
    return counts[node] if node is not None and node < len(counts) else None


def slurm_counts(text: str) -> list[int]:
    """Slurm's list of counts by node, '4(x2),3' -> [4, 4, 3]; empty where it is none."""
    counts: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]+)(?:\(x([0-9]{1,5})\))?", part)
        if match is None:
            return []
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def without_launcher_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for a child that is no rank of the job, such as the reporter."""
    return {
        name: value for name, value in environ.items() if not name.startswith(_LAUNCHER_PREFIXES)
    }
