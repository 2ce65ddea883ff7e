"""One rank that the doctor starts: it joins the others, reduces known values, and tells what it saw.

    python -m distbench.doctor.probe_rank FOLDER

Its facts stand in a file of its own in FOLDER, which is written anew at every stage, so that a rank that
hangs has told where.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from distbench.durable_files import json_document, write_atomically
from distbench.launched import launched_as

SIZES_BYTES = (4, 1 << 20, 64 << 20)
REPEATS = 5
PATTERN_LENGTH = 251  # a prime, so that no chunk of a ring begins as its neighbour does
LOADING = "loading TensorFlow and Horovod"
_FLOAT_BYTES = 4


class Told:
    """The facts of this rank, in its file."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"rank-{os.getpid()}.json"
        self._facts: dict[str, Any] = {}

    def add(self, stage: str, **facts: Any) -> None:
        """Adds facts; `stage` is what the rank does next."""
        self._facts.update(facts, stage=stage)
        write_atomically(self._path, json_document(self._facts))


def main() -> None:
    """One probe, top to bottom."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    told = Told(Path(sys.argv[1]))
    launched = launched_as(os.environ)
    told.add(LOADING, rank=launched.rank)
    import tensorflow as tf

    from distbench.worker.world import import_horovod

    hvd = import_horovod()
    told.add("hvd.init")
    hvd.init()
    told.add("claiming a device", rank=hvd.rank(), size=hvd.size(), over_mpi=hvd.mpi_enabled())
    device = claim(tf, hvd.local_rank(), hvd.local_size())
    if hvd.mpi_enabled():
        told.add("loading mpi4py", device=device)
        told.add("loaded mpi4py", mpi4py_size=mpi4py_size())
    reduced: list[dict[str, Any]] = []
    with tf.device(device):
        for size_bytes in SIZES_BYTES:
            told.add(f"allreduce of {size_bytes} B", device=device, reduced=reduced)
            reduced.append(reduce(tf, hvd, size_bytes))
    told.add("done", reduced=reduced)
    hvd.shutdown()


def claim(tf: Any, local_rank: int, local_size: int) -> str:
    """The device that this rank reduces on: a GPU of its own where there are enough, else the CPU."""
    gpus = tf.config.list_physical_devices("GPU")
    if not 0 < local_size <= len(gpus):
        tf.config.set_visible_devices([], "GPU")
        return "/CPU:0"
    tf.config.set_visible_devices(gpus[local_rank], "GPU")
    tf.config.experimental.set_memory_growth(gpus[local_rank], True)
    return "/GPU:0"


def mpi4py_size() -> int:
    """How many ranks mpi4py sees in the job that Horovod has started MPI in."""
    import mpi4py

    mpi4py.rc.initialize = False
    mpi4py.rc.finalize = False
    from mpi4py import MPI

    return int(MPI.COMM_WORLD.size)


def reduce(tf: Any, hvd: Any, size_bytes: int) -> dict[str, Any]:
    """Sums known values over the ranks some times: how wrong it is at most, and every duration."""
    count = max(1, size_bytes // _FLOAT_BYTES)
    pattern = tf.cast(tf.range(count) % PATTERN_LENGTH, tf.float32)
    own = pattern + float(hvd.rank())
    # small whole numbers: their sum is exact in float32 in any order
    wanted = pattern * hvd.size() + hvd.size() * (hvd.size() - 1) / 2
    name, taken_s = f"doctor_{size_bytes}", []
    total = hvd.allreduce(own, op=hvd.Sum, name=name)  # connections are made, names negotiated
    for _ in range(REPEATS):
        tf.test.experimental.sync_devices()
        started_ns = time.perf_counter_ns()
        total = hvd.allreduce(own, op=hvd.Sum, name=name)
        tf.test.experimental.sync_devices()
        taken_s.append((time.perf_counter_ns() - started_ns) / 1e9)
    error = float(tf.reduce_max(tf.abs(total - wanted)))
    return {"bytes": count * _FLOAT_BYTES, "taken_s": taken_s, "is_right": error == 0.0}


if __name__ == "__main__":
    main()
