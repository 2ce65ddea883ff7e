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
    assert found.exposed_interval_s.low <= 0.011 <= found.exposed_interval_s.high


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
