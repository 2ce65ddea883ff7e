from __future__ import annotations

from typing import Any

import pytest

from distbench.doctor.allreduce_verdicts import judge, speeds, stages, telling_line
from distbench.doctor.probe_rank import LOADING
from distbench.doctor.started_ranks import Started
from distbench.doctor.verdicts import NOTE, OK, PROBLEM


def rank(number: int = 0, size: int = 2, **changes: Any) -> dict[str, Any]:
    reduced = [
        {"bytes": 4, "taken_s": [0.001, 0.002, 0.003], "is_right": True},
        {"bytes": 1 << 20, "taken_s": [0.01 + number, 0.02, 0.03], "is_right": True},
    ]
    facts = {"rank": number, "size": size, "stage": "done", "device": "/CPU:0", "reduced": reduced}
    return {**facts, **changes}


def started(*ranks: dict, exit_code: int | None = 0, **changes: Any) -> Started:
    return Started(exit_code, wall_s=8.0, ranks=ranks, **{"log": "", **changes})


def said(controller: str, found: Started, asked: int = 2) -> list[tuple[str, str]]:
    return [(one.level, one.text) for one in judge(controller, found, asked)]


def test_a_job_that_works_shows_its_bandwidth() -> None:
    verdicts = judge("gloo", started(rank(0), rank(1)), 2)
    assert [one.level for one in verdicts] == [OK] * 3
    assert "busbw" not in verdicts[1].found  # of 4 bytes only the time tells
    # the slowest rank of each repeat counts: 1.01, 0.02 and 0.03 s
    assert verdicts[2].numbers["step_s"] == 0.03
    assert verdicts[2].numbers["algbw_bytes_per_s"] == pytest.approx((1 << 20) / 0.03)
    assert "busbw 0.0350 GB/s" in verdicts[2].found


def test_bus_bandwidth_is_as_nccl_tests_define_it() -> None:
    ranks = [rank(number, 4) for number in range(4)]
    speed = speeds(ranks, 4)[1]
    assert speed.busbw_bytes_per_s == pytest.approx(speed.algbw_bytes_per_s * 2 * 3 / 4)
    assert speeds([rank(0, 1)], 1)[1].busbw_bytes_per_s == 0
    assert "busbw" not in judge("gloo", started(rank(0, 1)), 1)[2].found


def test_mpi4py_that_sees_the_same_is_said() -> None:
    both = [rank(0, mpi4py_size=2), rank(1, mpi4py_size=2)]
    assert "as mpi4py does on 2" in said("mpi", started(*both))[0][1]


@pytest.mark.parametrize("exit_code", [0, 1, None])
def test_ranks_that_do_not_meet_are_the_first_to_be_said(exit_code: int | None) -> None:
    alone = [rank(0, size=1, mpi4py_size=1)] * 2
    ((level, text),) = said("mpi", started(*alone, exit_code=exit_code))
    assert level == PROBLEM
    assert "2 ranks were started and Horovod sees 1" in text
    assert "rebuild it against this one" in text


def test_mpi4py_of_another_mpi_is_a_problem() -> None:
    both = [rank(0, mpi4py_size=1), rank(1, mpi4py_size=1)]
    ((level, text),) = said("mpi", started(*both))
    assert level == PROBLEM
    assert "mpi4py sees 1 rank(s) and Horovod 2" in text


def test_a_wrong_sum_shows_no_speed() -> None:
    wrong = rank(1)
    wrong["reduced"][1]["is_right"] = False
    told = said("gloo", started(rank(0), wrong))
    assert [level for level, _ in told] == [OK, PROBLEM]
    assert "wrong on rank(s) 1" in told[1][1]


def test_a_hang_names_the_stage_of_each_rank() -> None:
    hung = [rank(0, 3, stage="hvd.init"), rank(1, 3)]
    ((level, text),) = said("gloo", started(*hung, exit_code=None), asked=3)
    assert level == PROBLEM
    assert "not finished after 8 s" in text
    assert "rank 0 was at: hvd.init, 1 rank(s) never started" in text


def test_ranks_that_still_load_are_slow_and_not_unreachable() -> None:
    slow = [rank(0, stage=LOADING), rank(1, stage="hvd.init")]
    ((level, text),) = said("gloo", started(*slow, exit_code=None))
    assert level == PROBLEM
    assert "try again when nobody else computes here" in text
    assert "firewall" not in text


def test_a_failure_shows_the_line_that_tells_most() -> None:
    log = "[1,0]<stderr>:starting\n[1,0]<stderr>:ImportError: libmpi.so.40\n-----\n"
    ((_, text),) = said("mpi", started(rank(0, stage="hvd.init"), exit_code=1, log=log))
    assert "exit code 1" in text
    assert "its log: ImportError: libmpi.so.40" in text


def test_a_rank_that_leaves_early_with_0_is_a_failure() -> None:
    assert said("gloo", started(rank(0)))[0][0] == PROBLEM


def test_what_was_left_running_is_said_too() -> None:
    told = said("gloo", started(rank(0), rank(1), strays=2))
    assert told[-1][0] == NOTE
    told = said("gloo", started(rank(0), rank(1), immortal=[7]))
    assert told[-1][0] == PROBLEM
    assert "kill -9 7" in told[-1][1]


def test_a_file_of_facts_that_was_torn_breaks_nothing() -> None:
    assert said("gloo", started({}, {}, exit_code=1))[0][0] == PROBLEM
    assert stages(started({}), 1) == "rank ? was at: its first line"


@pytest.mark.parametrize(
    ("log", "line"),
    [("", "it printed nothing"), ("----\n", "it printed nothing"), ("one\ntwo\n", "two")],
)
def test_telling_line(log: str, line: str) -> None:
    assert telling_line(log) == line
