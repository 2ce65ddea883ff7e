"""One bare MPI_Allreduce of as many bytes as the network's gradients have, and a copy of them."""

from __future__ import annotations

from typing import Any

import numpy
from mpi4py import MPI

from contenders.proof import NotProvenError
from contenders.task import Contender, Task

IN_PLACE, OUT_OF_PLACE, COPY = "allreduce_in_place", "allreduce_out_of_place", "memory_copy"


def build(task: Task) -> Contender:
    """Sums float32, as Horovod does before it divides."""
    world = MPI.COMM_WORLD
    if world.size != task.ranks:
        raise NotProvenError(f"mpi4py sees {world.size} ranks, not {task.ranks}")
    count = task.network().parameter_count
    own = numpy.full(count, world.rank + 1, dtype=numpy.float32)
    summed = numpy.zeros(count, dtype=numpy.float32)
    _prove(world, own, summed)

    def before_block(phase: str) -> None:
        # Summed in place again and again the numbers grow, so that each block begins anew.
        (summed if phase == IN_PLACE else own).fill(world.rank + 1)
        world.Barrier()

    return Contender(
        rank=world.rank,
        phases={
            IN_PLACE: lambda: _in_place(world, summed),
            OUT_OF_PLACE: lambda: world.Allreduce(own, summed, op=MPI.SUM),
            COPY: lambda: numpy.copyto(summed, own),
        },
        before_block=before_block,
        facts={"library": MPI.Get_library_version().split(",")[0], "bytes": own.nbytes},
    )


def _in_place(world: MPI.Comm, values: numpy.ndarray[Any, Any]) -> None:
    world.Allreduce(MPI.IN_PLACE, values, op=MPI.SUM)


def _prove(world: MPI.Comm, own: numpy.ndarray[Any, Any], summed: numpy.ndarray[Any, Any]) -> None:
    wanted = world.size * (world.size + 1) / 2
    world.Allreduce(own, summed, op=MPI.SUM)
    if not (summed == wanted).all():
        raise NotProvenError(f"MPI_Allreduce did not give {wanted:g} everywhere")
    numpy.copyto(summed, own)
    _in_place(world, summed)
    if not (summed == wanted).all():
        raise NotProvenError(f"MPI_Allreduce in place did not give {wanted:g} everywhere")
