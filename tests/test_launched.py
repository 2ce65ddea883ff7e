from __future__ import annotations

import pytest

from distbench.launched import ALONE, launched_as, slurm_counts, without_launcher_variables


@pytest.mark.parametrize(
    ("environ", "rank", "size"),
    [
        ({"HOROVOD_RANK": "1", "HOROVOD_SIZE": "4"}, 1, 4),
        ({"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "3"}, 2, 3),
        ({"PMI_RANK": "0", "PMI_SIZE": "2"}, 0, 2),
        ({"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8"}, 5, 8),
        # horovodrun inside a Slurm batch script
        ({"SLURM_PROCID": "0", "HOROVOD_RANK": "1", "HOROVOD_SIZE": "2"}, 1, 2),
    ],
)
def test_each_launcher(environ: dict[str, str], rank: int, size: int) -> None:
    found = launched_as(environ)
    assert (found.rank, found.size) == (rank, size)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "8"},  # the batch script itself, not srun
        {"HOROVOD_RANK": "", "HOROVOD_SIZE": "x"},
    ],
)
def test_no_launcher(environ: dict[str, str]) -> None:
    assert launched_as(environ) == ALONE


def test_the_reporter_inherits_no_rank() -> None:
    environ = {"OMPI_COMM_WORLD_RANK": "0", "PMIX_RANK": "0", "HOROVOD_RANK": "0", "PATH": "/bin"}
    assert without_launcher_variables(environ) == {"PATH": "/bin"}


@pytest.mark.parametrize(
    ("environ", "local_rank", "local_size", "nodes"),
    [
        (
            {
                "HOROVOD_RANK": "5",
                "HOROVOD_SIZE": "8",
                "HOROVOD_LOCAL_RANK": "1",
                "HOROVOD_LOCAL_SIZE": "4",
                "HOROVOD_CROSS_SIZE": "2",
            },
            1,
            4,
            2,
        ),
        (
            {
                "SLURM_PROCID": "5",
                "SLURM_STEP_NUM_TASKS": "6",
                "SLURM_LOCALID": "1",
                "SLURM_NODEID": "1",
                "SLURM_STEP_TASKS_PER_NODE": "4,2",
                "SLURM_STEP_NUM_NODES": "2",
                "PMI_RANK": "5",
                "PMI_SIZE": "6",
            },
            1,
            2,
            2,
        ),
        ({"PMI_RANK": "0", "PMI_SIZE": "2"}, None, None, None),
        # mpirun of MPICH inside a Slurm job: srun started one proxy a node, and those the ranks
        (
            {
                "PMI_RANK": "3",
                "PMI_SIZE": "4",
                "MPI_LOCALRANKID": "1",
                "MPI_LOCALNRANKS": "2",
                "SLURM_PROCID": "1",
                "SLURM_STEP_NUM_TASKS": "2",
                "SLURM_LOCALID": "0",
                "SLURM_NODEID": "1",
                "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
            },
            1,
            2,
            None,
        ),
    ],
)
def test_the_place_on_the_node(
    environ: dict[str, str], local_rank: int | None, local_size: int | None, nodes: int | None
) -> None:
    found = launched_as(environ)
    assert (found.local_rank, found.local_size, found.nodes) == (local_rank, local_size, nodes)


@pytest.mark.parametrize(
    ("text", "counts"),
    [("4", [4]), ("4(x2),3", [4, 4, 3]), ("", []), ("4(x2", []), ("4;id", [])],
)
def test_slurm_counts(text: str, counts: list[int]) -> None:
    assert slurm_counts(text) == counts
