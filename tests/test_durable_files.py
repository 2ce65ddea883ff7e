from __future__ import annotations

import errno
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from distbench.durable_files import cannot_write, replaced_atomically, write_atomically
from distbench.errors import OutputError

FSYNC = os.fsync


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def test_atomic_write_leaves_nothing_beside(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a.json", b"1")
    write_atomically(tmp_path / "a.json", b"2")
    assert names(tmp_path) == ["a.json"]
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
    assert names(tmp_path) == ["a.json"]
    assert (tmp_path / "a.json").read_bytes() == b"1"


def test_the_content_then_the_name_then_the_directory_reach_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    rename = os.replace

    def sync(descriptor: int) -> None:
        is_directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        order.append("sync of the directory" if is_directory else "sync of the file")
        FSYNC(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", lambda *paths: order.append("rename") or rename(*paths))
    write_atomically(tmp_path / "a.json", b"1")
    assert order == ["sync of the file", "rename", "sync of the directory"]


@pytest.mark.parametrize(
    ("number", "is_told"),
    [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.EIO, True), (errno.ENOSPC, True)],
)
def test_only_a_directory_that_cannot_be_synced_at_all_is_let_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, is_told: bool
) -> None:
    def sync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        FSYNC(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    if is_told:
        with pytest.raises(OutputError, match=os.strerror(number)):
            write_atomically(tmp_path / "a.json", b"1")
    else:
        write_atomically(tmp_path / "a.json", b"1")
        assert (tmp_path / "a.json").read_bytes() == b"1"


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EIO])
def test_a_file_that_cannot_be_synced_replaces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    write_atomically(tmp_path / "a.json", b"1")

    def sync(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", sync)
    with pytest.raises(OutputError, match=os.strerror(number)):
        write_atomically(tmp_path / "a.json", b"2")
    assert names(tmp_path) == ["a.json"]
    assert (tmp_path / "a.json").read_bytes() == b"1"


def test_why_it_failed_is_told_even_where_nothing_can_be_tidied_up(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Not a directory"):
        write_atomically(tmp_path / "file" / "a.json", b"1")
    with pytest.raises(OutputError, match="File name too long"):
        write_atomically(tmp_path / ("x" * 255), b"1")


def test_threads_that_write_one_file_leave_one_of_their_contents(tmp_path: Path) -> None:
    contents = [bytes([number]) * 20_000 for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: write_atomically(tmp_path / "a.json", content), contents))
    assert names(tmp_path) == ["a.json"]
    assert (tmp_path / "a.json").read_bytes() in contents


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "(No space left on device)"),
        (OSError(errno.EFBIG, "File too large"), "ulimit -f"),
        (OSError(errno.EROFS, "Read-only file system"), "mount it writable"),
        (OSError("said in words alone"), "(said in words alone)"),
    ],
)
def test_the_error_says_why_and_what_to_do(error: OSError, told: str) -> None:
    sentence = cannot_write(Path("a"), error).sentence
    assert told in sentence
    assert sentence.endswith("or name another place with --output")
