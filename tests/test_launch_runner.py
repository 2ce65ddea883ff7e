"""One launch with other names and limits than a study's; all else is in test_study_runner."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from distbench.layout import TuneLayout
from distbench.study import launch_runner, processes, study_files
from distbench.study.launch_runner import Interrupts, LaunchRunner, Limit, ending, next_number
from distbench.study.study import MARK_VARIABLE
from distbench.study.study_files import Verdict
from distbench.study.study_plan import Console
from tests.study_fakes import set_rules, stand_in_launcher
from tests.tune_fakes import tuning_of

MARK = "8d5b3c0e-0d57-4a8e-9f0e-3a5a0f0d7c11"


def runner(folder: Path, *rules: tuple[str, str]) -> LaunchRunner:
    environ = stand_in_launcher(folder / "bin")
    set_rules(folder / "bin", rules)
    console = Console(io.StringIO(), io.StringIO())
    layout = TuneLayout(folder / "tuning")
    return LaunchRunner(tuning_of().study, layout, MARK, environ, console, Interrupts(), "tuning")


def test_a_launch_of_a_tuning_lies_below_candidates(tmp_path: Path) -> None:
    cell = tuning_of().cell((1,))
    attempt = runner(tmp_path).launch(cell, 1, "round 1")
    assert attempt.verdict.state == study_files.COMPLETE
    assert attempt.layout.directory == tmp_path / "tuning" / "candidates" / cell.id / "attempt-1"
    assert next_number([attempt]) == 2
    assert next_number([]) == 1
    assert ending(attempt.verdict).startswith("is complete after")


def test_a_launch_is_ended_at_its_limit_and_counts_as_that_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch_runner, "LOOK_EVERY_S", 0.1)
    limit = Limit(1.0, study_files.INTERRUPTED, "the budget was spent before it ended")
    cell = tuning_of().cell((1,))
    attempt = runner(tmp_path, ("--batch-size 4", "hang")).launch(cell, 1, "round 1", limit)
    assert attempt.verdict.state == study_files.INTERRUPTED
    assert attempt.verdict.cause.startswith("the budget was spent before it ended (")
    assert processes.marked(MARK_VARIABLE, MARK) == []


def test_endings_in_words() -> None:
    assert ending(Verdict("failed", "no", 3.0)) == "ended after 3 s: failed: no"
