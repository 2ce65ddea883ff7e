from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from distbench.errors import OutputError, RecordsError, UsageError
from distbench.tune import tune_files
from distbench.tune.tune_files import EFFICIENCY, RATE, Purpose, TuneRecord
from tests.tune_fakes import tuning_of


def begun(folder: Path) -> TuneRecord:
    return tune_files.create(tuning_of(), 600.0, str(folder / "tuning"))


def test_a_tuning_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = begun(tmp_path)
    record.launches[Purpose(RATE, (1,), 2)] = 3
    record.launches[Purpose(EFFICIENCY, (0,), 0)] = 1
    record.half_spent[1] = True
    record.spent_s, record.ended = 12.5, "the budget is spent"
    record.save()
    again = tune_files.load(record.layout.directory)
    assert again.tuning.as_dict() == record.tuning.as_dict()
    assert again.launches == record.launches
    assert list(again.launches) == list(record.launches)
    assert (again.mark, again.spent_s, again.budget_s) == (record.mark, 12.5, 600.0)
    assert (again.half_spent, again.ended) == ({1: True}, "the budget is spent")


def test_a_tuning_is_never_overwritten(tmp_path: Path) -> None:
    begun(tmp_path)
    with pytest.raises(OutputError, match="a tuning is never overwritten"):
        begun(tmp_path)


def test_the_newest_of_that_name_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="there is no tuning 'small' under results/"):
        tune_files.find("small", "")
    record = tune_files.create(tuning_of(), 600.0, "")
    assert record.layout.directory.parent == Path("results")
    assert tune_files.find("small", "").mark == record.mark
    assert tune_files.find("anything", str(record.layout.directory)).mark == record.mark


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "distbench.study"},
        {"schema_version": 99},
        {"mark": "../../etc"},
        {"launches": [{"what": "rate", "choice": [7], "round": 1, "attempt": 1}]},
        {"launches": [{"what": "rate", "choice": [0, 0], "round": 1, "attempt": 1}]},
        {"launches": 5},
        {"tuning": {}},
        {"budget_s": "much"},
        {"half_spent": {"x": True}},
    ],
)
def test_a_file_that_is_no_tuning_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    record = begun(tmp_path)
    document = json.loads(record.layout.tune.read_text())
    record.layout.tune.write_text(json.dumps({**document, **change}))
    with pytest.raises(RecordsError, match=r"is not the tune\.json of this distbench"):
        tune_files.load(record.layout.directory)


def test_a_directory_without_a_tuning_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordsError, match="cannot be read"):
        tune_files.load(tmp_path)
    assert uuid.UUID(begun(tmp_path).mark)
