"""What ranks cost beside their timed steps: the time before them, and their memory."""

from __future__ import annotations

from typing import NamedTuple

from distbench.analysis.collect import Run
from distbench.winograd_layers import tile_bytes

FUSION_BUFFER_BYTES = 128 * 2**20  # Horovod's default
COPIES = 4  # weights, gradients, reduced gradients, momenta: METHOD 3.10 with one optimizer state


class StartUp(NamedTuple):
    """The seconds of each stage before the first timed step, of the rank that took longest in it."""

    stages_s: dict[str, float]
    preflight_share: float  # of its rank's whole life, the largest


class Memory(NamedTuple):
    """Bytes of the rank that took most, and what the network asks of each.

    `kept_bytes` is what distbench holds besides: the weights to be put back after training, and the
    gradients that `allreduce` carries.
    """

    host_bytes: int
    device_bytes: int | None
    expected_bytes: int
    kept_bytes: int


def start_up(run: Run) -> StartUp | None:
    """None where no rank has told it, as in records of older versions and simulated ones."""
    found: dict[str, float] = {}
    shares = [0.0]
    for records in run.ranks:
        final = records.final or {}
        stages: dict[str, float] = dict(final.get("start_up_s", ()))
        for stage, seconds in stages.items():
            found[stage] = max(seconds, found.get(stage, 0.0))
        if final.get("life_s"):
            shares.append(stages.get("preflight", 0.0) / final["life_s"])
    return StartUp(found, max(shares)) if found else None


def memory(run: Run) -> Memory | None:
    """None where no rank has told it."""
    finals = [records.final or {} for records in run.ranks]
    of_hosts = [final["peak_memory_bytes"] for final in finals if final.get("peak_memory_bytes")]
    of_devices = [
        final["device_peak_memory_bytes"]
        for final in finals
        if final.get("device_peak_memory_bytes")
    ]
    if not of_hosts:
        return None
    copies = sum(name in run.config.phases for name in ("train_step", "allreduce"))
    return Memory(
        max(of_hosts),
        max(of_devices, default=None),
        expected_bytes(run),
        copies * run.config.network().grad_bytes,
    )


def expected_bytes(run: Run) -> int:
    """P · 4 · (weights, gradients, reduced gradients, momenta) + fusion buffer + batch · activations.

    Winograd's convolutions also keep their transformed tiles.

    A rank's process takes more: TensorFlow and MPI themselves, the `kept_bytes`, and while preflight
    compares gradients one copy more.
    """
    network = run.config.network()
    smallest = min((1, *run.config.sizes)) if run.config.scaling == "strong" else 1
    batch = run.config.batch_of(smallest)
    tiles = tile_bytes(network, batch) if run.config.convolution == "winograd" else 0
    activations = batch * network.activation_bytes + tiles
    return COPIES * network.grad_bytes + FUSION_BUFFER_BYTES + activations
