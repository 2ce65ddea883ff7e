from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from distbench.worker.start_reports import StartReports

JOB = {"HOROVOD_GLOO_RENDEZVOUS_ADDR": "10.0.0.1", "HOROVOD_GLOO_RENDEZVOUS_PORT": "4711"}


@pytest.fixture(autouse=True)
def _temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_ranks_of_one_job_see_each_other_and_leave_nothing(tmp_path: Path) -> None:
    first, second = StartReports(JOB, 0), StartReports(JOB, 12)
    second.report()
    first.report()
    assert first.reported() == [0, 12]
    second.withdraw()
    assert first.reported() == [0]
    first.withdraw()
    assert list(tmp_path.iterdir()) == []


def test_another_job_is_not_seen() -> None:
    StartReports(JOB, 1).report()
    other = StartReports({**JOB, "HOROVOD_GLOO_RENDEZVOUS_PORT": "4712"}, 0)
    assert other.reported() == []


def test_without_a_name_for_the_job_there_is_nothing(tmp_path: Path) -> None:
    alone = StartReports({}, 0)
    alone.report()
    alone.withdraw()
    assert alone.reported() == []
    assert list(tmp_path.iterdir()) == []


def test_a_link_that_somebody_laid_there_is_not_followed(tmp_path: Path) -> None:
    mine = StartReports(JOB, 0)
    mine.report()
    (directory,) = tmp_path.iterdir()
    mine.withdraw()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    directory.symlink_to(elsewhere)
    mine.report()
    assert list(elsewhere.iterdir()) == []
    assert mine.reported() == []
