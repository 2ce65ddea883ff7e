from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from distbench.analysis.arrivals import arrivals
from distbench.analysis.collect import Run, load_run
from distbench.analysis.rank_grid import computing_grid
from tests.fakes import MS, block, write_run

PHASES = ("forward", "forward_backward")


def meeting_blocks(
    durations_ms: list[list[float]], clocks_ns: list[int], phase: str = "forward_backward"
) -> list[list[dict[str, Any]]]:
    """Blocks of one step a rank, by rank; all ranks begin each of them together, on own clocks.

    A block begins when its last rank has ended the one before, and a millisecond later.
    """
    by_rank: list[list[dict[str, Any]]] = [[] for _ in clocks_ns]
    now_ns = 0
    for index, of_ranks in enumerate(durations_ms, start=1):
        for rank, duration_ms in enumerate(of_ranks):
            one = block(phase, index, [duration_ms], group_size=len(clocks_ns))
            by_rank[rank].append({**one, "start_ns": [clocks_ns[rank] + now_ns]})
        now_ns += round((max(of_ranks) + 1) * MS)
    return by_rank


def met(run: Run) -> Any:
    grid = computing_grid(run.steps)
    assert grid is not None
    return arrivals(run.blocks, grid, PHASES)


def test_the_last_and_the_wait_need_no_common_clock(run_directory: Path) -> None:
    durations = [[10.0, 60.0, 12.0], [10.0, 62.0, 14.0], [30.0, 20.0, 10.0], [10.0, 10.0, 10.0]]
    write_run(run_directory, meeting_blocks(durations, [10**12, 77, 5 * 10**15]))
    found = met(load_run(run_directory))
    # the fourth block has no next one, so that nobody knows how long its meeting was
    assert found.meetings == 3
    assert found.last.tolist() == [1, 2, 0]
    # rank 1: the others waited 50 and 48 ms, then 52 and 48 ms: medians 49 and 50
    assert found.wait_s.tolist() == pytest.approx([0.015, 0.0495, 0.0])
    assert found.wait_share.tolist() == pytest.approx([15 / 30, (49 / 60 + 50 / 62) / 2, 0.0])
    # P(X ≥ 2) of 3 meetings at 1/3: 3 · 2/27 + 1/27; P(X ≥ 1) = 1 - 8/27
    assert found.chance.tolist() == pytest.approx([19 / 27, 7 / 27, 1.0])


def test_nobody_is_last_where_two_are(run_directory: Path) -> None:
    write_run(run_directory, meeting_blocks([[10.0, 10.0, 8.0]] * 3, [0, 0, 0]))
    found = met(load_run(run_directory))
    assert (found.meetings, found.last.tolist()) == (2, [0, 0, 0])
    assert found.wait_s.tolist() == [0.0, 0.0, 0.0]


def test_other_phases_warm_up_and_pairs_that_differ_are_left_out(run_directory: Path) -> None:
    blocks = meeting_blocks([[10.0, 20.0]] * 6, [0, 0])
    for of_rank in blocks:
        of_rank[0] |= {"warmup": True}
        of_rank[2] |= {"phase": "train_step"}
    blocks[1][4] |= {"phase": "forward"}  # after their fourth blocks the ranks did not do the same
    write_run(run_directory, blocks)
    found = met(load_run(run_directory))
    # of the six blocks: warm-up, yes, train_step, no, no (unlike phases), without a next one
    assert (found.meetings, found.last.tolist()) == (1, [0, 1])


def test_ranks_without_a_meeting_have_no_arrivals(run_directory: Path) -> None:
    write_run(run_directory, meeting_blocks([[10.0, 20.0]], [0, 0]))
    found = met(load_run(run_directory))
    assert (found.meetings, found.last.tolist(), found.chance.tolist()) == (0, [0, 0], [1.0, 1.0])


def test_categories_do(run_directory: Path) -> None:
    write_run(run_directory, meeting_blocks([[10.0, 20.0]] * 3, [0, 10**15 + 1]))
    run = load_run(run_directory)
    for name in ("phase", "group", "host"):
        run.blocks[name] = pd.Categorical(run.blocks[name])
    found = met(run)
    assert (found.meetings, found.last.tolist()) == (2, [0, 2])
    assert found.wait_s[1] == 0.01  # to the nanosecond, also on a clock of large numbers
