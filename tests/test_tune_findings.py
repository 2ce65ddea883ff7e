from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distbench.report.tune_rows import CandidateRow, TuneFindings
from distbench.study import study_files
from distbench.study.study import Cell
from distbench.study.study_files import Verdict
from distbench.tune.search import search
from distbench.tune.tune_file import Tuning
from distbench.tune.tune_findings import efficiency_order, findings_of
from tests.tune_fakes import TuneRuns, tuning_of


def found_by(
    folder: Path,
    tuning: Tuning,
    step_ms: Callable[[Cell, int], Any],
    budget_s: float = 1e6,
    verdict_of: Callable[[Cell, int], Verdict | None] = lambda cell, number: None,
) -> TuneFindings:
    """What is found where launches take these times."""
    runs = TuneRuns(folder, tuning, budget_s)
    runs.launcher.step_ms, runs.launcher.verdict_of = step_ms, verdict_of
    runner = runs.runner()
    found = search(tuning.space, runner, 0)
    runs.record.ended = runner.why_stopped
    for choice in efficiency_order(found):
        runner.efficiency(choice)
    runs.record.spent_s = runner.budget.spent_s
    return findings_of(runs.record)


def by_batch(cell: Cell, number: int) -> Any:
    """Four images take 1.8 times as long as two, and 1.5 times as long where one rank is alone."""
    wobble = 0.004 * ((number * 7) % 5)
    if cell.settings["batch_size"] == 2:
        return {1: 9.0 + wobble, 2: 10.0 + wobble}
    return {1: 13.5 + wobble, 2: 18.0 + wobble}


def row_of(findings: TuneFindings, label: str) -> CandidateRow:
    return next(row for row in findings.candidates if row.label == label)


def test_the_winner_and_what_is_said_of_it(tmp_path: Path) -> None:
    findings = found_by(tmp_path, tuning_of(), by_batch)
    assert findings.headline.startswith(
        "batch_size 4 gives the most images/s at 2 rank(s): 444.1, 1.112 times the default's"
    )
    assert findings.headline.endswith("All others are slower.")
    assert "train_step of 2 rank(s), on CPUs" in findings.about
    assert findings.about.startswith("NOT VGG")
    first, second = findings.candidates
    assert (first.label, first.outcome, first.is_winner) == ("batch_size 4", "WINNER", True)
    assert second.ratio == pytest.approx(0.9, rel=1e-2)
    assert second.ratio_low <= second.ratio <= second.ratio_high < 1
    assert second.outcome.startswith("slower; left after round 2: clearly slower")
    assert "--batch-size 4" in findings.command
    assert "batch_size = 4" in findings.toml
    (effect,) = findings.effects
    assert (effect.setting, effect.level) == ("batch_size", "4")
    assert effect.low <= effect.ratio <= effect.high
    assert effect.ratio == pytest.approx(1.111, rel=1e-2)


def test_it_is_told_where_efficiency_ranks_them_otherwise(tmp_path: Path) -> None:
    findings = found_by(tmp_path, tuning_of(), by_batch)
    assert row_of(findings, "batch_size 4").efficiency == pytest.approx(0.75, rel=1e-2)
    assert row_of(findings, "batch_size 2").efficiency == pytest.approx(0.9, rel=1e-2)
    (note,) = (note for note in findings.notes if "efficiency" in note)
    assert note.startswith(
        "note: efficiency ranks them otherwise: batch_size 2 has 90.0 % and the winner 75.0 %"
    )
    assert "choose by images/s" in note
    assert any("changes what is computed in training" in note for note in findings.notes)


def test_it_is_told_where_both_rank_them_alike(tmp_path: Path) -> None:
    def step_ms(cell: Cell, number: int) -> Any:
        return {1: 10.0, 2: 10.0 + cell.settings["batch_size"] % 4 + 0.001 * number}

    findings = found_by(tmp_path, tuning_of(), step_ms)
    assert "note: the winner has the highest efficiency of those measured, too" in findings.notes


def test_efficiencies_that_are_alike_are_called_so(tmp_path: Path) -> None:
    def step_ms(cell: Cell, number: int) -> Any:
        return {1: 10.0, 2: 10.001 if cell.settings["batch_size"] == 2 else 10.003}

    (note,) = (one for one in found_by(tmp_path, tuning_of(), step_ms).notes if "efficienc" in one)
    assert note.startswith("note: their efficiencies are not told apart: batch_size 2 has 100.0 %")


def test_alike_settings_are_called_alike(tmp_path: Path) -> None:
    findings = found_by(
        tmp_path,
        tuning_of(axes={"threads_per_rank": [1, 2]}),
        lambda cell, number: 10.0 + 0.003 * ((number * 7) % 5),
    )
    assert "No difference that matters (1 %) to: threads_per_rank" in findings.headline


def test_a_failure_is_told_with_its_cause(tmp_path: Path) -> None:
    failed = Verdict(study_files.FAILED, "the network holds a NaN", 2.0)
    findings = found_by(
        tmp_path,
        tuning_of(axes={"batch_size": [2, 4, 8]}),
        lambda cell, number: by_batch(cell, number),
        verdict_of=lambda cell, number: failed if cell.settings["batch_size"] == 8 else None,
    )
    row = row_of(findings, "batch_size 8")
    assert (row.launches, row.outcome) == (0, "failed: the network holds a NaN")
    assert findings.candidates[-1] == row
    assert "1 could not be run" in findings.headline
    assert findings.effects[-1].note == "failed: the network holds a NaN"


def test_a_search_that_was_cut_short_says_so(tmp_path: Path) -> None:
    findings = found_by(
        tmp_path, tuning_of(), lambda cell, number: 10.0 + 0.1 * number, budget_s=35.0
    )
    assert findings.headline.startswith("NOT DECIDED: so far")
    assert any("the search ended before the leader was known: the " in n for n in findings.notes)
    assert any("launch(es)" in n and "of the budget of 35 s" in n for n in findings.notes)


def test_single_launches_leave_the_choice_at_the_default(tmp_path: Path) -> None:
    findings = found_by(tmp_path, tuning_of(), by_batch, budget_s=20.0)
    assert findings.headline.startswith(
        "NOT DECIDED: so far the best choice at 2 rank(s) is batch_size 2"
    )
    findings_of_both = [row.launches for row in findings.candidates]
    assert max(findings_of_both) == 1
    assert any("no setting was launched twice" in note for note in findings.notes)


def test_nothing_measured_is_no_winner(tmp_path: Path) -> None:
    failed = Verdict(study_files.TIMEOUT, "not finished after 1 s", 1.0)
    findings = found_by(tmp_path, tuning_of(), by_batch, verdict_of=lambda cell, number: failed)
    assert findings.headline == "No setting could be measured."
    assert (findings.command, findings.toml) == ("", "")


def test_one_rank_has_no_efficiency(tmp_path: Path) -> None:
    runs = TuneRuns(tmp_path, tuning_of(ranks=1))
    search(runs.record.tuning.space, runs.runner(), 0)
    assert "note: one rank has no efficiency" in findings_of(runs.record).notes
