"""What a step costs on a stated cluster, as METHOD 3.2, 3.7 and 3.8 say. Pure functions.

Times are in nanoseconds, so that 1 GB/s is 1 byte/ns. A ring of p ranks moves S bytes in
2(p-1) · latency + 2(p-1)/p · S/B. Where a group spans nodes, each node's g ranks reduce among
themselves, and each then reduces its share of S/g bytes with its like on the n nodes:

    2(g-1) · latency + 2(g-1)/g · S/B_intra  +  2(n-1) · latency + 2(n-1)/n · (S/g)/B_inter

Where the nodes of a group hold different numbers of ranks, the fullest one counts inside the nodes
and the emptiest one between them, since its ranks carry the largest shares.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distbench.simulation.cluster import Cluster
from distbench.vgg import BYTES_PER_PARAMETER, Vgg

# Horovod's defaults: tensors that are ready in the same cycle travel together up to this size.
FUSION_BYTES = 128 * 1024 * 1024
CYCLE_NS = 1_000_000


@dataclass(frozen=True)
class AllreduceCost:
    """The time of one allreduce of S bytes: `latency_ns` + S · `ns_per_byte`.

    Tensors that travel together are copied into one buffer and out again, at `copy_ns_per_byte` of
    S for both ways.
    """

    latency_ns: float
    ns_per_byte: float
    copy_ns_per_byte: float


def allreduce_cost(cluster: Cluster, ranks: Sequence[int]) -> AllreduceCost:
    """What an allreduce over `ranks` costs; of one rank nothing."""
    on_nodes = Counter(cluster.node_of(rank) for rank in ranks)
    nodes, most, least = len(on_nodes), max(on_nodes.values()), min(on_nodes.values())
    messages = 2 * (most - 1) + 2 * (nodes - 1)
    inside = 2 * (most - 1) / most / cluster.intra_gb_per_s
    between = 2 * (nodes - 1) / nodes / least / cluster.inter_gb_per_s
    return AllreduceCost(
        latency_ns=messages * cluster.latency_us * 1e3,
        ns_per_byte=inside + between,
        copy_ns_per_byte=2 / cluster.memory_gb_per_s,
    )


@dataclass(frozen=True)
class StepModel:
    """What one rank does in a step of its own speed 1.

    `ready_ns` says when backward has made each gradient, from the start of the step, in the order
    in which it makes them: the last layer's first. `tensor_bytes` are their sizes in that order.
    """

    forward_ns: float
    forward_backward_ns: float
    optimizer_ns: float
    ready_ns: tuple[float, ...]
    tensor_bytes: tuple[int, ...]


def step_model(cluster: Cluster, network: Vgg, batch_size: int) -> StepModel:
    """The step of one rank with `batch_size` images."""
    total_ns = batch_size / cluster.images_per_s * 1e9
    forward_ns = cluster.forward_share * total_ns
    shares = itertools.accumulate(backward_shares(network))
    backward_ns = total_ns - forward_ns
    ready_ns = [forward_ns + share * backward_ns for share in shares]
    sizes = [BYTES_PER_PARAMETER * math.prod(shape) for shape in network.parameter_shapes]
    return StepModel(
        forward_ns=forward_ns,
        forward_backward_ns=total_ns,
        optimizer_ns=cluster.optimizer_ms * 1e6,
        ready_ns=tuple(time for time in ready_ns for _ in ("bias", "kernel")),
        tensor_bytes=tuple(reversed(sizes)),
    )


def backward_shares(network: Vgg) -> list[float]:
    """Each weight layer's share of backward's FLOPs, the last layer first.

    A layer makes the gradients of its parameters and of its input; the first one's input needs none.
    """
    layers = network.weight_layers
    flops = [4 * layer.macs for layer in layers]
    flops[0] = 2 * layers[0].macs
    return [one / sum(flops) for one in reversed(flops)]


def last_end_ns(
    ready_ns: Any,
    tensor_bytes: Sequence[int],
    cost: AllreduceCost,
    slowdown: Any = 1.0,
    cycle_offset_ns: Any = 0,
    fusion_bytes: int = FUSION_BYTES,
    cycle_ns: int = CYCLE_NS,
) -> Any:
    """When the last gradient of each step is reduced: int64 by step, METHOD 3.8.

    `ready_ns` is an int64 array of steps × tensors that does not fall along a step. Each cycle takes
    the tensors that have become ready since the one before. Those of one cycle are fused in their
    order as long as they fit into `fusion_bytes`; a larger tensor goes alone. One allreduce runs at a
    time. By step, `slowdown` is a factor on their time, and `cycle_offset_ns` what has passed of a
    cycle when the step begins.
    """
    import numpy as np

    offset_ns = np.broadcast_to(cycle_offset_ns, len(ready_ns))[:, np.newaxis]
    cycles = -(-(ready_ns + offset_ns) // cycle_ns) * cycle_ns - offset_ns

    def after(end_ns: Any, began_ns: Any, held: Any, count: Any) -> Any:
        """The end of the allreduce of what is held, after the one that ends at `end_ns`."""
        copies = np.where(count > 1, held * cost.copy_ns_per_byte, 0.0)
        time_ns = (cost.latency_ns + held * cost.ns_per_byte + copies) * slowdown
        return np.maximum(began_ns, end_ns) + np.rint(time_ns).astype(np.int64)

    steps = len(cycles)
    end_ns = np.zeros(steps, np.int64)
    held, count = np.full(steps, tensor_bytes[0]), np.ones(steps, np.int64)
    for index, size in enumerate(tensor_bytes[1:], start=1):
        joins = (cycles[:, index] == cycles[:, index - 1]) & (held + size <= fusion_bytes)
        end_ns = np.where(joins, end_ns, after(end_ns, cycles[:, index - 1], held, count))
        held = np.where(joins, held, 0) + size
        count = np.where(joins, count, 0) + 1
    return after(end_ns, cycles[:, -1], held, count)
