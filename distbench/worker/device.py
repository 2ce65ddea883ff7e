"""One device for each rank: a GPU of its own, or its share of the cores that the node allows."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distbench.cpu_quota import core_quota
from distbench.errors import MissingPartError
from distbench.process_stat import read_stat
from distbench.worker.world import World


@dataclass(frozen=True)
class Device:
    """What this rank computes on."""

    kind: str  # "GPU" or "CPU"
    name: str
    nvml_name: str  # NVML's index or UUID of the GPU; empty for a CPU
    threads: int  # intra-op threads of TensorFlow
    threads_reason: str


@dataclass(frozen=True)
class Threads:
    """How many CPU threads a rank uses, and why."""

    count: int
    reason: str


def share_cores(
    requested: int,
    own_cores: Collection[int],
    neighbours_cores: Sequence[Collection[int]],
    granted_cores: float | None = None,
) -> Threads:
    """The CPU threads of one rank.

    `neighbours_cores` are the allowed cores of every rank of the node, this one's included; ranks
    that share none with the others have been bound by the launcher and use all of theirs.
    `granted_cores` is the node's limit by cgroup, for all its ranks together.
    """
    if requested:
        return Threads(requested, "as given by --threads-per-rank")
    sharers = sum(not set(own_cores).isdisjoint(cores) for cores in neighbours_cores)
    if sharers <= 1 < len(neighbours_cores):
        return Threads(len(own_cores), f"the launcher bound this rank to {len(own_cores)} core(s)")
    allowed = len(own_cores)
    if granted_cores is not None:
        allowed = min(allowed, int(granted_cores))
    count = max(1, allowed // max(1, sharers))
    return Threads(count, f"{allowed} allowed core(s) shared by {max(1, sharers)} rank(s)")


def cores_of_node(world: World, host: str) -> list[set[int]]:
    """The allowed cores of every rank on this host, by rank.

    Over MPI the ranks tell each other. Over Gloo an exchange would start TensorFlow before its
    threads are set: there a rank counts as bound if its cores are fewer than its launcher's.
    """
    own = os.sched_getaffinity(0)
    if world.exchanges_without_tensorflow:
        told = world.allgather_json({"host": host, "cores": sorted(own)})
        return [set(item["cores"]) for item in told if item["host"] == host]
    if own < _launcher_cores():
        return [own] + [set() for _ in range(world.local_size - 1)]
    return [own] * world.local_size


def _launcher_cores() -> set[int]:
    """The allowed cores of the nearest ancestor that is no part of the rank itself."""
    pid = os.getppid()
    while pid > 1 and _environment_names(pid, b"HOROVOD_RANK="):
        pid = _parent(pid)
    try:
        return set(os.sched_getaffinity(pid))
    except OSError:
        return set()


def _environment_names(pid: int, prefix: bytes) -> bool:
    try:
        entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(entry.startswith(prefix) for entry in entries)


def _parent(pid: int) -> int:
    try:
        return read_stat(Path(f"/proc/{pid}")).parent
    except (OSError, ValueError, IndexError):
        return 1


def gpu_index(local_rank: int, visible: int) -> int:
    """Which of the visible GPUs is this rank's.

    Where Slurm shows each task a single GPU, that one. Raises MissingPartError where the node shows
    several GPUs, but fewer than it has ranks.
    """
    if visible == 1:
        return 0
    if local_rank >= visible:
        raise MissingPartError(
            f"local rank {local_rank} has no GPU: the node shows {visible} GPUs to more ranks; "
            f"start at most {visible} ranks on a node"
        )
    return local_rank


def check_one_gpu_each(holders: Sequence[Sequence[str]]) -> None:
    """Raises MissingPartError if two ranks hold one GPU; `holders` is (host, UUID or '') by rank."""
    for rank, holder in enumerate(holders):
        first = holders.index(holder)
        if holder[1] and first < rank:
            raise MissingPartError(
                f"ranks {first} and {rank} on {holder[0]} share one GPU ({holder[1]}); "
                "start no more ranks on a node than it has GPUs"
            )


def claim_device(
    world: World, host: str, cpu_name: str, threads_per_rank: int, inter_op_threads: int = 0
) -> Device:
    """Pins this rank to its device, before TensorFlow's first op. To be called on every rank."""
    import tensorflow as tf

    cores = cores_of_node(world, host)
    threads = share_cores(threads_per_rank, os.sched_getaffinity(0), cores, core_quota())
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        _set_threads(tf, threads.count, inter_op_threads or threads.count)
        return Device("CPU", cpu_name, "", threads.count, threads.reason)
    index = gpu_index(world.local_rank, len(gpus))
    tf.config.set_visible_devices(gpus[index], "GPU")
    tf.config.experimental.set_memory_growth(gpus[index], True)
    if threads_per_rank or inter_op_threads:
        _set_threads(tf, threads_per_rank, inter_op_threads or threads_per_rank)
    details = tf.config.experimental.get_device_details(gpus[index])
    capability = ".".join(map(str, details.get("compute_capability", ())))
    name = f"{details.get('device_name', 'GPU')} (compute capability {capability or 'unknown'})"
    count = threads_per_rank or 0
    reason = threads.reason if threads_per_rank else "TensorFlow's own choice"
    return Device("GPU", name, visible_gpu(index, os.environ), count, reason)


def _set_threads(tf: Any, intra_op: int, inter_op: int) -> None:
    tf.config.threading.set_intra_op_parallelism_threads(intra_op)
    tf.config.threading.set_inter_op_parallelism_threads(inter_op)


def set_tf32(wanted: str) -> None:
    """Allows or forbids TF32 in float32 products; 'default' leaves TensorFlow as it is."""
    import tensorflow as tf

    if wanted != "default":
        tf.config.experimental.enable_tensor_float_32_execution(wanted == "on")


def compute_capability(device: Device) -> tuple[int, int] | None:
    """Of a GPU by the name that `claim_device` gave it; None where it is not known."""
    found = re.search(r"\(compute capability (\d+)\.(\d+)\)", device.name)
    return (int(found[1]), int(found[2])) if found else None


def visible_gpu(index: int, environ: Any) -> str:
    """How NVML knows the visible GPU `index`: an NVML index, or a UUID where the variable holds those.

    CUDA_DEVICE_ORDER=PCI_BUS_ID, which distbench sets, makes CUDA count as NVML does.
    """
    listed = [part.strip() for part in environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    return listed[index] if index < len(listed) and listed[index] else str(index)
