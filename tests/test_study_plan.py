from __future__ import annotations

import io
from pathlib import Path

import pytest

from distbench.study import study_files
from distbench.study.study import parse_study
from distbench.study.study_files import StudyRecord, Verdict
from distbench.study.study_plan import (
    LINE_EVERY_S,
    Console,
    FinishedTime,
    RunProgress,
    duration,
    expected_s,
    finished_times,
    plan_lines,
    time_left,
)
from tests.study_fakes import run_of_cell, study_of


@pytest.fixture
def record(tmp_path: Path) -> StudyRecord:
    """A study of two cells, of 7 and of 14 steps."""
    study = study_of(axes={"warmup_steps": [1, 8]})
    return study_files.create(study, str(tmp_path / "study"), "")


def measured(record: StudyRecord, cell: int, number: int, verdict: Verdict) -> None:
    layout = study_files.new_attempt(record, record.cells[cell], number)
    run_of_cell(layout.run.directory, record.cells[cell])
    study_files.write_verdict(layout, verdict)


def times(record: StudyRecord) -> list[FinishedTime]:
    return finished_times(one for of_cell in record.all_attempts().values() for one in of_cell)


def test_nothing_is_known_before_a_launch_is_complete(record: StudyRecord) -> None:
    study_files.new_attempt(record, record.cells[0], 1)
    assert times(record) == []
    assert expected_s(record.cells[0], []) is None
    assert time_left(record.cells, [], 90) == (
        "time unknown until the first launch is complete, at most 3 min 0 s by the time limit"
    )


def test_a_cell_takes_as_long_as_its_own_launches_did_else_by_its_steps(
    record: StudyRecord,
) -> None:
    first, second = record.cells
    for number, wall_s in enumerate((14.0, 28.0, 21.0), start=1):
        measured(record, 0, number, Verdict("complete", wall_s=wall_s))
    found = times(record)
    assert [(one.cell_id, one.steps, one.wall_s) for one in found] == [
        (first.id, 7, 14.0),
        (first.id, 7, 28.0),
        (first.id, 7, 21.0),
    ]
    assert expected_s(first, found) == 21.0
    assert expected_s(second, found) == 42.0  # 14 steps of 3 s
    measured(record, 1, 1, Verdict("complete", wall_s=30.0))
    assert expected_s(second, times(record)) == 30.0
    assert time_left([first, second, second], times(record), 3600) == (
        "about 1 min 21 s, judging by 4 complete launch(es), at most 3 h 0 min by the time limit"
    )


def test_a_time_that_nobody_took_is_no_guide(record: StudyRecord) -> None:
    measured(record, 0, 1, Verdict("complete", wall_s=None))
    layout = study_files.new_attempt(record, record.cells[1], 1)
    study_files.write_verdict(layout, Verdict("failed", "why", 2.0))
    assert times(record) == []


def test_the_plan_counts_what_is_done_and_what_failed(record: StudyRecord) -> None:
    measured(record, 0, 1, Verdict("complete", wall_s=14.0))
    layout = study_files.new_attempt(record, record.cells[1], 1)
    study_files.write_verdict(layout, Verdict("timeout", "slow", 2.0))
    assert plan_lines(record.cells, 2, record.all_attempts(), 60) == [
        "cell            ranks  steps  launches  done  failed  time of a launch",
        "warmup_steps 1      2      7         2     1       0        about 14 s",
        "warmup_steps 8      2     14         2     0       1        about 28 s",
        "A time is the median of the cell's own complete launches; of a cell without, its steps "
        "times the median time per step of the others, start-up included.",
        "3 launch(es) to run: about 1 min 10 s, judging by 1 complete launch(es), "
        "at most 3 min 0 s by the time limit",
    ]


def test_the_plan_of_a_whole_study_has_nothing_to_run(record: StudyRecord) -> None:
    for cell in (0, 1):
        measured(record, cell, 1, Verdict("complete", wall_s=1.0))
    lines = plan_lines(record.cells, 1, record.all_attempts(), 60)
    assert lines[-1] == "0 launch(es) to run: all are complete"


def test_without_a_preset_both_numbers_of_steps_are_shown(tmp_path: Path) -> None:
    study = parse_study({"study": {"name": "x", "ranks": 1}}, "study.toml")
    record = study_files.create(study, str(tmp_path / "study"), "")
    lines = plan_lines(record.cells, 1, {}, 60)
    assert "  550 or 70*  " in lines[1]
    assert lines[2].startswith("* on GPUs, or on CPUs")
    measured(record, 0, 1, Verdict("complete", wall_s=7.0))  # on CPUs
    assert "     70  " in plan_lines(record.cells, 2, record.all_attempts(), 60)[1]


@pytest.mark.parametrize(
    ("time_s", "text"),
    [
        (0.2, "1 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (3599.4, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (7500, "2 h 5 min"),
        (100 * 3600, "100 h 0 min"),
    ],
)
def test_durations_are_for_a_person(time_s: float, text: str) -> None:
    assert duration(time_s) == text


def test_the_last_step_in_a_growing_log_is_told(tmp_path: Path) -> None:
    log = tmp_path / "log"
    progress = RunProgress(log)
    assert progress.look() == ""
    line = "[0]<stderr>:distbench: step 10 of 120, train_step, block 1\n"
    log.write_text("no step here\n" + line[:30])
    assert progress.look() == ""
    with open(log, "a") as file:
        file.write(line[30:])
    assert progress.look() == "step 10 of 120"
    assert progress.look() == "step 10 of 120"
    with open(log, "a") as file:
        file.write(line.replace("10 of", "20 of") + line.replace("10 of", "30 of"))
    assert progress.look() == "step 30 of 120"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_one_line_moves() -> None:
    out, err = io.StringIO(), Terminal()
    console = Console(out, err)
    console.table(["a table"])
    assert console.update("step 1", since_last_s=0.1)
    assert console.update("step 2", since_last_s=0.1)
    console.say("done")
    console.say("next")
    assert out.getvalue() == "a table\n"
    assert err.getvalue() == (
        "\r\x1b[Kdistbench: step 1\r\x1b[Kdistbench: step 2\r\x1b[Kdistbench: done\n"
        "distbench: next\n"
    )


def test_elsewhere_a_line_comes_now_and_then() -> None:
    err = io.StringIO()
    console = Console(io.StringIO(), err)
    assert not console.update("step 1", since_last_s=LINE_EVERY_S - 1)
    assert console.update("step 2", since_last_s=LINE_EVERY_S)
    assert err.getvalue() == "distbench: step 2\n"


def test_no_text_drives_the_terminal() -> None:
    out, err = io.StringIO(), io.StringIO()
    console = Console(out, err)
    console.table(["\x1b[2J"])
    console.say("a\rb")
    assert (out.getvalue(), err.getvalue()) == ("?[2J\n", "distbench: a?b\n")
