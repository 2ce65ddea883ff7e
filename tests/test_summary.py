from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from distbench.analysis.collect import load_run
from distbench.analysis.summary import (
    headline_phase,
    job_steps,
    summarise,
)
from tests.fakes import MS, block, ladder_blocks, write_run


@pytest.fixture
def steps(run_directory: Path) -> pd.DataFrame:
    """Two ranks; rank 1 takes 10 % longer in everything."""
    write_run(run_directory, [ladder_blocks(), ladder_blocks(scale=1.1)])
    return load_run(run_directory).steps


def summary_of(steps: pd.DataFrame) -> pd.DataFrame:
    return summarise(steps, job_steps(steps), 10**6)


def of_phase(frame: pd.DataFrame, phase: str) -> pd.Series:
    return frame.set_index("phase").loc[phase]


def test_a_job_step_is_as_long_as_its_slowest_rank(run_directory: Path) -> None:
    write_run(
        run_directory,
        [[block("forward", 1, [10.0, 30.0])], [block("forward", 1, [12.0, 20.0])]],
    )
    jobs = job_steps(load_run(run_directory).steps)
    assert jobs["step_s"].tolist() == [0.012, 0.030]
    assert jobs["skew_s"].tolist() == [0.002, 0.010]
    assert jobs["images"].tolist() == [8, 8]


def test_warm_up_counts_in_nothing(steps: pd.DataFrame) -> None:
    jobs = job_steps(steps)
    assert jobs["step_s"].max() < 0.1  # the warm-up steps took half a second
    assert of_phase(summary_of(steps), "forward")["steps"] == 12


def test_rate_is_images_of_all_ranks_over_the_median_job_step(steps: pd.DataFrame) -> None:
    # rank 1's train_step takes 1.1 * (45 + b / 1000) ms in block b of 1 to 6; the median is at 3.5
    found = of_phase(summary_of(steps), "train_step")
    step_s = 1.1 * 45.0035e-3
    assert found["step_s"] == pytest.approx(step_s, rel=1e-9)
    assert found["images_per_s"] == pytest.approx(8 / step_s)
    assert found["images_per_s_per_rank"] == pytest.approx(4 / step_s)
    # of six medians the bounds lie 5/14 of the way from the outermost to the next (see statistics)
    assert found["step_s_low"] == pytest.approx(1.1 * (45.001 + 0.001 * 5 / 14) * 1e-3, rel=1e-9)
    assert found["step_s_high"] == pytest.approx(1.1 * (45.006 - 0.001 * 5 / 14) * 1e-3, rel=1e-9)
    assert found["samples"] == 6
    assert found["skew_s"] == pytest.approx(0.1 * 45.0035e-3, rel=1e-6)
    # the steps of a block follow each other without a gap, so that the span is their sum
    assert found["images_per_s_of_span"] == pytest.approx(8 / step_s, rel=1e-6)


def test_a_rate_is_never_a_mean_of_rates(run_directory: Path) -> None:
    # steps of 1 s and 3 s with 8 images: 16 images in 4 s are 4 per s, not the mean of 8 and 8/3
    blocks = [block("forward", 1, [1000.0, 3000.0])]
    write_run(run_directory, [blocks, blocks])
    found = of_phase(summary_of(load_run(run_directory).steps), "forward")
    assert found["images_per_s"] == pytest.approx(4.0)
    assert found["images_per_s_of_span"] == pytest.approx(4.0)
    assert found["step_s_mean"] == pytest.approx(2.0)
    assert found["step_s_sd"] == pytest.approx(math.sqrt(2))


def test_bandwidth_is_that_of_nccl_tests(steps: pd.DataFrame) -> None:
    # 1 MB in 22.00385 ms; two ranks: busbw = algbw * 2 (2 - 1) / 2
    found = of_phase(summary_of(steps), "allreduce")
    assert found["algbw_bytes_per_s"] == pytest.approx(10**6 / (1.1 * 20.0035e-3))
    assert found["busbw_bytes_per_s"] == pytest.approx(found["algbw_bytes_per_s"])
    assert math.isnan(found["images_per_s"])


def test_bus_bandwidth_of_four_ranks(run_directory: Path) -> None:
    blocks = [block("allreduce", 1, [10.0], group_size=4)]
    write_run(run_directory, [blocks] * 4)
    found = of_phase(summary_of(load_run(run_directory).steps), "allreduce")
    assert found["busbw_bytes_per_s"] == pytest.approx(10**6 / 0.01 * 1.5)


def test_one_rank_has_no_bandwidth(run_directory: Path) -> None:
    write_run(run_directory, [[block("allreduce", 1, [10.0], group_size=1)]])
    found = of_phase(summary_of(load_run(run_directory).steps), "allreduce")
    assert math.isnan(found["busbw_bytes_per_s"])


def test_a_step_that_a_rank_lacks_is_no_job_step(run_directory: Path) -> None:
    whole = [block("forward", 1, [10.0]), block("forward", 2, [10.0])]
    write_run(run_directory, [whole, whole[:1]])
    assert len(job_steps(load_run(run_directory).steps)) == 1


def test_the_span_is_of_blocks_that_all_ranks_have(run_directory: Path) -> None:
    # block 1 takes 40 ms from start to end on its slowest rank; rank 1 lacks block 2
    whole = [block("forward", 1, [10.0, 20.0]), block("forward", 2, [500.0])]
    slower = [block("forward", 1, [25.0, 15.0])]
    write_run(run_directory, [whole, slower])
    found = of_phase(summary_of(load_run(run_directory).steps), "forward")
    assert found["steps"] == 2
    assert found["images_per_s_of_span"] == pytest.approx(16 / 0.040)


def test_a_block_in_two_records_spans_both(run_directory: Path) -> None:
    first = block("forward", 1, [10.0])
    later = block("forward", 1, [10.0], start_ns=[30 * MS + 1_000])
    write_run(run_directory, [[first, later]] * 2)
    found = of_phase(summary_of(load_run(run_directory).steps), "forward")
    # each rank holds step 0 twice: one job step with all four entries' images, 0 to 40 ms
    assert found["steps"] == 1
    assert found["images_per_s_of_span"] == pytest.approx(16 / 0.040)


def test_headline_is_the_most_complete_phase(steps: pd.DataFrame) -> None:
    summary = summary_of(steps)
    assert headline_phase(summary) == "train_step"
    assert headline_phase(summary[summary["phase"] != "train_step"]) == "forward_backward_allreduce"
    assert headline_phase(summary[summary["phase"] == "forward"]) is None
