from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from distbench.errors import OutputError
from distbench.layout import StudyLayout
from distbench.report.study_report import CellStanding, LaunchStanding, cells_frame, report_study
from distbench.study import study_files
from distbench.study.study_command import report
from distbench.study.study_files import StudyRecord, Verdict
from tests.study_fakes import run_of_cell, study_of


def begun(folder: Path, **tables: Any) -> StudyRecord:
    return study_files.create(study_of(**tables), str(folder / "study"), "")


def measured(record: StudyRecord, cell: int, step_ms: Any, attempt: int = 1, **header: Any) -> None:
    layout = study_files.new_attempt(record, record.cells[cell], attempt)
    run_of_cell(layout.run.directory, record.cells[cell], step_ms, drift_ms=0.001, **header)
    study_files.write_verdict(layout, Verdict("complete", wall_s=12.5))


def failed(record: StudyRecord, cell: int, state: str, cause: str, attempt: int = 1) -> None:
    layout = study_files.new_attempt(record, record.cells[cell], attempt)
    study_files.write_verdict(layout, Verdict(state, cause, 1.5))


@pytest.fixture
def sizes(tmp_path: Path) -> StudyRecord:
    """Two networks at 1, 2 and 4 ranks; the second lacks its size 4, which has failed twice."""
    record = begun(tmp_path, study={"ranks": 0}, axes={"config": ["A", "D"], "sizes": [1, 2, 4]})
    for cell, step_ms in enumerate((10.0, 12.5, 16.0, 20.0, 25.0)):
        measured(record, cell, step_ms)
    failed(record, 5, "out of memory", "rank 1 failed with MemoryError | `x`")
    failed(record, 5, "timeout", "not finished after 1 h 0 min (step 3 of 9)", attempt=2)
    return record


def test_every_curve_has_its_table_and_every_failure_its_cause(sizes: StudyRecord) -> None:
    text = report(sizes)
    lines = text.splitlines()
    assert lines[0] == "small: 5 of 6 cells are complete; 2 launch(es) failed"
    curve = next(line for line in lines if line.startswith("Curve 1"))
    assert curve.startswith("Curve 1: config A (NOT VGG: A with width ×0.25")
    assert curve.endswith("on CPUs, train_step)")
    rows = [line.split() for line in lines if re.match(r"[124] +1 +1 ", line)]
    assert [row[0] for row in rows] == ["1", "2", "4", "1", "2"]
    # 8 images in 10.0035 ms; 32 in 16.0035 ms; their ratio per rank is 62.5 %
    assert rows[0][3] == "799.7"
    assert rows[2][3] == "2000"
    assert "62.5 %" in lines[lines.index(curve) + 4]
    assert "Baseline of every speed-up: size 1 (no communication): launches of its own, " in text
    assert "out of memory: config D, size 4, launch 1: rank 1 failed with MemoryError" in text
    assert "timeout: config D, size 4, launch 2: not finished after 1 h 0 min" in text
    assert "missing: config D, size 4: 0 of 1 launch(es)" in text
    assert "--repeat 5 gives one that does" in text


def test_the_page_holds_the_same_and_what_is_alike(sizes: StudyRecord) -> None:
    report(sizes)
    page = (sizes.layout.derived / "study.md").read_text()
    assert page.startswith("# small\n\n**5 of 6 cells are complete; 2 launch(es) failed.**\n")
    assert page.count("## Curve ") == 2
    assert "![Throughput by the number of ranks](throughput.png)" in page
    assert "| 4 | 1 | 1 | 2000 |" in page
    failure = (
        "| config D, size 4 | 1 | out of memory | rank 1 failed with MemoryError \\| \\`x\\` |"
    )
    assert failure in page
    assert "- missing: config D, size 4: 0 of 1 launch(es)" in page
    alike = page.partition("## Alike in all curves")[2]
    assert "| batch_size | 8 |" in alike
    assert "| config |" not in alike


def test_the_frames_hold_what_the_tables_round(sizes: StudyRecord) -> None:
    report(sizes)
    cells = pd.read_csv(sizes.layout.derived / "cells.csv")
    assert len(cells) == 7
    assert cells["state"].tolist() == ["complete"] * 5 + ["out of memory", "timeout"]
    assert cells["wall_s"].tolist() == [12.5] * 5 + [1.5] * 2
    assert cells["config"].tolist() == ["A"] * 3 + ["D"] * 4
    curves = pd.read_csv(sizes.layout.derived / "curves.csv")
    assert curves["size"].tolist() == [1, 2, 4, 1, 2]
    assert curves["label"].tolist() == ["config A"] * 3 + ["config D"] * 2
    assert curves["efficiency"].tolist() == pytest.approx(
        [1, 10.0035 / 12.5035, 10.0035 / 16.0035, 1, 20.0035 / 25.0035]
    )


