from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from distbench.analysis.check import Check
from distbench.analysis.collect import load_run
from distbench.analysis.sampling_checks import MOST_BLOCK_CORRELATION, sampling_checks
from distbench.analysis.summary import job_steps, main_group, summarise
from distbench.resolving import resolve
from distbench.simulation.cluster import Cluster, Spike, ThermalStep
from distbench.simulation.simulate import simulate
from tests.fakes import block, ladder_blocks, study_config, write_run, write_study


def checks_of(directory: Path) -> list[Check]:
    run = load_run(directory)
    jobs = job_steps(run.steps)
    groups = summarise(run.steps, jobs, run.grad_bytes)
    return list(sampling_checks(run, jobs, groups[groups["group"] == main_group(jobs)]))


def texts(checks: Sequence[Check], level: str) -> str:
    return "\n".join(check.text for check in checks if check.level == level)


def simulated_checks(
    directory: Path, settings: dict[str, Any] | None = None, **parameters: Any
) -> list[Check]:
    """Of a cluster of eight ranks on two nodes, 100 steps of each phase at four sizes."""
    wanted = {"sizes": (1, 2, 4, 8), **(settings or {}), "output": str(directory)}
    config = resolve(wanted, on_gpu=True, world_size=8)
    simulate(Cluster(ranks=8, ranks_per_node=4, **parameters), config)
    return checks_of(directory)


@pytest.mark.parametrize("parameters", [{}, {"noise": 0.05}, {"noise": 0.0, "network_noise": 0.0}])
def test_of_a_clean_cluster_nothing_is_said(
    run_directory: Path, parameters: dict[str, float]
) -> None:
    assert simulated_checks(run_directory, **parameters) == []


def test_a_drift_is_called_out(run_directory: Path) -> None:
    (check,) = simulated_checks(run_directory, drift=0.05)
    assert check.level == "suspect"
    assert check.text.startswith("no steady state (unsteady): forward slower by 3.9 %")
    assert "% from its first block to its last" in check.text
    assert check.text.endswith("let it warm up for longer, and run again")


def test_a_thermal_step_is_called_out_with_its_place(run_directory: Path) -> None:
    (check,) = simulated_checks(run_directory, thermal_step=ThermalStep(0.5, 1.1))
    assert check.level == "suspect"
    assert check.text.startswith("no steady state (slowdown): forward slower by 9.6 % after 50.0 %")
    assert "see whether clocks fell" in check.text


def test_warming_up_is_told_of_its_remedy(run_directory: Path) -> None:
    (check,) = simulated_checks(run_directory, thermal_step=ThermalStep(0.4, 0.9))
    assert "(warmup): forward faster by" in check.text
    assert check.text.endswith("give more --warmup-steps")


def test_a_spike_is_noted_with_its_place_and_no_more(run_directory: Path) -> None:
    (check,) = simulated_checks(run_directory, spike=(Spike(3, 0.5, 10.0),))
    assert check.level == "note"
    assert check.text.startswith("1 of ")
    assert " × its usual time)" in check.text
    assert "which are kept" in check.text


def test_autocorrelation_is_called_out_where_blocks_still_hold(run_directory: Path) -> None:
    checks = simulated_checks(run_directory, autocorrelation=0.9)
    assert [check.level for check in checks] == ["note"]
    assert checks[0].text.startswith("neighbouring steps are alike: autocorrelation 0.")
    assert "its 100 steps tell as much as" in checks[0].text


@pytest.mark.parametrize("autocorrelation", [0.0, 0.9])
def test_short_blocks_without_a_gap_deserve_low_confidence(
    run_directory: Path, autocorrelation: float
) -> None:
    settings = {"sizes": (), "phases": ("train_step",), "steps": 40, "blocks": 20}
    notes = texts(
        simulated_checks(run_directory, settings, autocorrelation=autocorrelation), "note"
    )
    assert "low confidence: the 95 % interval of train_step may be too narrow" in notes
    assert "give more --steps for the same --blocks" in notes


def test_the_limit_of_the_blocks_correlation() -> None:
    # the interval of independent blocks is 1.960 standard errors wide, 90 % need 1.645 true ones
    r = MOST_BLOCK_CORRELATION
    assert 1.960 / ((1 + r) / (1 - r)) ** 0.5 == pytest.approx(1.645, abs=0.01)


def test_few_blocks_have_no_interval_and_are_told_the_remedy(run_directory: Path) -> None:
    write_run(run_directory, [ladder_blocks(rounds=5), ladder_blocks(rounds=5)])
    notes = texts(checks_of(run_directory), "note")
    assert "no 95 % interval for forward, forward_backward, allreduce" in notes
    assert notes.split("\n")[0].endswith("fewer than 6 blocks; run with --blocks 6 or more")
    assert "one launch" not in notes


def test_a_study_is_told_of_rounds(run_directory: Path) -> None:
    write_study(run_directory, study_config(steps=5, blocks=5, rounds=5), [0] * 4)
    assert "run with --rounds 6 or more" in texts(checks_of(run_directory), "note")


def test_one_block_is_told_that_phases_are_not_interleaved(run_directory: Path) -> None:
    write_run(run_directory, [ladder_blocks(rounds=1), ladder_blocks(rounds=1)])
    notes = texts(checks_of(run_directory), "note")
    assert "phases that ran one after the other differ by any drift too" in notes
    assert "run with --blocks 6" in notes


def short_blocks(duration_ms: float) -> list[dict[str, Any]]:
    return [block("forward", index, [duration_ms] * 4) for index in range(1, 7)]


@pytest.mark.parametrize(
    ("duration_ms", "resolution_ns", "level", "words"),
    [
        (
            0.009,
            100,
            "suspect",
            "timer too coarse: forward takes 9.000 µs, and the clock counts in",
        ),
        (0.011, 100, "note", "steps of less than 1.000 ms: forward takes 11.00 µs"),
        (0.999, 1, "note", "give a larger --batch-size"),
        (
            90.0,
            1_000_000,
            "suspect",
            "forward takes 90.00 ms, and the clock counts in units of 1.000",
        ),
    ],
)
def test_a_coarse_timer(
    run_directory: Path, duration_ms: float, resolution_ns: int, level: str, words: str
) -> None:
    blocks = short_blocks(duration_ms)
    header = {"clock_resolution_ns": resolution_ns}
    write_run(run_directory, [blocks, blocks], header_changes=header)
    assert words in texts(checks_of(run_directory), level)


def test_a_fine_timer_is_not_mentioned(run_directory: Path) -> None:
    blocks = short_blocks(1.001)
    write_run(run_directory, [blocks, blocks], header_changes={"clock_resolution_ns": 10_000})
    assert not any("timer" in text or "of less" in text for _, text in checks_of(run_directory))


def test_a_lone_ranks_allreduce_may_take_no_time(run_directory: Path) -> None:
    blocks = [block("allreduce", index, [0.01] * 4, group_size=1) for index in range(1, 7)]
    write_run(run_directory, [blocks])
    assert not any("less than" in text for _, text in checks_of(run_directory))


def test_one_launch_of_a_real_run_is_noted(run_directory: Path) -> None:
    write_run(run_directory, [ladder_blocks(), ladder_blocks()])
    assert "a study with repeat = 5 shows it" in texts(checks_of(run_directory), "note")
