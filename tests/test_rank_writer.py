from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from distbench import records
from distbench.errors import OutputError
from distbench.rank_writer import RankWriter
from tests.fakes import RUN_ID, header


def test_a_file_is_never_overwritten(tmp_path: Path) -> None:
    RankWriter(tmp_path, RUN_ID, 0)
    with pytest.raises(OutputError, match=r"rank-00000\.jsonl cannot be written \(File exists\)"):
        RankWriter(tmp_path, RUN_ID, 0)


def test_a_full_disk_is_an_error_and_keeps_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = RankWriter(tmp_path, RUN_ID, 0)
    writer.append("header", **header(0, 1))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        writer.append("end", status="ok")
    assert records.read_rank_file(writer.path, RUN_ID).header is not None
