from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distbench.records import RankRecords, read_rank_file
from distbench.worker import host
from distbench.worker.manifest import write_header, write_manifest
from distbench.worker.session import Session
from tests.fakes import RUN_ID
from tests.test_rank import a_session

MACHINE = {"host": "node-1", "cpu": "a processor"}


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    for name in ("horovod_build", "mpi_library"):
        monkeypatch.setattr(host, name, lambda _: {})
    monkeypatch.setattr(host, "tensorflow_build", dict)
    return a_session(tmp_path)


def test_the_manifest_names_machines_groups_and_who_is_not_watched(session: Session) -> None:
    write_manifest(session, MACHINE, ["rank 3: rank 0 cannot be reached (no route)"])
    found = json.loads(session.run.layout.manifest.read_text())
    assert found["ranks"][0]["host"] == "node-1"
    assert found["ranks"][0]["device"]["kind"] == "CPU"
    assert found["unwatched_ranks"] == ["rank 3: rank 0 cannot be reached (no route)"]
    assert [group["name"] for group in found["groups"]] == ["world"]
    assert json.loads(session.run.layout.status.read_text())["state"] == "running"


def test_the_header_says_who_writes(session: Session) -> None:
    written: dict[str, Any] = {}
    session.writer = SimpleNamespace(
        append=lambda kind, **fields: written.update(fields, kind=kind)
    )
    write_header(session, MACHINE)
    assert (written["kind"], written["host"], written["size"]) == ("header", "node-1", 1)
    assert written["clock_resolution_ns"] >= 1


def test_a_real_header_is_read_again(session: Session) -> None:
    records: RankRecords = read_rank_file(session.writer.path, RUN_ID)
    assert records.header is not None
