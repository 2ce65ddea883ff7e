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

    `kept_bytes` is what distbench holds besides: the weights to be put back after training.
    """

    host_bytes: int
    before_network_bytes: int | None  # of them, by TensorFlow and Horovod alone; the most of a rank
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

    def most(name: str) -> int | None:
        return max((final[name] for final in finals if final.get(name)), default=None)

    of_host = most("peak_memory_bytes")
    if of_host is None:
        return None
    return Memory(
        of_host,
        most("memory_before_network_bytes"),
        most("device_peak_memory_bytes"),
        expected_bytes(run),
        run.config.network().grad_bytes if "train_step" in run.config.phases else 0,
    )


def expected_bytes(run: Run) -> int:
    """P · 4 · (weights, gradients, reduced gradients, momenta) + fusion buffer + batch · activations.

    Winograd's convolutions also keep their transformed tiles.

    A rank's process takes more: TensorFlow and Horovod themselves, the `kept_bytes`, and what MPI holds
    while it sums: as much as the largest tensor.
    """
    network = run.config.network()
    smallest = min((1, *run.config.sizes)) if run.config.scaling == "strong" else 1
    batch = run.config.batch_of(smallest)
    tiles = tile_bytes(network, batch) if run.config.convolution == "winograd" else 0
    activations = batch * network.activation_bytes + tiles
    return COPIES * network.grad_bytes + FUSION_BUFFER_BYTES + activations
