from __future__ import annotations

import signal
from pathlib import Path

import pytest

from distbench.study import study_files
from distbench.study.study_files import Verdict
from distbench.tune import tune_files
from distbench.tune.rounds import Failure
from distbench.tune.tune_files import RATE, Purpose
from distbench.tune.tune_runner import OVER_BUDGET
from tests.tune_fakes import TuneRuns, tuning_of


@pytest.fixture
def runs(tmp_path: Path) -> TuneRuns:
    return TuneRuns(tmp_path, tuning_of(), budget_s=100.0)


def test_a_launch_gives_its_rate_and_is_on_record(runs: TuneRuns) -> None:
    runner = runs.runner()
    assert runner.rate((1,), 1) == pytest.approx(8 / 0.0100135)
    assert runner.rate((1,), 2) == pytest.approx(8 / 0.0100235)
    assert runs.launcher.launched == ["batch_size 4"] * 2
    saved = tune_files.load(runs.record.layout.directory)
    assert saved.launches == {Purpose(RATE, (1,), 1): 1, Purpose(RATE, (1,), 2): 2}
    assert saved.spent_s == pytest.approx(20.0)
    assert "round 1 of batch_size 4 begins, 1 min 40 s left" in runs.launcher.err.getvalue()


def test_what_is_on_record_is_read_and_not_launched_again(runs: TuneRuns) -> None:
    first = runs.runner().rate((1,), 1)
    again = runs.runner()
    again.launcher = None
    assert again.rate((1,), 1) == first
    assert again.rate((1,), 2) is None
    assert runs.launcher.launched == ["batch_size 4"]


def test_one_rank_beside_all_gives_the_efficiency(runs: TuneRuns) -> None:
    runs.launcher.step_ms = lambda cell, number: {1: 8.0, 2: 10.0}
    found = runs.runner().efficiency((0,))
    assert found is not None
    assert not isinstance(found, Failure)
    assert found.efficiency.value == pytest.approx(0.8, rel=1e-3)


def test_failures_are_told_with_their_cause_and_stay_failures(runs: TuneRuns) -> None:
    verdict = Verdict(study_files.OUT_OF_MEMORY, "rank 1 failed with MemoryError", 3.0)
    runs.launcher.verdict_of = lambda cell, number: verdict
    wanted = Failure("out of memory: rank 1 failed with MemoryError")
    assert runs.runner().rate((1,), 1) == wanted
    assert runs.runner().rate((1,), 1) == wanted
    assert len(runs.launcher.launched) == 1


def test_what_no_device_can_run_is_refused_without_a_launch(tmp_path: Path) -> None:
    tuning = tuning_of(run={"steps": 3}, axes={"blocks": [3, 4]})
    runs = TuneRuns(tmp_path, tuning)
    found = runs.runner().rate((1,), 1)
    assert isinstance(found, Failure)
    assert "--blocks is 4 and --steps is 3" in found.cause
    assert runs.launcher.launched == []


def test_an_interrupted_launch_is_run_again(runs: TuneRuns) -> None:
    ended = Verdict(study_files.INTERRUPTED, "the tuning was ended by SIGTERM", 3.0)
    runs.launcher.verdict_of = lambda cell, number: ended if number == 1 else None
    runner = runs.runner()
    assert runner.rate((1,), 1) is None
    assert runner.why_stopped == "the tuning was ended by SIGTERM"
    assert runs.runner().rate((1,), 1) is not None
    assert runs.record.launches == {Purpose(RATE, (1,), 1): 2}


def test_after_a_signal_nothing_is_started(runs: TuneRuns) -> None:
    runs.launcher.interrupts.number = signal.SIGINT
    assert runs.runner().rate((1,), 1) is None
    assert runs.launcher.launched == []


def test_no_launch_begins_that_cannot_end_within_the_budget(tmp_path: Path) -> None:
    runs = TuneRuns(tmp_path, tuning_of(ranks=1), budget_s=100.0)
    runner = runs.runner()
    done = 0
    while runner.rate((0,), done + 1) is not None:
        done += 1
    assert done == 10  # of 10 s each in 100 s
    assert runner.why_stopped == "the budget of 1 min 40 s is spent"
    runs.record.budget_s = 105.0
    more = runs.runner()
    more.budget.spent_before_s = 100.0
    for number in range(1, 11):
        more.rate((0,), number)
    assert more.rate((0,), 11) is None
    assert more.why_stopped == (
        "the next launch may take 10 s by what launches took so far, and 5 s of the budget of "
        "1 min 45 s were left"
    )


def test_the_running_launch_is_ended_with_the_budget(runs: TuneRuns) -> None:
    runner = runs.runner()
    runner.rate((0,), 1)
    (limit,) = runs.launcher.limits
    assert limit is not None
    assert (limit.after_s, limit.state, limit.cause) == (100.0, "interrupted", OVER_BUDGET)
    runner.budget.total_s = 1e6
    runner.rate((0,), 2)
    last = runs.launcher.limits[-1]
    assert last is not None
    assert (last.after_s, last.state) == (3600, "timeout")


def test_time_is_kept_for_the_efficiency_of_the_best(runs: TuneRuns) -> None:
    runner = runs.runner()
    assert runner.efficiency((0,)) is not None
    done = 0
    while runner.rate((0,), done + 1) is not None:
        done += 1
    assert done == 7  # 20 s are kept
    assert "kept for the efficiency" in runner.why_stopped
    assert runner.efficiency((1,)) is not None


def test_at_most_a_quarter_is_kept_where_nobody_knows_how_long_that_takes(runs: TuneRuns) -> None:
    runner = runs.runner()
    done = 0
    while runner.rate((0,), done + 1) is not None:
        done += 1
    assert done == 7
    assert "25 s of it kept for the efficiency" in runner.why_stopped


def test_whether_half_is_spent_is_told_alike_ever_after(runs: TuneRuns) -> None:
    runner = runs.runner()
    assert not runner.is_half_spent(1)
    runs.clock.advance(60 * 10**9)
    assert not runner.is_half_spent(1)
    assert runner.is_half_spent(2)
    assert tune_files.load(runs.record.layout.directory).half_spent == {1: False, 2: True}
