from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from distbench.doctor.clock_and_cores import (
    Clock,
    Cores,
    collect_clock,
    collect_cores,
    judge_clock,
    judge_cores,
)
from distbench.doctor.verdicts import NOTE, OK, PROBLEM


def test_the_least_step_of_a_clock_is_found(tmp_path: Path) -> None:
    ticks = count()
    clock = collect_clock(lambda: next(ticks) // 10 * 500, tmp_path / "none")
    assert clock == Clock(tick_ns=500, steps_back=0, source="")
    backwards = iter([5, 3] * 10_000)
    assert collect_clock(lambda: next(backwards), tmp_path / "none").steps_back == 10_000
    assert collect_clock(lambda: 7, tmp_path / "none").tick_ns == 0


@pytest.mark.parametrize(
    ("clock", "level"),
    [
        (Clock(40, 0, "tsc"), OK),
        (Clock(40, 0, ""), OK),
        (Clock(40, 0, "hpet"), NOTE),
        (Clock(5_000, 0, "tsc"), NOTE),
        (Clock(15_000_000, 0, "tsc"), PROBLEM),
        (Clock(0, 0, "tsc"), PROBLEM),
        (Clock(40, 2, "tsc"), PROBLEM),
    ],
)
def test_clocks_are_judged(clock: Clock, level: str) -> None:
    assert [one.level for one in judge_clock(clock)] == [level]


def test_this_machines_clock_and_cores_are_real() -> None:
    assert judge_clock(collect_clock())[0].level in (OK, NOTE)
    assert collect_cores().allowed >= 1


IDLE = Cores(allowed=8, of_machine=16, quota=None, load=0.1)


@pytest.mark.parametrize(
    ("changes", "ranks", "environ", "level", "words"),
    [
        ({}, 4, {}, OK, "4 rank(s) of 2 thread(s)"),
        ({}, 9, {}, NOTE, "wait for each other"),
        ({"quota": 1.5}, 2, {}, NOTE, "a cgroup grants 1.5"),
        ({}, 4, {"DISTBENCH_THREADS_PER_RANK": "4"}, NOTE, "4 threads each"),
        ({}, 2, {"DISTBENCH_THREADS_PER_RANK": "4"}, OK, "4 thread(s)"),
        ({}, 2, {"DISTBENCH_THREADS_PER_RANK": "many"}, OK, "4 thread(s)"),
    ],
)
def test_cores_are_judged(changes: dict, ranks: int, environ, level: str, words: str) -> None:
    said = judge_cores(IDLE._replace(**changes), ranks, environ)
    assert [one.level for one in said] == [level]
    assert words in said[0].found


def test_others_that_compute_here_are_noted() -> None:
    assert [one.level for one in judge_cores(IDLE._replace(load=9.0), 1, {})] == [OK, NOTE]
