"""What the analysis reports of clusters whose true values are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pandas as pd
import pytest

from distbench.analysis.collect import load_run
from distbench.analysis.scaling import scaling_frame
from distbench.analysis.summary import job_steps
from distbench.resolving import resolve
from distbench.simulation.cluster import Cluster, SlowRank
from distbench.simulation.simulate import simulate

QUIET = {"noise": 0.0, "network_noise": 0.0}
Measure = Callable[..., tuple[pd.DataFrame, dict[str, Any]]]


@pytest.fixture
def measure(tmp_path: Path) -> Measure:
    """Simulates eight ranks on two nodes; returns the reported curve and the true values."""

    def run(parameters: dict[str, Any], **settings: Any) -> tuple[pd.DataFrame, dict[str, Any]]:
        directory = str(tmp_path / f"run-{len(list(tmp_path.iterdir()))}")
        cluster = Cluster(**{"ranks": 8, "ranks_per_node": 4, **parameters})
        overrides = {"sizes": (1, 2, 4, 8), "steps": 60, "warmup_steps": 1, **settings}
        config = resolve({**overrides, "output": directory}, on_gpu=True, world_size=8)
        _, truth = simulate(cluster, config)
        loaded = load_run(directory)
        assert (loaded.problems, loaded.incomplete) == ((), ())
        curve = scaling_frame(loaded, job_steps(loaded.steps))
        assert curve is not None
        return curve, truth

    return run


@pytest.mark.parametrize(
    ("parameters", "settings"),
    [
        ({}, {}),
        ({}, {"placement": "spread"}),
        ({}, {"sizes": (2, 4, 6, 8)}),
        ({}, {"scaling": "strong", "global_batch": 256}),
        ({"slow_rank": (SlowRank(1, 1.2), SlowRank(6, 1.05))}, {}),
        ({"inter_gb_per_s": 0.1, "latency_us": 300.0}, {"config": "A", "batch_size": 8}),
        ({"ranks_per_node": 3}, {"sizes": (1, 5, 8)}),
        ({}, {"phases": ("forward_backward", "forward_backward_allreduce")}),
    ],
)
def test_without_noise_every_reported_value_is_the_true_one(
    measure: Measure, parameters: dict[str, Any], settings: dict[str, Any]
) -> None:
    curve, truth = measure({**QUIET, **parameters}, **settings)
    rows = list(curve.itertuples())
    assert [row.size for row in rows] == [true["size"] for true in truth["without_noise"]]
    for row, true in zip(rows, truth["without_noise"]):
        assert row.phase == truth["phase"]
        assert row.nodes == true["nodes"]
        assert row.batch_per_rank == true["batch_per_rank"]
        assert row.baseline_size == true["baseline_size"]
        for name in ("step_s", "images_per_s", "speed_up", "efficiency"):
            assert getattr(row, name) == pytest.approx(true[name], rel=1e-9), name
        for name in ("exposed_s", "allreduce_s"):
            expected = float("nan") if true[name] is None else true[name]
            assert getattr(row, name) == pytest.approx(expected, abs=1e-9, nan_ok=True), name
    assert rows[-1].independent_step_s == pytest.approx(
        truth["independent_step_s"]["without_noise"]
    )


def test_the_clusters_above_do_lose_efficiency(measure: Measure) -> None:
    """So that agreement with the truth is no agreement of ones."""
    slow = (SlowRank(1, 1.2),)
    curve, _ = measure({**QUIET, "slow_rank": slow, "inter_gb_per_s": 0.5})
    one, two, four, eight = curve["efficiency"]
    assert one == 1
    # 130 ms alone; the slow rank computes for 153.6 ms, the next cycle is at 154, its optimizer
    # takes 2.4 ms, and what is left of the last allreduces is little on one node.
    assert 130 / 157 < four < two < 130 / 156.4
    assert eight < 0.6


@pytest.mark.parametrize("autocorrelation", [0.0, 0.6])
def test_with_noise_the_intervals_hold_the_true_efficiency(
    measure: Measure, autocorrelation: float
) -> None:
    """The interval of six rounds holds the truth in 95 % of runs (benchmarks/interval_coverage.py).

    Of 40 runs with that share, 33 or fewer hold it once in 300 times; with 80 % it would be seven times
    in ten.
    """
    runs = 40
    held = dict.fromkeys((2, 4, 8), 0)
    errors: dict[int, list[float]] = {size: [] for size in held}
    for seed in range(runs):
        parameters = {"noise": 0.01, "autocorrelation": autocorrelation}
        curve, truth = measure(parameters, seed=seed, phases=("train_step",))
        rows = {row.size: row for row in curve.itertuples()}
        for true in truth["with_noise"][1:]:
            row, value = rows[true["size"]], true["efficiency"]
            held[row.size] += row.efficiency_low <= value <= row.efficiency_high
            errors[row.size].append(row.efficiency - value)
    assert min(held.values()) >= 34, held
    for size, found in errors.items():
        assert abs(fmean(found)) < 4 * stdev(found) / runs**0.5, f"{size} ranks are biased"
