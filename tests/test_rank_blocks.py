from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distbench.analysis.collect import load_run
from distbench.analysis.rank_blocks import JOB_BLOCK, job_blocks, rank_blocks, steps_of_jobs
from tests.fakes import MS, block, write_run

KEY = [*JOB_BLOCK, "step"]


def expected_jobs(steps: pd.DataFrame) -> pd.DataFrame:
    """Row by row, as the definition says it."""
    timed = steps[~steps["warmup"]]
    grouped = timed.groupby(KEY, sort=True)
    return grouped.agg(
        slowest_ns=("duration_ns", "max"),
        fastest_ns=("duration_ns", "min"),
        images=("images", "sum"),
        ranks=("rank", "nunique"),
    ).reset_index()


def found_jobs(steps: pd.DataFrame) -> pd.DataFrame:
    blocks = rank_blocks(steps)
    keys, block_of_row = job_blocks(blocks.frame)
    found = steps_of_jobs(blocks, block_of_row, len(keys))
    jobs = keys.take(found.block).reset_index(drop=True)
    for name in ("step", "slowest_ns", "fastest_ns", "images", "ranks"):
        jobs[name] = getattr(found, name)
    return jobs[jobs["ranks"] > 0].reset_index(drop=True)


# Few values, so that ranks share blocks, lack steps, and hold some twice.
one_record = st.tuples(
    st.sampled_from(["forward", "train_step"]),
    st.sampled_from(["world", "size-2"]),
    st.integers(1, 2),  # block
    st.integers(0, 2),  # rank
    st.booleans(),  # warm-up
    st.integers(0, 3),  # first step
    st.integers(1, 4),  # how many
)


def frame_of(records: list[tuple], as_categories: bool) -> pd.DataFrame:
    rows = [
        (phase, group, "reducing", 3, index, rank, warmup, 4, step)
        for phase, group, index, rank, warmup, first, count in records
        for step in range(first, first + count)
    ]
    names = ["phase", "group", "role", "group_size", "block", "rank", "warmup", "images", "step"]
    frame = pd.DataFrame(rows, columns=names)
    frame["duration_ns"] = (np.arange(len(frame)) * 7919) % 104729 + 1
    frame["start_ns"] = np.arange(len(frame)) * 200_000
    words = ["phase", "group", "role"]
    return frame.astype(dict.fromkeys(words, "category")) if as_categories else frame


@settings(max_examples=60, deadline=None)
@given(
    records=st.lists(one_record, min_size=1, max_size=12),
    as_categories=st.booleans(),
    shuffled=st.booleans(),
)
def test_job_steps_are_those_of_the_definition(
    records: list[tuple], as_categories: bool, shuffled: bool
) -> None:
    steps = frame_of(records, as_categories=False)
    expected = expected_jobs(steps)
    steps = frame_of(records, as_categories)
    if shuffled:
        steps = steps.iloc[np.random.default_rng(0).permutation(len(steps))]
    found = found_jobs(steps)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)


def test_a_rank_that_holds_a_block_twice_counts_once(run_directory: Path) -> None:
    blocks = [block("forward", 1, [10.0, 30.0]), block("forward", 1, [20.0])]
    write_run(run_directory, [blocks, blocks[:1]])
    jobs = found_jobs(load_run(run_directory).steps)
    assert jobs["ranks"].tolist() == [2, 2]
    assert jobs["slowest_ns"].tolist() == [20 * MS, 30 * MS]
    assert jobs["images"].tolist() == [12, 8]


def test_a_rank_and_block_is_one_row_from_its_first_start_to_its_last_end(
    run_directory: Path,
) -> None:
    blocks = [block("forward", 1, [5.0], warmup=True), block("forward", 2, [1.0, 2.0])]
    write_run(run_directory, [blocks, blocks])
    found = rank_blocks(load_run(run_directory).steps)
    assert found.frame["rank"].tolist() == [0, 1]
    assert found.frame["steps"].tolist() == [2, 2]
    assert found.frame["start_ns"].tolist() == [1_000, 1_000]
    assert found.frame["end_ns"].tolist() == [1_000 + 3 * MS] * 2
    assert found.durations_ns.tolist() == [MS, 2 * MS] * 2


@pytest.mark.parametrize("warmup", [True, False])
def test_no_timed_step_is_no_row(run_directory: Path, warmup: bool) -> None:
    write_run(run_directory, [[block("forward", 1, [5.0], warmup=True)] if warmup else []])
    found = rank_blocks(load_run(run_directory).steps)
    assert len(found.frame) == len(found.durations_ns) == 0
    assert found_jobs(load_run(run_directory).steps).empty
