from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from distbench import records
from distbench.errors import OutputError
from distbench.rank_writer import RankWriter
from tests.fakes import RUN_ID, block, header

FSYNC, WRITE = os.fsync, os.write


def started(directory: Path) -> RankWriter:
    """A writer whose header is on disk."""
    directory.mkdir(parents=True, exist_ok=True)
    writer = RankWriter(directory, RUN_ID, 0)
    writer.append("header", **header(0, 2))
    return writer


def failing(number: int) -> Callable[..., Any]:
    def fail(*_: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return fail


def test_a_file_is_never_overwritten(tmp_path: Path) -> None:
    RankWriter(tmp_path, RUN_ID, 0)
    with pytest.raises(OutputError, match=r"rank-00000\.jsonl cannot be written \(File exists\)"):
        RankWriter(tmp_path, RUN_ID, 0)


def test_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / records.raw_file_name(0)).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="File exists"):
        RankWriter(tmp_path, RUN_ID, 0)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_sync_that_failed_is_told_and_never_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The second one would succeed: the kernel has dropped what it could not write."""
    writer = started(tmp_path)
    monkeypatch.setattr(os, "fsync", failing(number))
    with pytest.raises(OutputError, match=os.strerror(number)) as first:
        writer.append("block", **block("forward", 1, [1.0]))
    monkeypatch.setattr(os, "fsync", FSYNC)
    with pytest.raises(OutputError) as second:
        writer.append("end", status="ok")
    assert second.value.sentence == first.value.sentence
    found = records.read_rank_file(writer.path, RUN_ID)
    assert found.header is not None
    assert (found.end, found.problems) == (None, [])


def test_a_piece_of_a_line_is_taken_back_and_the_next_line_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = started(tmp_path)
    pieces = iter([40, errno.ENOSPC])

    def full_after_a_piece(descriptor: int, data: bytes) -> int:
        if (piece := next(pieces)) == errno.ENOSPC:
            failing(piece)()
        return WRITE(descriptor, data[:piece])

    monkeypatch.setattr(os, "write", full_after_a_piece)
    with pytest.raises(OutputError, match=r"No space left on device.*free space there"):
        writer.append("block", **block("forward", 1, [1.0]))
    monkeypatch.setattr(os, "write", WRITE)
    writer.append("failure", sentence="the disk was full", is_echo=False)
    found = records.read_rank_file(writer.path, RUN_ID)
    assert (found.blocks, found.problems) == ([], [])
    assert found.failure is not None
    assert found.failure["seq"] == 1


def test_a_line_that_the_disk_takes_in_pieces_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = started(tmp_path)
    monkeypatch.setattr(os, "write", lambda descriptor, data: WRITE(descriptor, data[:7]))
    writer.append("block", **block("forward", 1, [1.0, 2.0]))
    found = records.read_rank_file(writer.path, RUN_ID)
    assert (len(found.blocks), found.problems) == (1, [])


def test_nothing_is_glued_on_a_piece_that_cannot_be_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = started(tmp_path)
    whole = writer.path.read_bytes()

    def half(descriptor: int, data: bytes) -> int:
        if len(data) > 40:
            return WRITE(descriptor, data[: len(data) - 40])
        return int(failing(errno.ENOSPC)())

    monkeypatch.setattr(os, "write", half)
    monkeypatch.setattr(os, "ftruncate", failing(errno.EIO))
    with pytest.raises(OutputError, match="No space left on device") as first:
        writer.append("block", **block("forward", 1, [1.0]))
    monkeypatch.undo()
    torn = writer.path.read_bytes()
    assert len(torn) > len(whole)
    with pytest.raises(OutputError) as second:
        writer.append("end", status="ok")
    assert second.value.sentence == first.value.sentence
    assert writer.path.read_bytes() == torn
    found = records.read_rank_file(writer.path, RUN_ID)
    assert found.problems == [f"{writer.path.name} line 2: torn (no line end)"]


def test_an_interrupt_between_two_pieces_leaves_no_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = started(tmp_path)
    whole = writer.path.read_bytes()

    def interrupted(descriptor: int, data: bytes) -> int:
        WRITE(descriptor, data[:20])
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        writer.append("block", **block("forward", 1, [1.0]))
    assert writer.path.read_bytes() == whole
    monkeypatch.undo()
    writer.append("end", status="ok")
    assert records.read_rank_file(writer.path, RUN_ID).problems == []


def test_a_record_that_is_no_json_takes_no_number(tmp_path: Path) -> None:
    writer = started(tmp_path)
    with pytest.raises(ValueError, match="Out of range float"):
        writer.append("final", value=float("nan"))
    writer.append("end", status="ok")
    assert records.read_rank_file(writer.path, RUN_ID).problems == []


def saved_after(writer: RankWriter, loss: Callable[[], Any]) -> records.RankRecords:
    """What is on disk after the file was lost, two blocks and a failure later."""
    writer.append("block", **block("forward", 1, [1.0]))
    loss()
    with pytest.raises(OutputError, match="was deleted, moved or replaced during the run") as told:
        writer.append("block", **block("forward", 2, [1.0]))
    assert f"saved in {writer.path}" in told.value.sentence
    writer.append("failure", sentence=told.value.sentence, is_echo=False)
    return records.read_rank_file(writer.path, RUN_ID)


@pytest.mark.parametrize("lost", ["the file", "its directory", "the run", "all"])
def test_what_was_measured_outlives_the_deletion_of_its_file(tmp_path: Path, lost: str) -> None:
    writer = started(tmp_path / "results" / "run" / "raw")
    places = [writer.path, *writer.path.parents]
    place = places[["the file", "its directory", "the run", "all"].index(lost)]
    found = saved_after(writer, place.unlink if place.is_file() else lambda: shutil.rmtree(place))
    assert writer.path == places[0]
    assert (len(found.blocks), found.problems) == (2, [])
    assert found.failure is not None


def test_a_relative_place_outlives_the_deletion_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    writer = started(Path("raw"))
    found = saved_after(writer, lambda: shutil.rmtree(tmp_path / "here"))
    assert writer.path == tmp_path / "here" / "raw" / records.raw_file_name(0)
    assert (len(found.blocks), found.problems) == (2, [])


def test_a_saved_file_is_on_disk_before_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = started(tmp_path / "run")
    synced: list[tuple[int, int]] = []

    def sync(descriptor: int) -> None:
        found = os.fstat(descriptor)
        synced.append((found.st_ino, found.st_size))
        FSYNC(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    saved_after(writer, lambda: shutil.rmtree(tmp_path / "run"))
    content = writer.path.read_bytes()
    of_two_blocks = len(b"".join(content.splitlines(keepends=True)[:3]))
    assert (writer.path.stat().st_ino, of_two_blocks) in synced


def test_a_file_that_was_moved_is_written_on_where_it_was(tmp_path: Path) -> None:
    writer = started(tmp_path / "run")
    found = saved_after(writer, lambda: (tmp_path / "run").rename(tmp_path / "moved"))
    assert writer.path == tmp_path / "run" / records.raw_file_name(0)
    assert len(found.blocks) == 2
    moved = tmp_path / "moved" / records.raw_file_name(0)
    assert len(records.read_rank_file(moved, RUN_ID).blocks) == 2


def test_a_file_in_the_place_is_not_overwritten(tmp_path: Path) -> None:
    writer = started(tmp_path)
    path = writer.path

    def replace() -> None:
        path.unlink()
        path.write_text("somebody's")

    writer.append("block", **block("forward", 1, [1.0]))
    replace()
    with pytest.raises(OutputError, match=r"saved in .*rank-00000\.jsonl\.rescued"):
        writer.append("block", **block("forward", 2, [1.0]))
    assert path.read_text() == "somebody's"
    lines = writer.path.read_bytes().splitlines(keepends=True)
    assert [records.decode(line)["kind"] for line in lines] == ["header", "block", "block"]


def test_a_directory_that_moved_and_left_a_link_is_still_the_place(tmp_path: Path) -> None:
    writer = started(tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "moved")
    (tmp_path / "run").symlink_to(tmp_path / "moved")
    writer.append("end", status="ok")
    assert records.read_rank_file(writer.path, RUN_ID).end is not None


def test_a_file_that_cannot_be_written_anew_takes_no_more(tmp_path: Path) -> None:
    writer = started(tmp_path / "run" / "raw")
    shutil.rmtree(tmp_path / "run")
    (tmp_path / "run").write_text("a file stands where the directory was")
    for _ in range(2):
        with pytest.raises(OutputError, match="cannot be written anew"):
            writer.append("end", status="ok")


@pytest.mark.parametrize("change", ["cut", "added to"])
def test_a_file_that_somebody_changes_is_told(tmp_path: Path, change: str) -> None:
    writer = started(tmp_path)
    if change == "cut":
        os.truncate(writer.path, 10)
    else:
        with open(writer.path, "ab") as file:
            file.write(b"foreign\n")
    for _ in range(2):
        with pytest.raises(OutputError, match="another program changes it"):
            writer.append("end", status="ok")


def test_closing_twice_is_closing_once_and_nothing_is_appended_afterwards(tmp_path: Path) -> None:
    writer = started(tmp_path)
    writer.close()
    other = os.open(tmp_path / "other", os.O_CREAT | os.O_WRONLY)  # most likely the same number
    writer.close()
    with pytest.raises(OutputError, match="is closed, and takes no more records"):
        writer.append("end", status="ok")
    os.close(other)  # raises where close() has closed it
    assert (tmp_path / "other").read_bytes() == b""


def test_a_thread_gives_up_where_the_disk_keeps_another_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = started(tmp_path)
    is_slow, goes_on = threading.Event(), threading.Event()

    def hang(descriptor: int) -> None:
        is_slow.set()
        assert goes_on.wait(60)

    monkeypatch.setattr(os, "fsync", hang)
    main = threading.Thread(
        target=lambda: writer.append("block", **block("forward", 1, [1.0])), daemon=True
    )
    main.start()
    assert is_slow.wait(60)
    with pytest.raises(OutputError, match=r"took no record for 0\.05 s.*the disk hangs"):
        writer.append("failure", lock_timeout_s=0.05, sentence="stalled", is_echo=False)
    goes_on.set()
    main.join(60)
    writer.append("failure", lock_timeout_s=0.05, sentence="stalled", is_echo=False)
    found = records.read_rank_file(writer.path, RUN_ID)
    assert (len(found.blocks), found.problems) == (1, [])
    assert found.failure is not None


def test_records_of_many_threads_follow_each_other_whole(tmp_path: Path) -> None:
    writer = started(tmp_path)

    def write_some(first: int) -> None:
        for index in range(first, first + 10):
            writer.append("block", durable=False, **block("forward", index, [1.0] * 50))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write_some, range(0, 40, 10)))
    writer.append("end", status="ok")
    found = records.read_rank_file(writer.path, RUN_ID)
    assert (len(found.blocks), found.problems) == (40, [])
    assert sorted(one["block"] for one in found.blocks) == list(range(40))
