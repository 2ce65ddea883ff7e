"""Who am I, who are the others: the ranks of one job as Horovod sees them.

Bytes travel in plain buffers: mpi4py's Gatherv and Allgatherv where Horovod runs over MPI, Horovod's
own uint8 allgather where it runs over Gloo. Under Gloo the ranks are no MPI processes; mpi4py would
start each as a world of its own, and can abort, so it is imported only after Horovod said "MPI".
"""

from __future__ import annotations

import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from distbench.errors import (
    ERROR_KINDS,
    DistbenchError,
    MissingPartError,
    RankFailedError,
    first_line,
)
from distbench.launched import ALONE, LaunchedAs, launched_as

# No exchange carries more than this at once: counts of MPI are 32-bit, and under Gloo every rank
# receives what all of them send.
EXCHANGE_LIMIT_BYTES = 64 * 1024 * 1024

T = TypeVar("T")


class World(ABC):
    """The ranks of this job and what they can tell each other."""

    rank: int
    size: int
    local_rank: int
    local_size: int
    controller: str  # "mpi" or "gloo"
    transport: str  # how bytes are gathered, in words
    exchanges_without_tensorflow: bool
    # Horovod's handles of the sets of ranks that may reduce together, by their ranks.
    process_sets: Mapping[tuple[int, ...], Any]

    @abstractmethod
    def barrier(self) -> None:
        """Returns when every rank has called it."""

    @abstractmethod
    def rendezvous(self) -> None:
        """A barrier for long waits: a rank that is early is blocked and uses no core in our own code."""

    @abstractmethod
    def _allgather_slice(self, data: bytes) -> list[bytes]:
        """What every rank gave, on every rank; at most EXCHANGE_LIMIT_BYTES in all."""

    def _gather_slice(self, data: bytes) -> list[bytes] | None:
        """What every rank gave, on rank 0; None elsewhere."""
        everything = self._allgather_slice(data)
        return everything if self.rank == 0 else None

    @abstractmethod
    def close(self) -> None:
        """Leaves the job; nothing can be exchanged afterwards."""

    def allgather_bytes(self, data: bytes) -> list[bytes]:
        """The `data` of every rank by rank, on every rank. For small messages."""
        return self._allgather_slice(data)

    def gather_bytes(self, data: bytes) -> list[bytes] | None:
        """The `data` of every rank by rank, on rank 0; None on the others. Any length."""
        slice_bytes = max(1, EXCHANGE_LIMIT_BYTES // self.size)
        lengths = [int(length) for length in self.allgather_bytes(str(len(data)).encode())]
        received: list[list[bytes]] = [[] for _ in range(self.size)]
        for offset in range(0, max(lengths), slice_bytes):
            slices = self._gather_slice(data[offset : offset + slice_bytes])
            for collected, part in zip(received, slices or []):
                collected.append(part)
        return [b"".join(parts) for parts in received] if self.rank == 0 else None

    def allgather_json(self, value: Any) -> list[Any]:
        """`allgather_bytes` of a JSON value."""
        parts = self.allgather_bytes(json.dumps(value, sort_keys=True).encode())
        return [json.loads(part) for part in parts]

    def together(self, action: Callable[[], T], holds_collectives: bool = False) -> T:
        """Runs `action` on every rank; where it fails on any, the first rank's error is raised on all.

        So no rank goes on into a collective that the others never enter. An error that is not ours
        is raised as RankFailedError; but where `action` itself `holds_collectives`, the others may
        wait for this rank inside of one and cannot be told: the error is then raised here alone.
        """
        problem: DistbenchError | None = None
        cause: Exception | None = None
        result = None
        try:
            result = action()
        except DistbenchError as error:
            problem = error
        except Exception as error:
            if holds_collectives:
                raise
            cause = error
            problem = RankFailedError(f"{type(error).__name__}: {first_line(error)}")
        told = [type(problem).__name__, problem.sentence] if problem else None
        problems = self.allgather_json(told)
        for rank, told in enumerate(problems):
            if told is not None:
                everywhere = problems.count(told) == self.size
                prefix = "" if everywhere or self.size == 1 else f"rank {rank}: "
                agreed = ERROR_KINDS[told[0]](prefix + told[1]).of_every_rank()
                raise agreed from (cause or problem)
        return result  # type: ignore[return-value]


class _HorovodWorld(World):
    def __init__(self, hvd: Any, process_sets: Mapping[tuple[int, ...], Any]) -> None:
        self._hvd = hvd
        self.process_sets = process_sets
        self.rank, self.size = hvd.rank(), hvd.size()
        self.local_rank, self.local_size = hvd.local_rank(), hvd.local_size()

    def _allreduce_nothing(self) -> None:
        """Every rank's main thread is blocked until the last one has come."""
        import tensorflow as tf

        with tf.device("/CPU:0"):
            self._hvd.allreduce(tf.zeros([1]), op=self._hvd.Sum)

    def close(self) -> None:
        self.barrier()  # a rank that leaves early takes the others' collectives with it
        self._hvd.shutdown()


class MpiWorld(_HorovodWorld):
    """Horovod over MPI: exchanges go through mpi4py, beside Horovod, on the same MPI."""

    controller = "mpi"
    transport = "mpi4py Gatherv"
    exchanges_without_tensorflow = True

    def __init__(self, hvd: Any, process_sets: Mapping[tuple[int, ...], Any]) -> None:
        super().__init__(hvd, process_sets)
        try:
            import mpi4py

            mpi4py.rc.initialize = False  # Horovod has done it,
            mpi4py.rc.finalize = False  # and will undo it
            from mpi4py import MPI
        except Exception as error:
            raise MissingPartError(
                f"Horovod runs over MPI but mpi4py does not load ({first_line(error)}), which "
                "gathers the records there; install mpi4py against the same MPI, or launch with "
                "horovodrun --gloo"
            ) from error
        self._mpi = MPI
        self._communicator = MPI.COMM_WORLD
        if self._communicator.size != self.size:
            raise MissingPartError(
                f"mpi4py sees {self._communicator.size} ranks and Horovod {self.size}; they use "
                "different MPI libraries; install both against the MPI of your mpirun"
            )

    def barrier(self) -> None:
        self._communicator.Barrier()

    def rendezvous(self) -> None:
        self._allreduce_nothing()  # MPI's own barrier polls, which would cost a core for all the wait
        self._communicator.Barrier()  # but it lets the ranks out within microseconds

    def _allgather_slice(self, data: bytes) -> list[bytes]:
        counts, buffer = self._receive_buffer(data)
        self._communicator.Allgatherv(
            [data, self._mpi.BYTE], [buffer, (counts, None), self._mpi.BYTE]
        )
        return _split(bytes(buffer), counts)

    def _gather_slice(self, data: bytes) -> list[bytes] | None:
        counts, buffer = self._receive_buffer(data)
        receive = [buffer, (counts, None), self._mpi.BYTE] if self.rank == 0 else None
        self._communicator.Gatherv([data, self._mpi.BYTE], receive, root=0)
        return _split(bytes(buffer), counts) if self.rank == 0 else None

    def _receive_buffer(self, data: bytes) -> tuple[list[int], bytearray]:
        import numpy

        counts = numpy.empty(self.size, dtype=numpy.int64)
        self._communicator.Allgather(numpy.array([len(data)], dtype=numpy.int64), counts)
        return counts.tolist(), bytearray(int(counts.sum()))


class GlooWorld(_HorovodWorld):
    """Horovod over Gloo: exchanges are Horovod's own collectives on uint8 tensors, on the CPU."""

    controller = "gloo"
    transport = "Horovod allgather (uint8)"
    exchanges_without_tensorflow = False

    def barrier(self) -> None:
        self._allreduce_nothing()

    def rendezvous(self) -> None:
        self._allreduce_nothing()

    def _allgather_slice(self, data: bytes) -> list[bytes]:
        import numpy
        import tensorflow as tf

        with tf.device("/CPU:0"):
            lengths = self._hvd.allgather(tf.constant([len(data)], tf.int64)).numpy().tolist()
            # One more byte each: an allgather of nothing at all is not to be relied on.
            buffer = numpy.frombuffer(data + b"\0", dtype=numpy.uint8)
            received = self._hvd.allgather(tf.constant(buffer)).numpy().tobytes()
        return [part[:-1] for part in _split(received, [length + 1 for length in lengths])]


def _split(received: bytes, lengths: list[int]) -> list[bytes]:
    parts, start = [], 0
    for length in lengths:
        parts.append(received[start : start + length])
        start += length
    return parts


def import_horovod() -> Any:
    """`horovod.tensorflow`; MissingPartError where it or TensorFlow is missing or does not load."""
    try:
        import tensorflow  # noqa: F401
    except Exception as error:  # a library that does not load is not always an ImportError
        raise MissingPartError(
            f"TensorFlow cannot be imported ({first_line(error)}); "
            "run launch/setup.sh, or install tensorflow 2.18.1"
        ) from error
    try:
        import horovod.tensorflow as hvd
    except Exception as error:  # a missing libmpi or libnccl is an error of TensorFlow's own
        raise MissingPartError(
            f"Horovod cannot be imported with TensorFlow ({first_line(error)}); "
            "run launch/setup.sh, or build horovod 0.28.1 with HOROVOD_WITH_TENSORFLOW=1"
        ) from error
    return hvd


def open_world(hvd: Any, launched: LaunchedAs, sets: Sequence[tuple[int, ...]] = ()) -> World:
    """Initialises Horovod and returns its world; blocks until every rank has come.

    `sets` are the sets of ranks, none of them the whole world, that shall be able to reduce together.
    Horovod must know them from the start; each costs a round of coordination in every cycle.
    Raises MissingPartError where Horovod sees another number of ranks than the launcher started, or
    holds other sets than it was given.
    """
    if launched == ALONE:
        # Open MPI's wheel cannot start a lone process in any other way.
        os.environ.setdefault("OMPI_MCA_ess_singleton_isolated", "1")
    process_sets = {ranks: hvd.ProcessSet(list(ranks)) for ranks in sets}
    try:
        hvd.init(process_sets=list(process_sets.values()))
    except Exception as error:
        raise MissingPartError(
            f"Horovod cannot start ({first_line(error)}); see that every rank was started by the "
            "same launcher, that the hosts reach each other, and that Horovod was built with the "
            "MPI of this launcher"
        ) from error
    check_size(launched, hvd.size())
    _check_sets(process_sets)
    process_sets[tuple(range(hvd.size()))] = hvd.global_process_set
    kind = MpiWorld if hvd.mpi_enabled() else GlooWorld
    return kind(hvd, process_sets)


def _check_sets(process_sets: Mapping[tuple[int, ...], Any]) -> None:
    for ranks, process_set in process_sets.items():
        if process_set.size() != len(ranks) or tuple(process_set.ranks) != ranks:
            raise MissingPartError(
                f"Horovod holds {process_set.size()} ranks in a process set that was made of "
                f"{len(ranks)}; its process sets do not work with this build, so that only a run "
                "without --sizes is possible"
            )


def check_size(launched: LaunchedAs, horovod_size: int) -> None:
    """Raises MissingPartError unless Horovod sees all the ranks that the launcher started."""
    if launched.size != horovod_size:
        raise MissingPartError(
            f"{launched.launcher} started {launched.size} ranks, but Horovod sees {horovod_size}; "
            "Horovod was built without support for this launcher's MPI: rebuild it with "
            "HOROVOD_WITH_MPI=1 against that MPI, or launch with horovodrun --gloo"
        ).of_every_rank()


def leave_alone(exit_code: int) -> NoReturn:
    """Ends this rank without the farewell of MPI and Horovod, which would wait for the other ranks.

    horovodrun and mpirun then end the others. srun does so only if told to, so that under it MPI is
    asked to.
    """
    mpi = sys.modules.get("mpi4py.MPI")
    if mpi is not None and launched_as(os.environ).launcher == "srun":
        mpi.COMM_WORLD.Abort(exit_code)
    os._exit(exit_code)
