from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from distbench.config import SELF_ALLREDUCE
from distbench.errors import UsageError
from distbench.groups import ALONE, INDEPENDENT, WITH_ITSELF, Group
from distbench.plan import PlannedBlock
from distbench.simulation.cluster import Cluster, Spike, ThermalStep
from distbench.simulation.cluster_model import CYCLE_NS, AllreduceCost, StepModel
from distbench.simulation.cluster_steps import (
    BETWEEN_BLOCKS_NS,
    Factors,
    GroupModel,
    Noise,
    block_at,
    moments_of,
    run_plan,
    slowdown,
)
from tests.fakes import MS, small_config

STEP = StepModel(
    forward_ns=1 * MS,
    forward_backward_ns=4 * MS,
    optimizer_ns=0.5 * MS,
    ready_ns=(2 * MS, 4 * MS),
    tensor_bytes=(1_000_000, 200_000),
)
REDUCING = GroupModel(STEP, AllreduceCost(0.0, 2.0, 0.0), copy_ns=0)
LONELY = GroupModel(STEP, None, copy_ns=300_000)


def factors(*computing: list[float]) -> Factors:
    """Factors on computing, one list per step; the network is as it is."""
    steps = len(computing)
    return Factors(np.array(computing), np.ones(steps), np.zeros(steps, np.int64))


def in_ms(model: GroupModel, phase: str, given: Factors) -> list[list[float]]:
    return (model.durations_ns(phase, given) / MS).tolist()  # type: ignore[no-any-return]


def test_ranks_compute_at_their_own_speed() -> None:
    given = factors([1.0, 1.5])
    assert in_ms(REDUCING, "forward", given) == [[1.0, 1.5]]
    assert in_ms(REDUCING, "forward_backward", given) == [[4.0, 6.0]]


def test_ranks_that_reduce_nothing_wait_for_nobody() -> None:
    given = factors([1.0, 1.5])
    assert in_ms(LONELY, "forward_backward_allreduce", given) == [[4.0, 6.0]]
    assert in_ms(LONELY, "train_step", given) == [[4.5, 6.75]]
    assert in_ms(LONELY, "allreduce", factors([1.0])) == [[0.3]]


def test_a_rank_that_reduces_with_itself_waits_for_cycles_and_copies() -> None:
    cluster = Cluster(ranks=2, noise=0.0, network_noise=0.0, memory_gb_per_s=1.0)
    config = small_config(batch_size=1)
    alone = GroupModel.of(cluster, config, Group(ALONE, (0,), ALONE))
    with_itself = GroupModel.of(cluster, config, Group(WITH_ITSELF, (0,), WITH_ITSELF))
    computed = in_ms(alone, "forward_backward", factors([1.0]))[0][0]
    handed_over = in_ms(with_itself, SELF_ALLREDUCE, factors([1.0]))[0][0]
    # the cycle after backward, and 1 byte/ns to copy at most all 3.8 MB in and out of the buffer
    assert computed <= handed_over <= computed + 1 + 2 * 3.82


def test_allreduce_carries_all_tensors_at_once() -> None:
    assert in_ms(REDUCING, "allreduce", factors([1.0, 1.5])) == [[2.4]]


def test_a_step_ends_for_all_with_its_last_allreduce() -> None:
    # 2.0 to 4.0 ms the first tensor, 4.0 to 4.4 the second
    assert in_ms(REDUCING, "forward_backward_allreduce", factors([1.0, 1.0])) == [[4.4]]
    # of the slow rank: ready at 3.0 and 6.0 ms, so that the fast one waits until 6.4
    assert in_ms(REDUCING, "forward_backward_allreduce", factors([1.0, 1.5])) == [[6.4]]


def test_the_optimizer_comes_after_the_allreduces_and_delays_the_next_step() -> None:
    # First step: all begin together; 6.4 ms and the own optimizer. Then the fast rank begins 0.25 ms
    # before the slow one and waits for it as long.
    found = in_ms(REDUCING, "train_step", factors([1.0, 1.5], [1.0, 1.5]))
    assert found == [[6.9, 7.15], [7.15, 7.15]]


def test_a_slower_network_and_a_late_cycle_lengthen_a_step() -> None:
    given = Factors(np.ones((1, 2)), np.array([1.5]), np.array([400_000]))
    # cycles at 2.6 and 4.6 ms; 2.6 + 3.0, then + 0.6
    assert in_ms(REDUCING, "forward_backward_allreduce", given) == [[6.2]]


def test_no_duration_is_zero() -> None:
    nothing = GroupModel(StepModel(0, 0, 0, (0, 0), (1, 1)), None, 0)
    assert nothing.durations_ns("forward", factors([1.0])).tolist() == [[1]]


