from __future__ import annotations

from pathlib import Path

from distbench.study import study_files
from distbench.study.study_files import StudyRecord, Verdict
from distbench.study.study_launches import finished_launches, unfinished_cells
from tests.study_fakes import run_of_cell, study_of


def begun(folder: Path, emitted: str = "") -> StudyRecord:
    study = study_of(study={"repeat": 2, "hosts": ["localhost:2"]}, axes={"config": ["A", "D"]})
    return study_files.create(study, str(folder / "study"), emitted)


def attempt(record: StudyRecord, cell: int, number: int, state: str) -> Path:
    layout = study_files.new_attempt(record, record.cells[cell], number)
    if state == "complete":
        run_of_cell(layout.run.directory, record.cells[cell])
    study_files.write_verdict(layout, Verdict(state, "" if state == "complete" else "why", 1.0))
    return layout.run.directory


def test_complete_launches_only_with_their_place_in_the_study(tmp_path: Path) -> None:
    record = begun(tmp_path)
    attempt(record, 0, 1, "failed")
    second = attempt(record, 0, 2, "complete")
    first = attempt(record, 1, 1, "complete")
    found = finished_launches(record)
    assert [(one.cell, one.attempt, one.directory) for one in found] == [
        ("config A", 2, second),
        ("config D", 1, first),
    ]
    assert (found[0].varied, found[0].launcher, found[0].hosts) == (
        {"config": "A"},
        "local",
        "localhost:2",
    )


def test_the_launcher_of_an_emitted_study_is_its_batch_system(tmp_path: Path) -> None:
    record = begun(tmp_path, emitted="slurm")
    attempt(record, 0, 1, "complete")
    assert finished_launches(record)[0].launcher == "slurm"


def test_cells_that_lack_launches_are_named(tmp_path: Path) -> None:
    record = begun(tmp_path)
    attempt(record, 0, 1, "complete")
    attempt(record, 0, 2, "complete")
    attempt(record, 1, 1, "failed")
    attempt(record, 1, 2, "complete")
    assert unfinished_cells(record) == ["1 of 2 launch(es) of config D"]
