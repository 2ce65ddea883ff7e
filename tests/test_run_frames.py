from __future__ import annotations

from pathlib import Path

import pandas as pd

from distbench.analysis.collect import load_run
from distbench.analysis.run_frames import STEP_COLUMNS, blocks_frame, steps_frame, waits_frame
from distbench.records import RankRecords
from tests.fakes import MS, block, study_config, write_run, write_study


def test_every_block_becomes_its_steps_in_their_order(run_directory: Path) -> None:
    blocks = [block("forward", 1, [3.0, 1.0, 2.0]), block("allreduce", 2, [5.0], warmup=True)]
    write_run(run_directory, [blocks, blocks[:1]])
    steps = load_run(run_directory).steps
    assert steps["duration_ns"].tolist() == [3 * MS, MS, 2 * MS, 5 * MS, 3 * MS, MS, 2 * MS]
    assert steps["start_ns"].tolist()[:4] == [1_000, 1_000 + 3 * MS, 1_000 + 4 * MS, 1_000]
    assert steps["step"].tolist() == [0, 1, 2, 0, 0, 1, 2]
    assert steps["block"].tolist() == [1, 1, 1, 2, 1, 1, 1]
    assert steps["rank"].tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert steps["phase"].tolist() == ["forward"] * 3 + ["allreduce"] + ["forward"] * 3
    assert steps["warmup"].tolist() == [False] * 3 + [True] + [False] * 3
    assert steps["images"].tolist() == [4, 4, 4, 0, 4, 4, 4]


def test_a_step_takes_less_than_50_bytes(run_directory: Path) -> None:
    write_run(run_directory, [[block("forward", 1, [1.0] * 1000)]] * 2)
    steps = load_run(run_directory).steps
    assert steps.memory_usage(deep=False, index=False).sum() < 50 * len(steps) + 5_000


def test_words_are_in_the_order_of_the_alphabet_and_medians_follow_without_a_warning(
    run_directory: Path,
) -> None:
    write_run(run_directory, [[block("train_step", 1, [4.0]), block("forward", 1, [1.0, 3.0])]])
    medians = load_run(run_directory).steps.groupby("phase")["duration_ns"].median()
    assert list(medians.items()) == [("forward", 2 * MS), ("train_step", 4 * MS)]


def test_no_block_at_all_makes_frames_without_rows() -> None:
    empty = steps_frame([RankRecords(0)])
    assert tuple(empty.columns) == STEP_COLUMNS
    assert empty["warmup"].dtype == bool
    assert len(empty) == len(blocks_frame([RankRecords(0)])) == len(waits_frame([])) == 0


def test_a_block_lasts_from_its_first_start_to_its_last_end(run_directory: Path) -> None:
    write_run(run_directory, [[block("forward", 1, [3.0, 1.0])]])
    row = load_run(run_directory).blocks.iloc[0]
    assert (row["start_ns"], row["end_ns"]) == (1_000, 1_000 + 4 * MS)
    assert (row["rank"], row["host"], row["phase"], row["block"]) == (0, "node", "forward", 1)


def test_telemetry_of_some_blocks_is_missing_in_the_others(run_directory: Path) -> None:
    from tests.test_collect import TELEMETRY

    measured = [block("forward", 1, [1.0]), block("forward", 2, [1.0], telemetry=TELEMETRY)]
    write_run(run_directory, [measured])
    clocks = load_run(run_directory).blocks["sm_clock_mhz"]
    assert pd.isna(clocks[0])
    assert clocks[1] == 1800


def test_waits_are_summed_by_rank(run_directory: Path) -> None:
    config = study_config(sizes=(1, 2))
    write_study(run_directory, config, nodes=[0, 0])
    waits = load_run(run_directory).waits.set_index("rank")
    # seven rounds of three phases: while the other rank is alone, and while rank 0 is with itself
    assert waits["wall_s"].to_dict() == {0: 21.0, 1: 28.0}
    assert waits.loc[1, "cpu_s"] == 28 * 0.03
