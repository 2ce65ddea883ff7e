from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from distbench.analysis.collect import load_run
from distbench.analysis.communication import communication, step_parts
from distbench.analysis.summary import job_steps
from tests.fakes import block, ladder_blocks, write_run


@pytest.fixture
def steps(run_directory: Path) -> pd.DataFrame:
    """Two ranks; rank 1 takes 10 % longer in everything."""
    write_run(run_directory, [ladder_blocks(), ladder_blocks(scale=1.1)])
    return load_run(run_directory).steps


def test_exposed_and_hidden_communication(steps: pd.DataFrame) -> None:
    # on the slowest rank, at block 3.5: 44.00385 - 33.00385 = 11 ms, and 22.00385 - 11 hidden
    found = communication(job_steps(steps))
    assert found.exposed_s == pytest.approx(0.011)
    assert found.hidden_s == pytest.approx(22.00385e-3 - 0.011)
    assert found.overlap == pytest.approx(1 - 0.011 / 22.00385e-3)
    assert found.share_of_step == pytest.approx(0.011 / 44.00385e-3)
    assert found.exposed_interval_s.samples == 6
    assert found.exposed_interval_s[:2] == pytest.approx((0.011, 0.011))


def test_each_round_has_its_own_difference(run_directory: Path) -> None:
    # exposed by round: 10, 11, … 15 ms, whatever the round's own level; the bounds are 5/14 inwards
    blocks = []
    for index, level_ms in enumerate([30.0, 90.0, 40.0, 80.0, 50.0, 70.0]):
        exposed_ms = 10 + index
        blocks += [
            block("forward_backward", index + 1, [level_ms] * 3),
            block("forward_backward_allreduce", index + 1, [level_ms + exposed_ms] * 3),
            block("allreduce", index + 1, [20.0] * 3),
        ]
    write_run(run_directory, [blocks, blocks])
    found = communication(job_steps(load_run(run_directory).steps))
    assert found.exposed_s == pytest.approx(0.0125)
    assert found.hidden_s == pytest.approx(0.0075)
    assert found.overlap == pytest.approx(7.5 / 20)
    assert found.exposed_interval_s[:2] == pytest.approx((0.010 + 5e-3 / 14, 0.015 - 5e-3 / 14))
    # of the combined step, by round: 10/40, 11/101, 12/52, 13/93, 14/64, 15/85
    assert found.share_of_step == pytest.approx((15 / 85 + 14 / 64) / 2)


def test_a_thermal_step_between_two_blocks_of_a_round_spoils_that_round_alone(
    run_directory: Path,
) -> None:
    # from forward_backward_allreduce of round 4 on everything takes 1.5 times as long; the medians of
    # whole phases would say 40 × 1.25 − 30 = 20 ms
    blocks = []
    for index in range(1, 8):
        hot = [1.5 if index > 4 else 1.0, 1.5 if index >= 4 else 1.0]
        blocks += [
            block("forward_backward", index, [30.0 * hot[0]] * 2),
            block("forward_backward_allreduce", index, [40.0 * hot[1]] * 2),
        ]
    write_run(run_directory, [blocks, blocks])
    found = communication(job_steps(load_run(run_directory).steps))
    assert found.exposed_s == pytest.approx(0.015)


def test_rounds_that_lack_a_phase_are_left_out(run_directory: Path) -> None:
    blocks = [block("forward_backward", index, [30.0]) for index in (1, 2, 3)]
    blocks += [block("forward_backward_allreduce", index, [38.0]) for index in (2, 3, 4)]
    write_run(run_directory, [blocks, blocks])
    found = communication(job_steps(load_run(run_directory).steps))
    assert found.exposed_s == pytest.approx(0.008)
    assert found.exposed_interval_s.samples == 2


def test_negative_exposure_is_not_clipped(run_directory: Path) -> None:
    blocks = [block("forward_backward", 1, [30.0]), block("forward_backward_allreduce", 1, [29.0])]
    write_run(run_directory, [blocks, blocks])
    found = communication(job_steps(load_run(run_directory).steps))
    assert found.exposed_s == pytest.approx(-0.001)
    assert math.isnan(found.overlap)


def test_parts_add_up_to_the_step(steps: pd.DataFrame) -> None:
    parts = step_parts(job_steps(steps))
    assert list(parts) == ["forward", "backward", "exposed communication", "optimizer"]
    assert sum(parts.values()) == pytest.approx(1.1 * 45.0035e-3)
    assert parts["backward"] == pytest.approx(0.022)


def test_parts_stop_at_the_first_phase_that_was_not_run(steps: pd.DataFrame) -> None:
    without = steps[steps["phase"] != "forward_backward"]
    assert list(step_parts(job_steps(without))) == ["forward"]