def test_noise_has_the_stated_spread_and_correlation() -> None:
    cluster = Cluster(ranks=50, noise=0.02, autocorrelation=0.6)
    noise = Noise(cluster, (7,))
    moments = np.zeros(2000)
    series = np.log(noise.factors(range(50), moments).computing)
    assert series.std() == pytest.approx(0.02, rel=0.03)
    assert series.mean() == pytest.approx(0, abs=0.001)
    lagged = [np.corrcoef(column[:-1], column[1:])[0, 1] for column in series.T]
    assert np.mean(lagged) == pytest.approx(0.6, abs=0.02)
    between_ranks = np.corrcoef(series[:, 0], series[:, 1])[0, 1]
    assert abs(between_ranks) < 0.15


def test_correlated_noise_goes_on_in_the_next_block() -> None:
    cluster = Cluster(ranks=5000, noise=0.02, network_noise=0.02, autocorrelation=0.9)
    noise = Noise(cluster, (7,))
    first = np.log(noise.factors(range(5000), np.zeros(3)).computing)[-1]
    second = np.log(noise.factors(range(5000), np.zeros(3)).computing)[0]
    assert np.corrcoef(first, second)[0, 1] == pytest.approx(0.9, abs=0.02)


def test_the_network_has_a_noise_of_its_own_and_cycles_that_fall_anywhere() -> None:
    noise = Noise(Cluster(ranks=2, noise=0.0, network_noise=0.05), (7,))
    given = noise.factors((0, 1), np.zeros(4000))
    assert (given.computing == 1).all()
    assert np.log(given.network).std() == pytest.approx(0.05, rel=0.05)
    assert given.cycle_offset_ns.min() >= 0
    assert given.cycle_offset_ns.max() < CYCLE_NS
    assert given.cycle_offset_ns.mean() == pytest.approx(CYCLE_NS / 2, rel=0.05)


def test_without_noise_nothing_varies() -> None:
    given = Noise(Cluster(ranks=2, noise=0.0, network_noise=0.0), (7,)).factors((0, 1), np.zeros(3))
    assert given.computing.tolist() == [[1, 1]] * 3
    assert given.network.tolist() == [1, 1, 1]
    assert given.cycle_offset_ns.tolist() == [0, 0, 0]


def test_drift_and_thermal_step_slow_all_ranks() -> None:
    cluster = Cluster(drift=0.1, thermal_step=ThermalStep(0.5, 2.0))
    assert slowdown(cluster, np.array([0.0, 0.25, 0.5])).tolist() == [1.0, 1.025, 2.1]


def planned(phase: str, steps: int, ranks: tuple[int, ...] = (0, 1), **more: Any) -> PlannedBlock:
    return PlannedBlock(phase, Group("some", ranks, **more), 1, steps, warmup=False)


def test_moments_are_fractions_of_all_steps() -> None:
    plan = [planned("forward", 1), planned("allreduce", 3)]
    assert [moments.tolist() for moments in moments_of(plan)] == [[0], [0.25, 0.5, 0.75]]
    assert [block_at(plan, at) for at in (0, 0.24, 0.25, 0.6, 1)] == [
        (0, 0),
        (0, 0),
        (1, 0),
        (1, 1),
        (1, 2),
    ]


QUIET = {"noise": 0.0, "network_noise": 0.0}


def ran(plan: list[PlannedBlock], **parameters: Any) -> list[Any]:
    cluster = Cluster(**{"ranks": 2, "images_per_s": 1000.0, **QUIET, **parameters})
    return list(run_plan(cluster, small_config(batch_size=2), plan))


def test_blocks_follow_each_other_after_a_meeting() -> None:
    blocks = ran([planned("forward_backward", 3), planned("forward_backward", 1)])
    assert blocks[0].duration_ns.tolist() == [[2 * MS] * 3] * 2
    assert (blocks[0].start_ns, blocks[0].span_ns) == (BETWEEN_BLOCKS_NS, 6 * MS)
    assert blocks[1].start_ns == 2 * BETWEEN_BLOCKS_NS + 6 * MS


def test_a_block_lasts_as_long_as_its_slowest_rank() -> None:
    plan = [planned("forward_backward", 2, role=INDEPENDENT)]
    (block,) = ran(plan, spike=(Spike(1, 0.9, 10.0),))
    assert block.duration_ns.tolist() == [[2 * MS, 2 * MS], [2 * MS, 20 * MS]]
    assert block.span_ns == 22 * MS


def test_a_spike_waits_for_the_next_step_that_its_rank_computes() -> None:
    plan = [
        planned("forward_backward", 2, (1,), role=ALONE),
        planned("allreduce", 2),
        planned("forward_backward", 2, (0, 1), role=INDEPENDENT),
    ]
    blocks = ran(plan, spike=(Spike(0, 0.2, 3.0),))
    assert blocks[0].duration_ns.tolist() == [[2 * MS, 2 * MS]]
    assert blocks[2].duration_ns.tolist() == [[6 * MS, 2 * MS], [2 * MS, 2 * MS]]


def test_a_spike_after_its_ranks_last_step_is_refused() -> None:
    plan = [planned("forward", 2), planned("allreduce", 2)]
    with pytest.raises(UsageError, match=r"--spike 1:0\.9:3 comes after the last"):
        ran(plan, spike=(Spike(1, 0.9, 3.0),))
