"""What the launchers tell a rank through its environment, before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class LauncherVariables:
    """The variables in which one launcher tells a process its rank and the number of ranks."""

    launcher: str
    rank: str
    size: str


# The first that is set counts: horovodrun inside a Slurm allocation sets its own beside Slurm's.
# SLURM_STEP_NUM_TASKS exists only under srun, while SLURM_NTASKS is set in the batch shell as well.
KNOWN_LAUNCHERS = (
    LauncherVariables("horovodrun over Gloo", "HOROVOD_RANK", "HOROVOD_SIZE"),
    LauncherVariables("Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    LauncherVariables("MPICH or Intel MPI", "PMI_RANK", "PMI_SIZE"),
    LauncherVariables("srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
)
_LAUNCHER_PREFIXES = ("HOROVOD_", "OMPI_", "PMIX_", "PMI_", "MPI_LOCAL", "SLURM_", "PRTE_")


@dataclass(frozen=True)
class LaunchedAs:
    """What the environment says about this process."""

    launcher: str
    rank: int
    size: int


ALONE = LaunchedAs("none", 0, 1)


def launched_as(environ: Mapping[str, str]) -> LaunchedAs:
    """Launcher, rank and number of ranks by the environment; ALONE where it names none."""
    for known in KNOWN_LAUNCHERS:
        rank, size = environ.get(known.rank, ""), environ.get(known.size, "")
        if rank.isdecimal() and size.isdecimal():
            return LaunchedAs(known.launcher, int(rank), int(size))
    return ALONE


def without_launcher_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for a child that is no rank of the job, such as the reporter."""
    return {
        name: value for name, value in environ.items() if not name.startswith(_LAUNCHER_PREFIXES)
    }
