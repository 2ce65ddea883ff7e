from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import pytest

from distbench.config import Config
from distbench.groups import plan_groups
from distbench.simulation.cluster import Cluster, SlowRank, Spike, ThermalStep
from distbench.simulation.cluster_truth import true_values
from tests.fakes import small_config

QUIET = {"noise": 0.0, "network_noise": 0.0}
GRAD_BYTES = 4 * 955_098  # of the small network, METHOD section 4


def truth_of(config: Config, **parameters: Any) -> dict[str, Any]:
    cluster = Cluster(**parameters)
    return true_values(cluster, config, plan_groups(config, cluster.nodes))


def test_two_ranks_worked_by_hand() -> None:
    # A step computes for 0.9 ms, so that all tensors travel together in the cycle at 1 ms: two
    # messages of 100 ms, the ring's 1/100 ns a byte, 2/1000 ns a byte of copies.
    truth = truth_of(
        small_config(sizes=(1, 2), batch_size=9),
        ranks=2,
        images_per_s=10_000.0,
        latency_us=1e5,
        intra_gb_per_s=100.0,
        memory_gb_per_s=1000.0,
        optimizer_ms=2.0,
        **QUIET,
    )
    reduced_ns = 200_000_000 + round(GRAD_BYTES * (0.01 + 0.002))
    one, two = truth["without_noise"]
    assert truth["phase"] == "train_step"
    assert one == {
        "size": 1,
        "nodes": 1,
        "batch_per_rank": 9,
        "step_s": 0.0029,
        "images_per_s": pytest.approx(9 / 0.0029),
        "allreduce_s": None,
        "exposed_s": None,
        "baseline_size": 1,
        "speed_up": 1.0,
        "efficiency": 1.0,
    }
    assert two["step_s"] == pytest.approx((3_000_000 + reduced_ns) / 1e9, abs=1e-12)
    assert two["allreduce_s"] == pytest.approx(reduced_ns / 1e9, abs=1e-12)
    assert two["exposed_s"] == pytest.approx((100_000 + reduced_ns) / 1e9, abs=1e-12)
    assert two["efficiency"] == pytest.approx(2_900_000 / (3_000_000 + reduced_ns))
    assert two["speed_up"] == pytest.approx(2 * two["efficiency"])
    assert truth["independent_step_s"]["without_noise"] == 0.0029
    assert truth["with_noise"] == truth["without_noise"]


def test_strong_scaling_divides_the_batch() -> None:
    config = small_config(sizes=(1, 2), batch_size=4, scaling="strong", global_batch=8)
    fast = {"latency_us": 0.0, "intra_gb_per_s": 1e6, "memory_gb_per_s": 1e6}
    truth = truth_of(config, ranks=2, images_per_s=1000.0, optimizer_ms=1.0, **fast, **QUIET)
    one, two = truth["without_noise"]
    assert (one["batch_per_rank"], two["batch_per_rank"]) == (8, 4)
    assert one["step_s"] == 0.009
    assert two["step_s"] == pytest.approx(0.005, abs=1e-7)
    assert two["efficiency"] == pytest.approx(9 / 10, rel=1e-4)


def test_the_baseline_is_the_median_of_the_ranks_alone_and_a_group_its_slowest() -> None:
    fast = {"latency_us": 0.0, "intra_gb_per_s": 1e6, "optimizer_ms": 0.0}
    truth = truth_of(
        small_config(sizes=(1, 3), batch_size=10),
        ranks=3,
        images_per_s=1000.0,
        slow_rank=(SlowRank(1, 2.0),),
        **fast,
        **QUIET,
    )
    one, three = truth["without_noise"]
    assert one["step_s"] == 0.010
    assert three["step_s"] == pytest.approx(0.020, abs=1e-5)


def test_the_slowest_of_four_noisy_ranks() -> None:
    truth = truth_of(
        small_config(sizes=(1, 4), batch_size=10),
        ranks=4,
        images_per_s=1000.0,
        optimizer_ms=0.0,
        noise=0.02,
        network_noise=0.0,
    )
    # The median of the largest of four: each is below it with probability 2^(-1/4).
    z = NormalDist().inv_cdf(0.5**0.25)
    found = truth["independent_step_s"]
    assert found["without_noise"] == 0.010
    assert found["with_noise"] == pytest.approx(0.010 * math.exp(0.02 * z), rel=3e-4)
    assert truth["with_noise"][0]["step_s"] == pytest.approx(0.010, rel=3e-4)


def test_drift_and_thermal_step_count_as_noise_and_spikes_do_not() -> None:
    config = small_config(sizes=(1, 2), batch_size=10)
    drifting = truth_of(config, ranks=2, images_per_s=1000.0, optimizer_ms=0.0, drift=0.2, **QUIET)
    assert drifting["without_noise"][0]["step_s"] == 0.010
    # one step of seven is warm-up, so that the middle of the timed part is at 4/7 of the run
    assert drifting["with_noise"][0]["step_s"] == pytest.approx(0.010 * (1 + 0.2 * 4 / 7), rel=1e-4)
    hot = truth_of(
        config,
        ranks=2,
        images_per_s=1000.0,
        optimizer_ms=0.0,
        thermal_step=ThermalStep(0.25, 1.5),
        spike=(Spike(0, 0.5, 100.0),),
        **QUIET,
    )
    assert hot["with_noise"][0]["step_s"] == pytest.approx(0.015)


def test_what_is_compared_is_compared_within_slices_of_the_run() -> None:
    config = small_config(sizes=(1, 2), batch_size=10, warmup_steps=14, steps=86)

    def two_ranks(images_per_s: float, thermal_step: ThermalStep | None = None) -> dict[str, Any]:
        fast = {"optimizer_ms": 0.0, "intra_gb_per_s": 0.1, **QUIET}
        truth = truth_of(
            config, ranks=2, images_per_s=images_per_s, thermal_step=thermal_step, **fast
        )
        one, two = truth["with_noise"]
        return {"alone_s": one["step_s"], **two}

    cold, hot = two_ranks(1000.0), two_ranks(500.0)
    names = ("alone_s", "step_s", "efficiency", "exposed_s")
    assert all(abs(hot[name] / cold[name] - 1) > 0.01 for name in names)
    # Hot for 40/86 of the timed part: most slices are cold.
    less_than_half = two_ranks(1000.0, ThermalStep(0.6, 2.0))
    assert [less_than_half[name] for name in names] == [cold[name] for name in names]
    # Hot for exactly half of it: the median of slices lies in the middle, for ratios too.
    half = two_ranks(1000.0, ThermalStep(0.57, 2.0))
    middle = [(cold[name] + hot[name]) / 2 for name in names]
    assert [half[name] for name in names] == pytest.approx(middle, rel=1e-9)
    assert half["efficiency"] != pytest.approx(half["alone_s"] / half["step_s"], rel=1e-3)


def test_one_size_alone_has_no_efficiency() -> None:
    truth = truth_of(small_config(), ranks=2, **QUIET)
    (row,) = truth["without_noise"]
    assert (row["size"], row["baseline_size"], row["efficiency"]) == (2, None, None)


def test_without_a_training_phase_there_is_no_point() -> None:
    truth = truth_of(small_config(phases=("forward", "allreduce")), ranks=2)
    assert (truth["phase"], truth["without_noise"], truth["with_noise"]) == (None, [], [])
