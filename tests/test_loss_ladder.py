from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from distbench.analysis.collect import load_run
from distbench.analysis.limits import UNKNOWN_LINKS, Links
from distbench.analysis.loss_ladder import (
    BEYOND,
    COMMUNICATION_AND_OPTIMIZER,
    COMPUTING,
    EXPOSED,
    OPTIMIZER,
    OVERHEAD,
    WAITING,
    WIRE,
    Ladder,
    costs,
    ladders,
    own_overhead,
    scheme_of,
)
from distbench.analysis.scaling import curve_points
from distbench.analysis.summary import job_steps
from distbench.config import SELF_ALLREDUCE
from tests.fakes import block, study_config, write_run, write_study

MS = 1e-3
NOTHING = pd.Series(dtype=float)


def rounds(*values_ms: float) -> pd.Series:
    return pd.Series([MS * value for value in values_ms], index=range(1, len(values_ms) + 1))


def ladder(**changes: Any) -> Ladder:
    """One round: computing takes 30 ms, 33 on the slowest rank, forward 10, with allreduce 50."""
    given = {
        "typical": rounds(30.0),
        "computed": rounds(33.0),
        "forward": rounds(10.0),
        "allreduce": rounds(25.0),
        "reduced": rounds(50.0),
        "whole": rounds(54.0),
        "overhead": rounds(1.5),
        "wire_s": 28.0 * MS,
        "on_nodes": (2, 2),
    }
    return Ladder(**{**given, **changes})


def test_each_part_is_what_a_rung_adds() -> None:
    found = costs(ladder()).loc[1] / MS
    assert found[COMPUTING] == pytest.approx(30.0)
    assert found[WAITING] == pytest.approx(3.0)
    assert found[OVERHEAD] == pytest.approx(1.5)
    assert found[EXPOSED] == pytest.approx(17.0)
    assert found[OPTIMIZER] == pytest.approx(4.0)
    assert found[COMMUNICATION_AND_OPTIMIZER] == pytest.approx(21.0)
    # backward of the slowest rank is 33 - 10 = 23 ms; it can hide that much of 28 ms on the wire
    assert found[WIRE] == pytest.approx(5.0)


def test_a_wire_that_backward_can_hide_explains_nothing() -> None:
    assert costs(ladder(wire_s=20.0 * MS)).loc[1, WIRE] == 0.0


def test_what_was_measured_decides_what_is_told_apart() -> None:
    all_parts = (COMPUTING, WAITING, OVERHEAD, WIRE, BEYOND, OPTIMIZER)
    assert scheme_of(ladder(), "train_step").parts == all_parts
    assert scheme_of(ladder(), "train_step").notes == ()
    assert scheme_of(ladder(), "forward_backward_allreduce").parts == all_parts[:-1]
    assert scheme_of(ladder(), "forward_backward").parts == (COMPUTING, WAITING)


@pytest.mark.parametrize(
    ("changes", "parts", "why"),
    [
        ({"overhead": NOTHING}, (WIRE, BEYOND), "a study with size 1"),
        ({"wire_s": math.nan}, (OVERHEAD, EXPOSED), "between nodes is not known"),
        ({"wire_s": math.nan, "on_nodes": (4,)}, (OVERHEAD, EXPOSED), "--intra-link-gb-per-s"),
        ({"forward": NOTHING}, (OVERHEAD, EXPOSED), "forward was not run"),
    ],
)
def test_what_was_not_measured_stays_in_the_exposed_communication(
    changes: dict[str, Any], parts: tuple[str, ...], why: str
) -> None:
    scheme = scheme_of(ladder(**changes), "train_step")
    assert scheme.parts == (COMPUTING, WAITING, *parts, OPTIMIZER)
    assert (*scheme.known, scheme.rest) == parts
    assert why in scheme.notes[0]


def test_without_its_phases_parts_are_one_or_none() -> None:
    merged = scheme_of(ladder(reduced=NOTHING), "train_step")
    assert merged.parts == (COMPUTING, WAITING, COMMUNICATION_AND_OPTIMIZER)
    assert "communication and optimizer are one part" in merged.notes[0]
    nothing = scheme_of(ladder(computed=NOTHING, typical=NOTHING), "train_step")
    assert nothing.parts == ()
    assert "forward_backward was not run" in nothing.notes[0]