def test_the_same_cells_give_the_same_bytes(sizes: StudyRecord) -> None:
    report(sizes)
    first = {path.name: path.read_bytes() for path in sizes.layout.derived.iterdir()}
    shutil.rmtree(sizes.layout.derived)
    report(sizes)
    assert {path.name: path.read_bytes() for path in sizes.layout.derived.iterdir()} == first
    tables = {"cells.csv", "curves.csv", "study.html", "study.md"}
    assert set(first) == {*tables, "throughput.png", "throughput.svg"}
    page = first["study.html"].decode()
    assert page.count("<svg") == 1
    assert "Method" in page


def test_cells_of_one_size_share_a_table(tmp_path: Path) -> None:
    record = begun(tmp_path, axes={"config": ["A", "D"]})
    measured(record, 0, 10.0)
    measured(record, 1, 20.0)
    text = report(record)
    assert (
        "One size was measured (several networks, NOT VGG, batch 8 per rank, on CPUs, train_"
        in text
    )
    # 16 images in 10.001 to 10.006 ms
    assert re.search(r"\nconfig A +2 +1 +1 +1599 +1599 to 1600 +rounds\n", text)
    assert "No speed-up: nothing to compare with." in text
    assert "efficiency" not in text


def test_a_study_before_its_first_cell(tmp_path: Path) -> None:
    record = begun(tmp_path, study={"repeat": 2}, axes={"config": ["A", "D"]})
    text = report(record)
    assert text.splitlines()[0] == "small: 0 of 2 cells are complete"
    assert "missing: config A: 0 of 2 launch(es)" in text
    assert "## Alike" not in (record.layout.derived / "study.md").read_text()
    cells = pd.read_csv(record.layout.derived / "cells.csv")
    assert cells["state"].tolist() == ["missing", "missing"]
    assert pd.read_csv(record.layout.derived / "curves.csv").empty


def test_launches_of_the_allreduce_alone_are_no_curve(tmp_path: Path) -> None:
    record = begun(tmp_path, run={"phases": "allreduce"})
    measured(record, 0, 10.0)
    text = report(record)
    assert "Curve" not in text
    assert "note: 1 launch(es) ran no phase that computes" in text


def test_threads_that_part_the_sizes_are_named(tmp_path: Path) -> None:
    record = begun(tmp_path, study={"ranks": 0}, axes={"sizes": [1, 2]})
    measured(record, 0, 10.0)
    threads = {"kind": "CPU", "name": "x", "nvml_name": "", "threads": 9, "threads_reason": "y"}
    measured(record, 1, 10.0, device=threads)
    assert "with threads_per_rank in [run] all sizes use the same" in report(record)


def test_too_good_an_efficiency_is_suspect(tmp_path: Path) -> None:
    record = begun(tmp_path, study={"ranks": 0}, axes={"sizes": [1, 2]})
    measured(record, 0, 10.0)
    measured(record, 1, 9.0)
    text = report(record)
    assert "suspect: curve 1, size 2: an efficiency of 111.1 % needs an explanation" in text


def test_text_of_the_user_is_shown_as_it_is(tmp_path: Path) -> None:
    """A hostile name and label: in Markdown, in CSV, in the chart and on the terminal."""
    record = begun(
        tmp_path,
        study={"name": "<script>|`x`"},
        horovod={"HOROVOD_CYCLE_TIME": ["=cmd()|$\\frac$", "2"]},
    )
    measured(record, 0, 10.0)
    failed(record, 1, "failed", "=1+1\x1b[2J|x")
    text = report(record)
    assert "\x1b" not in text
    page = (record.layout.derived / "study.md").read_text()
    assert page.startswith("# \\<script\\>\\|\\`x\\`\n")
    assert "\x1b" not in page
    cells = pd.read_csv(record.layout.derived / "cells.csv")
    assert cells["HOROVOD_CYCLE_TIME"].tolist() == ["'=cmd()|$\\frac$", "2"]
    assert cells["cause"].tolist()[1] == "'=1+1?[2J|x"


def test_cells_that_were_never_launched_have_a_row() -> None:
    never = CellStanding("id-1", "one", 2, "a:2", {"config": "A"}, 1, 0, 0, ())
    twice = [LaunchStanding(1, "failed", "why", 2.0), LaunchStanding(2, "complete", "", 3.0)]
    often = CellStanding("id-2", "two", 2, "a:2", {"config": "D"}, 1, 1, 1, twice)
    frame = cells_frame([never, often])
    assert frame["cell"].tolist() == ["id-1", "id-2", "id-2"]
    assert frame["attempt"].tolist() == [0, 1, 2]
    assert frame["state"].tolist() == ["missing", "failed", "complete"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "derived").write_text("")
    with pytest.raises(OutputError, match="derived cannot be made"):
        report_study(StudyLayout(tmp_path), "x", [], [])
