from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from distbench.doctor import output_place
from distbench.doctor.output_place import Place, collect, judge, nearest_existing
from distbench.doctor.verdicts import NOTE, OK, PROBLEM

WELL = Place("results", True, free_bytes=10**12, free_files=10**6, fsync_s=(0.001, 0.002))


def test_a_place_is_written_synced_and_left_as_it_was(tmp_path: Path) -> None:
    found = collect(tmp_path)
    assert found.exists
    assert found.failure == ""
    assert len(found.fsync_s) == output_place.FSYNCS
    assert found.free_bytes > 0
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    wanted = tmp_path / "results" / "deep"
    found = collect(wanted)
    assert not found.exists
    assert found.failure == ""
    assert not (tmp_path / "results").exists()
    assert "(not made yet)" in judge(found)[0].found
    assert nearest_existing(wanted) == tmp_path


def test_a_file_in_the_way_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    assert [one.level for one in judge(collect(tmp_path / "results"))] == [PROBLEM]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EROFS])
def test_an_fsync_that_fails_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    said = judge(collect(tmp_path))
    assert [one.level for one in said] == [PROBLEM]
    assert os.strerror(number) in said[0].found
    assert list(tmp_path.iterdir()) == []


def test_a_very_slow_disk_is_not_tried_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_place, "FSYNC_LIMIT_S", 1e-9)
    monkeypatch.setattr(output_place, "FSYNCS", 10**9)
    assert len(output_place._fsyncs(tmp_path)) == 1


@pytest.mark.parametrize(
    ("changes", "levels"),
    [
        ({}, [OK, OK]),
        ({"free_bytes": 5 * 10**8}, [NOTE, OK]),
        ({"free_bytes": 10**6}, [PROBLEM, OK]),
        ({"free_files": 3}, [OK, PROBLEM, OK]),
        ({"free_files": None}, [OK, OK]),
        ({"fsync_s": (0.5, 0.5, 0.001)}, [OK, NOTE]),
    ],
)
def test_each_shortage_has_its_level(changes: dict, levels: list) -> None:
    assert [one.level for one in judge(WELL._replace(**changes))] == levels