def test_the_typical_rank_is_the_middle_one_by_its_own_median(
    run_directory: Path,
) -> None:
    # medians 20, 30 and 70 ms: the typical rank takes 30, the job 100, 60 and 70 in its steps
    times = [[10.0, 20.0, 60.0], [100.0, 30.0, 20.0], [70.0, 60.0, 70.0]]
    ranks = [[block("forward_backward", 1, own, group_size=3)] for own in times]
    found = only_ladder(run_directory, ranks)
    assert found.typical.loc[1] == pytest.approx(30.0 * MS)
    assert found.computed.loc[1] == pytest.approx(70.0 * MS)
    assert found.on_nodes == (3,)


def test_the_typical_rank_is_chosen_once_for_all_rounds(run_directory: Path) -> None:
    # medians over three rounds: 10, 11, 12 and 99 ms; the middle of them are the second and third
    times = [[10.0, 10.0, 30.0], [11.0, 11.0, 11.0], [12.0, 12.0, 10.0], [99.0, 99.0, 99.0]]
    ranks = [
        [block("forward_backward", at, [time], group_size=4) for at, time in enumerate(own, 1)]
        for own in times
    ]
    assert only_ladder(run_directory, ranks).typical.tolist() == pytest.approx(
        [11.5 * MS, 11.5 * MS, 10.5 * MS]
    )


@pytest.mark.parametrize(("ranks", "middle"), [(9, (3, 4, 5)), (16, (5, 6, 7, 8, 9, 10))])
def test_of_many_ranks_a_quarter_is_typical(
    run_directory: Path, ranks: int, middle: tuple[int, ...]
) -> None:
    """Two rounds: in the second one the middle ranks differ, and the others are all the same."""
    rounds_of = [
        [
            block("forward_backward", 1, [100.0 + 10 * rank], group_size=ranks),
            block("forward_backward", 2, [100.0 + rank * (rank in middle)], group_size=ranks),
        ]
        for rank in range(ranks)
    ]
    expected = 100.0 + sum(middle) / len(middle)
    found = only_ladder(run_directory, rounds_of).typical
    assert found.loc[2] == pytest.approx(expected * MS)


def test_a_round_that_a_rank_lacks_has_no_typical_rank(run_directory: Path) -> None:
    whole = [block("forward_backward", index, [10.0]) for index in (1, 2)]
    assert list(only_ladder(run_directory, [whole, whole[:1]]).typical.index) == [1]


def only_ladder(directory: Path, blocks_by_rank: list[list[dict[str, Any]]]) -> Ladder:
    write_run(directory, blocks_by_rank)
    run = load_run(directory)
    jobs = job_steps(run.steps)
    (found,) = ladders(run, jobs, curve_points(jobs), "forward_backward", UNKNOWN_LINKS)
    return found


def slower_with_itself(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The allreduce of rank 0 with itself takes 1.5 ms beside its 30 ms of computing."""
    for one in blocks:
        if one["phase"] == SELF_ALLREDUCE:
            one["duration_ns"] = [time_ns + 1_500_000 for time_ns in one["duration_ns"]]
    return blocks


def test_horovods_overhead_is_that_of_a_rank_with_itself(run_directory: Path) -> None:
    write_study(run_directory, study_config(), [0] * 4, changed_blocks=slower_with_itself)
    jobs = job_steps(load_run(run_directory).steps)
    assert own_overhead(jobs).tolist() == pytest.approx([1.5 * MS] * 6)
    assert own_overhead(jobs[jobs["phase"] != SELF_ALLREDUCE]).empty


def test_one_rank_alone_waits_for_nobody_and_exposes_nothing(run_directory: Path) -> None:
    write_study(run_directory, study_config(), [0, 0, 1, 1], changed_blocks=slower_with_itself)
    run = load_run(run_directory)
    jobs = job_steps(run.steps)
    links = Links(0.04e9, 0.1e9, "given")
    alone, _, four = ladders(run, jobs, curve_points(jobs), "train_step", links)
    own = costs(alone)
    assert own[[WAITING, EXPOSED, OVERHEAD, WIRE]].to_numpy().tolist() == [[0.0] * 4] * 6
    assert own[OPTIMIZER].tolist() == pytest.approx([2.0 * MS] * 6)
    # 1 MB over two nodes of two: 2 (1/2) / 0.1 GB/s inside, 2 (1/2) / 2 / 0.04 GB/s between them
    assert four.wire_s == pytest.approx(10.0 * MS + 12.5 * MS)
    assert four.on_nodes == (2, 2)
