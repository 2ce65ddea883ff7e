from __future__ import annotations

import numpy as np
import pytest

from distbench.simulation.cluster import Cluster
from distbench.simulation.cluster_model import (
    AllreduceCost,
    allreduce_cost,
    backward_shares,
    last_end_ns,
    step_model,
)
from distbench.vgg import Convolution, FullyConnected, Vgg, build

TWO_LAYERS = Vgg(
    "by hand",
    2,
    10,
    (
        Convolution("conv", 3, 3, 4, 2),  # 3·3·3·4 · 2·2 = 432 MACs
        FullyConnected("fc", 16, 10, relu=False, dropout=False),  # 160 MACs
    ),
)


def cost_of(ranks: int, ranks_per_node: int, members: list[int] | None = None) -> AllreduceCost:
    cluster = Cluster(
        ranks=ranks,
        ranks_per_node=ranks_per_node,
        intra_gb_per_s=100.0,
        inter_gb_per_s=10.0,
        latency_us=10.0,
        memory_gb_per_s=500.0,
    )
    return allreduce_cost(cluster, members or range(ranks))


def test_one_rank_reduces_nothing() -> None:
    cost = cost_of(1, 8)
    assert (cost.latency_ns, cost.ns_per_byte) == (0, 0)


def test_a_ring_in_one_node() -> None:
    cost = cost_of(4, 8)
    assert cost.latency_ns == 60_000  # 2·3 messages of 10 µs
    assert cost.ns_per_byte == pytest.approx(0.015)  # 2·3/4 ÷ 100 bytes/ns
    assert cost.copy_ns_per_byte == pytest.approx(0.004)  # in and out at 500 bytes/ns


def test_two_levels_where_a_group_spans_nodes() -> None:
    cost = cost_of(8, 4)
    assert cost.latency_ns == 80_000  # 2·3 messages inside, 2·1 between
    assert cost.ns_per_byte == pytest.approx(0.015 + 0.025)  # 2·1/2 of a quarter ÷ 10 bytes/ns


def test_one_rank_on_each_node_is_a_ring_between_nodes() -> None:
    cost = cost_of(8, 4, [0, 4])
    assert cost.latency_ns == 20_000
    assert cost.ns_per_byte == pytest.approx(0.1)  # 2·1/2 ÷ 10 bytes/ns


def test_unequal_nodes_are_as_slow_as_the_fullest_and_the_emptiest() -> None:
    cost = cost_of(6, 4)
    assert cost.latency_ns == 80_000
    assert cost.ns_per_byte == pytest.approx(0.015 + 0.05)  # halves, not quarters, between nodes


def test_backward_shares_by_flops() -> None:
    # fc 2·2·160 = 640; conv 2·432 = 864, since the image needs no gradient
    assert backward_shares(TWO_LAYERS) == pytest.approx([640 / 1504, 864 / 1504])


def test_backward_shares_are_those_of_the_network_table() -> None:
    network = build("D")
    backward = network.forward_backward_flops - network.forward_flops
    first = 2 * network.weight_layers[0].macs / backward
    assert backward_shares(network)[-1] == pytest.approx(first)
    assert sum(backward_shares(network)) == pytest.approx(1)


def test_a_step_of_one_rank() -> None:
    cluster = Cluster(images_per_s=1000.0, forward_share=0.25, optimizer_ms=0.5)
    model = step_model(cluster, TWO_LAYERS, batch_size=4)
    assert model.forward_ns == 1e6
    assert model.forward_backward_ns == 4e6
    assert model.optimizer_ns == 5e5
    of_fc = 1e6 + 3e6 * 640 / 1504
    assert model.ready_ns == pytest.approx((of_fc, of_fc, 4e6, 4e6))
    assert model.tensor_bytes == (40, 640, 16, 432)  # biases and kernels, the last layer first


COST = AllreduceCost(latency_ns=100_000, ns_per_byte=1.0, copy_ns_per_byte=0.5)
THREE = (400_000, 200_000, 1_000_000)


@pytest.mark.parametrize(
    ("fusion_bytes", "end_ms"),
    [
        (1, 2.9),  # alone: from 1.0 ms on 0.5, 0.3 and 1.1 ms
        (1_300_000, 3.1),  # 600 000 bytes: 0.1 + 0.6 + 0.3 of copies; then 1.1
        (2_000_000, 3.5),  # all: 0.1 + 1.6 + 0.8
    ],
)
def test_three_tensors_of_one_cycle(fusion_bytes: int, end_ms: float) -> None:
    ready = np.array([[200_000, 900_000, 950_000]])
    end = last_end_ns(ready, THREE, COST, fusion_bytes=fusion_bytes, cycle_ns=1_000_000)
    assert end.tolist() == [end_ms * 1e6]


def test_a_later_cycle_waits_for_the_allreduce_before() -> None:
    # 200 000 and 900 000 ns travel together from 1.0 to 2.0 ms; the third is taken at 2.0, or at 3.0.
    ready = np.array([[200_000, 900_000, 1_500_000], [200_000, 900_000, 2_100_000]])
    end = last_end_ns(ready, THREE, COST, fusion_bytes=10**9, cycle_ns=1_000_000)
    assert end.tolist() == [3_100_000, 4_100_000]
    slowed = last_end_ns(
        ready, THREE, COST, np.array([2.0, 1.0]), fusion_bytes=10**9, cycle_ns=1_000_000
    )
    assert slowed.tolist() == [5_200_000, 4_100_000]  # 1.0 + 2.0 + 2.2


def test_a_tensor_that_is_ready_with_the_cycle_is_taken_in_it() -> None:
    ready = np.array([[1_000_000], [1_000_001]])
    end = last_end_ns(ready, (100_000,), COST, cycle_ns=1_000_000)
    assert end.tolist() == [1_200_000, 2_200_000]


def test_cycles_may_have_begun_before_the_step() -> None:
    ready = np.array([[0], [0], [700_000]])
    offsets = np.array([0, 400_000, 400_000])
    end = last_end_ns(ready, (100_000,), COST, cycle_offset_ns=offsets, cycle_ns=1_000_000)
    assert end.tolist() == [200_000, 800_000, 1_800_000]


def test_a_tensor_beyond_the_fusion_size_goes_alone_and_is_not_copied() -> None:
    ready = np.zeros((1, 2), np.int64)
    end = last_end_ns(ready, (5_000_000, 100), COST, fusion_bytes=1000)
    assert end.tolist() == [100_000 + 5_000_000 + 100_000 + 100]
