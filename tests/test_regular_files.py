from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from distbench.regular_files import open_regular, read_at_most


def test_a_regular_file_is_read_also_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with open_regular(tmp_path / "link") as file:
        assert file.read() == b"content"


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "to_device").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for path in (tmp_path, *tmp_path.iterdir()):
            with pytest.raises(OSError, match="no regular file"):
                open_regular(path)


def test_descriptors_are_not_lost(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(OSError, match="no regular file"):
            open_regular(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_no_more_is_read_than_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_at_most(path, 5) == b"12345"
    with pytest.raises(OSError, match="larger than 4 bytes"):
        read_at_most(path, 4)
    with open(path, "wb") as file:
        file.truncate(2**40)  # a terabyte of NULs that takes no room on disk
    with pytest.raises(OSError, match="larger than 4 bytes"):
        read_at_most(path, 4)
