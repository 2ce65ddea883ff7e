from __future__ import annotations

import dataclasses
import json
import multiprocessing
import shutil
from pathlib import Path

import pytest

from distbench.errors import OutputError, RecordsError, UsageError
from distbench.layout import StudyLayout
from distbench.study import study_files
from distbench.study.study_files import Verdict, create, find, load, locked
from tests.study_fakes import run_of_cell, study_of

AXES = {"config": ["A", "D"]}


def test_every_path_is_inside_the_study() -> None:
    layout = StudyLayout(Path("results/x"))
    attempt = layout.attempt("cell-1", 2)
    assert attempt.directory == Path("results/x/cells/cell-1/attempt-2")
    inner = {attempt.argv, attempt.log, attempt.verdict, attempt.run.directory}
    assert {path.parent for path in inner} == {attempt.directory}
    outer = {layout.study, layout.lock, layout.jobs, layout.derived}
    assert {path.parent for path in outer} == {layout.directory}
    assert len(inner) == len(outer) == 4


def test_a_study_comes_back_as_it_was_written(tmp_path: Path) -> None:
    study = study_of(study={"repeat": 3, "order_seed": 7}, axes=AXES, run={"sizes": "1,2"})
    record = create(study, str(tmp_path / "new" / "study"), emitted="")
    assert load(tmp_path / "new" / "study") == record
    assert (record.name, record.order_seed, record.repeat) == ("small", 7, 3)
    assert [cell.label for cell in record.cells] == ["config A", "config D"]
    assert record.all_attempts() == {cell.id: [] for cell in record.cells}


def test_an_existing_directory_is_never_overwritten(tmp_path: Path) -> None:
    create(study_of(), str(tmp_path / "study"), "")
    with pytest.raises(OutputError, match="exists already and a study is never overwritten"):
        create(study_of(), str(tmp_path / "study"), "")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        create(study_of(), str(tmp_path / "file" / "study"), "")


@pytest.mark.parametrize("name", ["../../outside", "/tmp/outside", "a b", "..", "x" * 99])
def test_the_name_leads_nowhere_else(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    record = create(study_of(study={"name": name}), "", "")
    directory = record.layout.directory.resolve()
    assert directory.parent == (tmp_path / "here" / "results").resolve()
    assert len(directory.name) <= 64
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
    assert find(study_of(study={"name": name}), "") == record


def test_the_newest_study_of_that_name_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = study_of(study={"name": "a study"})
    with pytest.raises(UsageError, match="there is no study 'a study' under results/ to resume"):
        find(study, "")
    older = create(study, "results/a-study-20260101-000000-aaaa", "")
    newer = create(study, "results/a-study-20260102-000000-aaaa", "")
    create(study_of(study={"name": "a study 3"}), "results/a-study-3-20260103-000000-aaaa", "")
    create(study_of(study={"name": "a-study"}), "results/a-study-20260104-000000-aaaa", "")
    assert find(study, "") == newer
    assert find(study, str(older.layout.directory)) == older


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"schema": "distbench.study", "schema_version": 2}',
        '{"schema": "distbench.study", "schema_version": 1, "mark": "x"}',
    ],
)
def test_a_file_that_is_no_study_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text(content)
    with pytest.raises(RecordsError, match=r"is not the study\.json of this distbench"):
        load(tmp_path)
    with pytest.raises(RecordsError, match=r"study\.json cannot be read \(No such file"):
        load(tmp_path / "nowhere")


def test_a_changed_setting_of_a_cell_is_checked_again(tmp_path: Path) -> None:
    record = create(study_of(), str(tmp_path / "study"), "")
    document = json.loads(record.layout.study.read_text())
    document["cells"][0]["settings"]["batch_size"] = -1
    record.layout.study.write_text(json.dumps(document))
    with pytest.raises(RecordsError, match="batch_size is '-1'; it must be a whole number"):
        load(record.layout.directory)
    document["cells"][0]["id"] = "../../outside"
    record.layout.study.write_text(json.dumps(document))
    with pytest.raises(RecordsError, match=r"a cell has the id '../../outside'"):
        load(record.layout.directory)


def test_how_a_launch_ended_follows_from_evidence(tmp_path: Path) -> None:
    record = create(study_of(), str(tmp_path / "study"), "")
    (cell,) = record.cells

    def verdict() -> Verdict:
        (attempt,) = record.attempts(cell)
        return attempt.verdict

    layout = study_files.new_attempt(record, cell, 1)
    assert verdict() == Verdict(
        "interrupted", "nobody saw its end; there is no run directory", None
    )
    run_of_cell(layout.run.directory, cell)
    assert verdict() == Verdict("complete")  # a killed study that had just measured it
    study_files.write_verdict(layout, Verdict("timeout", "too long", 9.5), more=1)
    assert verdict() == Verdict("complete", "", 9.5)
    rank = layout.run.raw / "rank-00001.jsonl"
    whole = rank.read_bytes()
    rank.write_bytes(whole[:-5])
    assert verdict() == Verdict("timeout", "too long", 9.5)
    study_files.write_verdict(layout, Verdict("complete", wall_s=9.5))
    assert verdict().state == "failed"
    assert verdict().cause.startswith("was complete and is not any more: rank-00001.jsonl line")
    shutil.rmtree(layout.run.directory)
    layout.verdict.write_text("{}")
    assert verdict().state == "interrupted"


def test_a_job_that_was_only_written_waits(tmp_path: Path) -> None:
    record = create(study_of(), str(tmp_path / "study"), "slurm")
    layout = study_files.new_attempt(record, record.cells[0], 1)
    assert record.attempts(record.cells[0])[0].verdict.state == "waiting"
    run_of_cell(layout.run.directory, record.cells[0])
    assert record.attempts(record.cells[0])[0].verdict == Verdict("complete")


def test_launches_are_listed_by_number(tmp_path: Path) -> None:
    record = create(study_of(), str(tmp_path / "study"), "")
    (cell,) = record.cells
    for number in (10, 2, 1):
        study_files.new_attempt(record, cell, number)
    (record.layout.cell(cell.id) / "attempt-x").mkdir()
    (record.layout.cell(cell.id) / "attempt-3").write_text("no directory")
    assert [attempt.number for attempt in record.attempts(cell)] == [1, 2, 10]
    with pytest.raises(OutputError, match="cannot be made"):
        study_files.new_attempt(record, cell, 1)


def _try_to_lock(directory: str, answers: multiprocessing.queues.Queue[str]) -> None:
    try:
        with locked(StudyLayout(Path(directory))):
            answers.put("locked")
    except OutputError as error:
        answers.put(error.sentence)


def test_two_cannot_work_on_one_study(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")

    def another() -> str:
        answers: multiprocessing.queues.Queue[str] = context.Queue()
        process = context.Process(target=_try_to_lock, args=(str(tmp_path), answers))
        process.start()
        answer = answers.get(timeout=60)
        process.join()
        return answer

    with locked(StudyLayout(tmp_path)):
        assert another() == (
            f"another distbench works on the study in {tmp_path} already; wait for its end, or end it"
        )
    assert another() == "locked"


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "target")
    with pytest.raises(OutputError, match="lock cannot be opened"), locked(StudyLayout(tmp_path)):
        pass
    assert not (tmp_path / "target").exists()


def test_more_launches_are_asked_for(tmp_path: Path) -> None:
    record = create(study_of(), str(tmp_path / "study"), "")
    study_files.write_record(dataclasses.replace(record, repeat=4))
    assert load(tmp_path / "study").repeat == 4
