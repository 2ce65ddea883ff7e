"""Which contenders may be in memory together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from contenders.comparison import OURS, PEERS
from contenders.start import HELPERS
from contenders.task import Task
from distbench import vgg
from distbench.winograd_layers import tile_bytes

RUNTIME_BYTES = 0.6e9  # a rank that has loaded its framework
COPIES_OF_PARAMETERS = 6  # weights, momenta, gradients own and reduced, Horovod's buffer; one spare
COPIES_OF_ACTIVATIONS = 3  # before and after the ReLU, and their gradients
USABLE_SHARE = 0.85


def rank_bytes(name: str, task: Task) -> float:
    """A generous estimate of what one rank holds."""
    network = task.network()
    if name in HELPERS:
        return RUNTIME_BYTES + (2 * network.grad_bytes if name == "mpi" else 0)
    activations = sum(
        layer.outputs * layer.output_side**2
        for layer in network.layers
        if isinstance(layer, vgg.Convolution)
    )
    of_batch = vgg.BYTES_PER_PARAMETER * activations * task.batch_size
    tiles = tile_bytes(network, task.batch_size) if name == OURS else 0
    parameters = COPIES_OF_PARAMETERS * network.grad_bytes
    return RUNTIME_BYTES + parameters + COPIES_OF_ACTIVATIONS * of_batch + tiles


def available_bytes() -> int:
    """What the kernel would give without swapping."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def grouped(
    present: Sequence[str], task: Task, free_bytes: float, pairs: str
) -> tuple[list[list[str]], str]:
    """The contenders that are held at a time, and why so in words. `pairs` is auto, always or never.

    In pairs the small helpers go with the first rival.
    """
    ours = [name for name in present if name == OURS]
    helpers = [name for name in present if name in HELPERS]
    peers = [name for name in present if name not in (*ours, *helpers)]
    needed = task.ranks * sum(rank_bytes(name, task) for name in present)
    fits = needed <= USABLE_SHARE * free_bytes
    told = f"about {needed / 1e9:.1f} GB needed by all, {free_bytes / 1e9:.1f} GB available"
    if len(peers) < 2 or pairs == "never" or (pairs == "auto" and fits):
        return [[*ours, *peers, *helpers]], f"all contenders at a time ({told})"
    first = next((name for name in peers if name in PEERS), peers[0])
    groups = [[*ours, peer, *(helpers if peer == first else [])] for peer in peers]
    return groups, f"in pairs, distbench and one other at a time ({told})"
