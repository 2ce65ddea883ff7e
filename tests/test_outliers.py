from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from distbench.analysis.collect import load_run
from distbench.analysis.outliers import outliers
from distbench.analysis.summary import job_steps
from tests.fakes import block, write_run

WOBBLE = [10.0, 10.1, 9.9, 10.2, 9.8]  # ms; the median absolute deviation is 0.1 ms


def found_in(directory: Path, blocks: list[dict[str, Any]]) -> pd.DataFrame:
    write_run(directory, [blocks, blocks])
    return outliers(job_steps(load_run(directory).steps))


def test_a_spike_is_flagged_with_its_place(run_directory: Path) -> None:
    blocks = [block("forward", index, WOBBLE) for index in (1, 2, 3)]
    blocks[1] = block("forward", 2, [10.0, 10.1, 100.0, 10.2, 9.8])
    found = found_in(run_directory, blocks)
    assert found[["phase", "group", "block", "step"]].to_numpy().tolist() == [
        ["forward", "world", 2, 2]
    ]
    assert found["times"].iloc[0] == pytest.approx(100 / 10.1)


@pytest.mark.parametrize(("last_ms", "count"), [(11.4, 0), (11.6, 1)])
def test_the_limit_is_14826_thousandths_of_the_usual_deviation(
    run_directory: Path, last_ms: float, count: int
) -> None:
    # around 10 ms deviations are 0 to 0.2 ms, their median 0.1: the limit lies at 11.4826 ms
    blocks = [block("forward", index, WOBBLE) for index in (1, 2, 3)]
    blocks.append(block("forward", 4, [*WOBBLE, 10.0, last_ms]))
    assert len(found_in(run_directory, blocks)) == count


def test_the_worst_comes_first(run_directory: Path) -> None:
    slow = [block("forward", 1, [*WOBBLE, *WOBBLE, 30.0, 90.0])]
    slow += [block("allreduce", 1, [*WOBBLE, *WOBBLE, 60.0])]
    assert found_in(run_directory, slow)["times"].tolist() == pytest.approx([9, 6, 3], rel=0.02)


def test_a_slow_block_holds_no_outliers(run_directory: Path) -> None:
    blocks = [block("forward", index, WOBBLE) for index in (1, 2, 3)]
    blocks.append(block("forward", 4, [2 * value for value in WOBBLE]))
    assert found_in(run_directory, blocks).empty


def test_blocks_of_one_step_are_held_against_their_phase(run_directory: Path) -> None:
    blocks = [block("forward", index, [10.0 + 0.1 * (index % 3)]) for index in range(1, 12)]
    found = found_in(run_directory, [*blocks, block("forward", 12, [50.0])])
    assert found["block"].tolist() == [12]


def test_where_all_steps_are_alike_a_small_difference_is_none(run_directory: Path) -> None:
    assert found_in(run_directory, [block("forward", 1, [10.0] * 9 + [10.2])]).empty


def test_groups_have_their_own_usual_step(run_directory: Path) -> None:
    # each of two ranks alone, one twice as slow: no outliers
    ranks = [
        [block("forward", 1, [pace * value for value in WOBBLE], group=f"alone-{pace}",
               group_size=1, role="alone")]
        for pace in (1, 2)
    ]  # fmt: skip
    write_run(run_directory, ranks)
    assert outliers(job_steps(load_run(run_directory).steps)).empty
