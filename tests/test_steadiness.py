from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distbench.analysis.collect import load_run
from distbench.analysis.steadiness import Steadiness, steadiness
from distbench.analysis.summary import job_steps
from distbench.resolving import resolve
from distbench.simulation.cluster import Cluster, ThermalStep
from distbench.simulation.simulate import simulate
from tests.fakes import MS, block, write_run

Judge = Callable[..., Steadiness]


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    """The steadiness of one phase whose steps take the given ms, in `blocks` blocks with gaps."""

    def of(values_ms: Sequence[float], blocks: int = 10, gap_ms: float = 1000.0) -> Steadiness:
        directory = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        records, now_ns = [], 0
        for index, own in enumerate(np.array_split(np.asarray(values_ms), blocks), start=1):
            durations = [round(value * MS) for value in own]
            starts = (now_ns + np.cumsum(durations) - durations).tolist()
            records.append(block("train_step", index, own.tolist(), start_ns=starts))
            now_ns += sum(durations) + round(gap_ms * MS)
        write_run(directory, [records, records])
        run = load_run(directory)
        (found,) = steadiness(run, job_steps(run.steps))
        assert (found.phase, found.steps) == ("train_step", len(values_ms))
        return found

    return of


def noise(count: int = 100, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(100.0, 1.0, count)


def test_noise_is_flat(judge: Judge) -> None:
    found = judge(noise())
    assert found.verdict == "flat"
    assert found.is_steady
    assert found.step_correlation == 0
    assert found.block_correlation < 0.05
    assert abs(found.trend) < 0.01


def test_a_compile_spike_in_the_first_step_is_flat(judge: Judge) -> None:
    values = noise()
    values[0] = 5000.0
    assert judge(values).verdict == "flat"


def test_half_a_percent_a_step_is_unsteady(judge: Judge) -> None:
    found = judge(noise() + 0.5 * np.arange(100))
    assert found.verdict == "unsteady"
    assert not found.is_steady
    # 50 ms more at the end than at 100, by blocks 45, over the median of 125
    assert found.trend == pytest.approx(45 / 125, rel=0.05)


@pytest.mark.parametrize(("factor", "verdict"), [(1.1, "slowdown"), (0.9, "warmup")])
def test_one_shift_is_named_by_its_sign_and_place(
    judge: Judge, factor: float, verdict: str
) -> None:
    found = judge(noise() * np.where(np.arange(100) < 30, 1.0, factor))
    assert found.verdict == verdict
    assert found.shift_at == 0.3
    assert found.shift == pytest.approx((factor - 1) / factor, abs=0.01)


def test_warming_up_slowly_is_warming_up(judge: Judge) -> None:
    found = judge(noise() * (1 + 0.5 * np.exp(-np.arange(100) / 12)))
    assert found.verdict == "warmup"


def test_there_and_back_is_unsteady(judge: Judge) -> None:
    levels = np.repeat([1.0, 1.3, 1.15], [40, 40, 20])
    assert judge(noise() * levels).verdict == "unsteady"


@pytest.mark.parametrize("factor", [1.02, 0.98])
def test_a_shift_that_does_not_matter_is_flat(judge: Judge, factor: float) -> None:
    found = judge(noise() * 0.1 + 90 * np.where(np.arange(100) < 50, 1.0, factor))
    assert abs(found.shift) == pytest.approx(0.02, rel=0.15)
    assert found.verdict == "flat"


def test_blocks_that_differ_by_chance_are_flat(judge: Judge) -> None:
    """Their steps alone would say that nothing is more certain than that these differ."""
    levels = np.repeat([1.0, 1.04, 0.97, 1.01, 1.05, 0.98], 20)
    assert judge(noise(120) * levels, blocks=6).verdict == "flat"


def test_a_few_steps_cannot_be_told(judge: Judge) -> None:
    assert judge(noise(5), blocks=5).verdict == "unknown"
    assert judge(noise(5), blocks=5).is_steady


@pytest.mark.parametrize("blocks", [1, 2, 5])
def test_few_blocks_are_cut_into_stretches(judge: Judge, blocks: int) -> None:
    assert judge(noise(), blocks=blocks).verdict == "flat"
    half = noise() * np.where(np.arange(100) < 50, 1.0, 1.1)
    assert judge(half, blocks=blocks).verdict == "slowdown"
    assert judge(noise() * np.linspace(1, 1.2, 100), blocks=blocks).verdict == "unsteady"


def correlated(rho: float, count: int = 200) -> np.ndarray:
    series = noise(count)
    for index in range(1, count):
        series[index] = 100 + rho * (series[index - 1] - 100) + 0.4 * (series[index] - 100)
    return series


def test_correlated_steps_make_blocks_alike_only_without_a_gap(judge: Judge) -> None:
    apart, adjoining = judge(correlated(0.9)), judge(correlated(0.9), gap_ms=0)
    assert apart.verdict == adjoining.verdict == "flat"
    assert 0.75 < apart.step_correlation < 0.97
    assert apart.block_correlation < 0.5 < adjoining.block_correlation + 0.2
    assert judge(correlated(0.9), gap_ms=10_000).block_correlation < 0.01


def test_short_blocks_without_a_gap_may_always_be_alike(judge: Judge) -> None:
    # two steps, correlation 0.6 not excluded: 0.6 · (1.6)² ÷ (2 + 2 · 0.6) = 0.48
    found = judge(noise(12), blocks=6, gap_ms=0)
    assert found.step_correlation == 0
    assert found.block_correlation == pytest.approx(0.48)
    assert judge(noise(12), blocks=6, gap_ms=1000).block_correlation < 0.01


def test_many_blocks_show_their_own_correlation(judge: Judge) -> None:
    """Slow waves over the blocks, whatever the gap and the steps inside a block say."""
    waves = np.repeat(1 + 0.02 * np.sin(np.arange(40) / 3), 5)
    assert judge(noise(200) * waves, blocks=40).block_correlation > 0.5


def test_nothing_varies(judge: Judge) -> None:
    found = judge([100.0] * 60, blocks=6)
    assert (found.verdict, found.trend, found.shift) == ("flat", 0, 0)


def simulated(directory: Path, **parameters: Any) -> dict[str, Steadiness]:
    config = resolve({"sizes": (1, 4), "output": str(directory)}, on_gpu=True, world_size=4)
    simulate(Cluster(ranks=4, **parameters), config)
    run = load_run(directory)
    return {one.phase: one for one in steadiness(run, job_steps(run.steps))}


def test_of_a_study_the_main_groups_phases(run_directory: Path) -> None:
    found = simulated(run_directory)
    assert list(found) == [
        "forward",
        "forward_backward",
        "allreduce",
        "forward_backward_allreduce",
        "train_step",
    ]
    assert {one.verdict for one in found.values()} == {"flat"}


def test_a_drift_of_the_devices_is_no_drift_of_the_network(run_directory: Path) -> None:
    found = simulated(run_directory, drift=0.08)
    assert found["forward_backward"].verdict == "unsteady"
    assert found["allreduce"].verdict == "flat"


def test_ranks_that_were_only_measured_alone(run_directory: Path) -> None:
    config = resolve({"sizes": (1,), "output": str(run_directory)}, on_gpu=True, world_size=2)
    simulate(Cluster(ranks=2, thermal_step=ThermalStep(0.5, 1.2)), config)
    run = load_run(run_directory)
    found = steadiness(run, job_steps(run.steps))
    assert {one.verdict for one in found} == {"slowdown"}
