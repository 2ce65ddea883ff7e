from __future__ import annotations

from pathlib import Path

import pytest

from distbench.durable_files import replaced_atomically, write_atomically
from distbench.errors import OutputError


def test_atomic_write_leaves_nothing_beside(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a.json", b"1")
    write_atomically(tmp_path / "a.json", b"2")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_bytes() == b"2"
    with pytest.raises(OutputError):
        write_atomically(tmp_path / "none" / "a.json", b"1")


def test_a_file_that_was_not_finished_replaces_nothing(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a.json", b"1")

    def stop_halfway() -> None:
        with replaced_atomically(tmp_path / "a.json") as file:
            file.write(b"half of")
            raise KeyError

    with pytest.raises(KeyError):
        stop_halfway()
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_bytes() == b"1"
