from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distbench.durable_files import json_document, read_object
from distbench.layout import RunLayout
from distbench.study.run_evidence import problems_of_run, rank_records
from distbench.study.study import Cell
from tests.study_fakes import only_cell, run_of_cell


def problems(layout: RunLayout, cell: Cell) -> list[str]:
    return problems_of_run(layout, cell.ranks, cell.settings)


@pytest.mark.parametrize("run", [{}, {"sizes": "1,2"}, {"sizes": "auto"}, {"phases": "forward"}])
def test_a_whole_run_has_no_problems(run: dict[str, Any], run_directory: Path) -> None:
    cell = only_cell(run=run)
    assert problems(run_of_cell(run_directory, cell), cell) == []


def test_no_directory_is_no_run(run_directory: Path) -> None:
    assert problems(RunLayout(run_directory), only_cell()) == ["there is no run directory"]


def test_a_run_that_does_not_say_it_is_complete_is_not(run_directory: Path) -> None:
    cell = only_cell()
    layout = run_of_cell(run_directory, cell)
    for document, found in (
        ({"state": "running"}, "running"),
        ({"state": "complete", "exit_code": 4}, "complete"),
        ({}, "there is none, or it cannot be read"),
    ):
        layout.status.write_bytes(json_document(document))
        said = f"its status.json does not say that it is complete ({found})"
        assert problems(layout, cell) == [said]


def change_byte(path: Path) -> None:
    """Changes one digit of a duration in the file's last block."""
    content = path.read_bytes()
    position = content.rindex(b'"duration_ns":[') + len(b'"duration_ns":[')
    path.write_bytes(content[:position] + b"9" + content[position + 1 :])


def cut_end(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def tear_end(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (change_byte, "damaged (wrong checksum)"),
        (cut_end, "rank 1 has no end line"),
        (tear_end, "torn (no line end)"),
        (Path.unlink, "rank 1 left no record (rank-00001.jsonl)"),
    ],
)
def test_a_damaged_file_of_one_rank_is_seen(damage: Any, said: str, run_directory: Path) -> None:
    cell = only_cell()
    layout = run_of_cell(run_directory, cell)
    damage(layout.raw / "rank-00001.jsonl")
    assert said in problems(layout, cell)[0]


def test_the_run_of_another_cell_is_not_taken(run_directory: Path) -> None:
    cell = only_cell(run={"batch_size": 4})
    layout = run_of_cell(run_directory, only_cell(run={"batch_size": 2}))
    assert problems(layout, cell) == ["its config.json has batch_size = 2 and not 4"]


def test_a_run_of_fewer_ranks_is_not_taken(run_directory: Path) -> None:
    cell = only_cell(study={"ranks": 3})
    layout = run_of_cell(run_directory, only_cell())
    assert "rank-00000.jsonl is not of a job of 3 ranks" in problems(layout, cell)
    assert "rank 2 left no record (rank-00002.jsonl)" in problems(layout, cell)


def test_files_of_two_runs_are_not_one(run_directory: Path) -> None:
    cell = only_cell()
    layout = run_of_cell(run_directory, cell)
    document = json.loads(layout.config.read_text())
    layout.config.write_bytes(json_document({**document, "run_id": "another"}))
    assert problems(layout, cell) == ["its config.json and status.json are not of the same run"]


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe", b"{", b"[" * 100_000])
def test_what_is_no_object_is_read_as_an_empty_one(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    assert read_object(tmp_path / "file") == {}


def test_a_foreign_file_among_the_records_is_left_out(run_directory: Path) -> None:
    layout = run_of_cell(run_directory, only_cell())
    (layout.raw / "rank-x.jsonl").write_text("")
    assert [records.rank for records in rank_records(layout)] == [0, 1]
