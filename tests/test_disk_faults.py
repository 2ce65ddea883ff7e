"""Writers whose disk is really full, read-only, limited or gone, each in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from distbench import records
from tests.fakes import RUN_ID, block

ROOT = Path(__file__).parent.parent
SETTING = """
import json, os, resource, sys
from pathlib import Path
from distbench import disk_space, records
from distbench.durable_files import read_object, write_atomically
from distbench.errors import OutputError
from distbench.rank_writer import RankWriter
from tests.fakes import RUN_ID, block, header

directory, told, sentences = Path(sys.argv[1]), [], []

def started():
    writer = RankWriter(directory, RUN_ID, 0)
    writer.append("header", **header(0, 1))
    return writer

def fill(writer, blocks=10_000):
    for index in range(1, blocks + 1):
        attempt(writer.append, "block", **block("forward", index, [1.0] * 100))
        if sentences:
            return
        told.append(index)
        print(index, flush=True)

def attempt(action, *words, **fields):
    try:
        return action(*words, **fields)
    except OutputError as error:
        sentences.append(error.sentence)

def read():
    found = records.read_rank_file(directory / records.raw_file_name(0), RUN_ID)
    return {
        "blocks": [one["block"] for one in found.blocks],
        "failure": found.failure is not None,
        "problems": found.problems,
    }

def end(**more):
    print(json.dumps({"told": told, "sentences": sentences, **more}))
"""
# Mounts in a name space of its own, which ends with the process: nothing is left behind.
IN_TMPFS = 'mount -t tmpfs -o size=64k none "$1" && shift && exec "$@"'


def result(code: str, directory: Path, *before: str) -> Any:
    """What the code printed last; `before` are words before the command."""
    command = [*before, sys.executable, "-c", SETTING + code, str(directory)]
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def result_in_tmpfs(code: str, directory: Path) -> Any:
    """The same, with a disk of 64 KiB at `directory`."""
    start = ["unshare", "--mount", "--map-root-user", "sh", "-c", IN_TMPFS, "sh", str(directory)]
    if shutil.which("unshare") is None or subprocess.run([*start, "true"], check=False).returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    return result(code, directory, *start)


def assert_all_blocks(found: Any) -> None:
    """Every block that was told is there, and there is nothing that is not whole."""
    assert found["told"]
    assert found["read"]["blocks"] == found["told"]
    assert found["read"]["problems"] == []
    assert found["read"]["failure"]


FILL_UNTIL_IT_FAILS = """
writer = started()
fill(writer)
attempt(writer.append, "failure", sentence=sentences[0], is_echo=False)
end(read=read())
"""


def test_a_limit_on_the_size_of_files(tmp_path: Path) -> None:
    limited = "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))"
    found = result(limited + FILL_UNTIL_IT_FAILS, tmp_path)
    assert "File too large" in found["sentences"][0]
    assert "ulimit -f" in found["sentences"][0]
    assert_all_blocks(found)


def test_a_disk_that_is_full_in_the_middle_of_a_line(tmp_path: Path) -> None:
    code = """
(directory / "others").write_bytes(b"x" * 20_000)
writer = started()
fill(writer)
(directory / "others").unlink()
writer.append("failure", sentence=sentences[0], is_echo=False)
end(read=read())
"""
    found = result_in_tmpfs(code, tmp_path)
    assert "No space left on device" in found["sentences"][0]
    assert_all_blocks(found)


def test_a_full_disk_keeps_the_old_document(tmp_path: Path) -> None:
    code = """
write_atomically(directory / "status.json", b'{"state": "running"}')
attempt(write_atomically, directory / "status.json", b"x" * 100_000)
end(status=read_object(directory / "status.json"), names=os.listdir(directory))
"""
    found = result_in_tmpfs(code, tmp_path)
    assert "status.json cannot be written (No space left on device)" in found["sentences"][0]
    assert found["status"] == {"state": "running"}
    assert found["names"] == ["status.json"]


def test_a_descriptor_that_takes_nothing_more(tmp_path: Path) -> None:
    code = """
writer = started()
fill(writer, blocks=3)
os.dup2(os.open("/dev/full", os.O_WRONLY), writer._descriptor)
for _ in range(2):
    attempt(writer.append, "end", status="ok")
end(read=read())
"""
    found = result(code, tmp_path)
    assert ["No space left on device" in one for one in found["sentences"]] == [True, True]
    assert found["read"] == {"blocks": [1, 2, 3], "failure": False, "problems": []}


def test_a_disk_that_is_mounted_read_only(tmp_path: Path) -> None:
    code = """
import subprocess
subprocess.run(["mount", "-o", "remount,ro", str(directory)], check=True)
attempt(started)
attempt(write_atomically, directory / "status.json", b"")
attempt(disk_space.check_room, directory, disk_space.Room(100, 100))
end()
"""
    found = result_in_tmpfs(code, tmp_path)
    assert ["Read-only file system" in one for one in found["sentences"]] == [True] * 3


def test_a_directory_that_the_user_may_not_write(tmp_path: Path) -> None:
    code = """
os.chmod(directory, 0o555)
os.chdir(directory)
directory = Path()
if os.geteuid() == 0:
    os.setuid(65534)
attempt(started)
attempt(write_atomically, directory / "status.json", b"")
attempt(disk_space.check_room, directory, disk_space.Room(100, 100))
end()
"""
    found = result(code, tmp_path)
    assert ["Permission denied" in one for one in found["sentences"]] == [True] * 3
    assert os.listdir(tmp_path) == []


def test_a_run_that_is_deleted_while_it_writes(tmp_path: Path) -> None:
    directory = tmp_path / "run" / "raw"
    directory.mkdir(parents=True)
    command = [sys.executable, "-c", SETTING + FILL_UNTIL_IT_FAILS, str(directory)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(5):
            process.stdout.readline()
        (tmp_path / "run").rename(tmp_path / "doomed")  # at once, then at leisure
        shutil.rmtree(tmp_path / "doomed")
        told, _ = process.communicate(timeout=60)
    found = json.loads(told.splitlines()[-1])
    assert "was deleted, moved or replaced during the run" in found["sentences"][0]
    # the block whose writing noticed it is saved too
    assert found["read"]["blocks"] == [*found["told"], len(found["told"]) + 1]
    assert found["read"]["failure"]
    assert found["read"]["problems"] == []
    saved = records.read_rank_file(directory / records.raw_file_name(0), RUN_ID)
    assert len(saved.blocks) == len(found["told"]) + 1
    assert list(saved.blocks[0]["duration_ns"]) == block("forward", 1, [1.0] * 100)["duration_ns"]


@pytest.mark.parametrize(
    ("limit_bytes", "wanted_bytes", "told"),
    [
        (50_000, 60_000, "this process may write at most 50.00 kB to one"),
        (50_000, 40_000, None),
    ],
)
def test_room_is_refused_where_files_may_not_grow(
    tmp_path: Path, limit_bytes: int, wanted_bytes: int, told: str | None
) -> None:
    code = f"""
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit_bytes}, {limit_bytes}))
attempt(disk_space.check_room, directory, disk_space.Room({wanted_bytes}, {wanted_bytes}))
end(names=os.listdir(directory))
"""
    found = result(code, tmp_path)
    assert found["names"] == []
    assert bool(found["sentences"]) == (told is not None)
    assert told is None or told in found["sentences"][0]


def test_room_is_refused_on_a_small_disk(tmp_path: Path) -> None:
    code = """
for all_bytes in (1_000_000, 40_000):
    attempt(disk_space.check_room, directory, disk_space.Room(30_000, all_bytes))
disk_space.free_bytes = lambda _: None  # a disk that does not tell, or has a quota
attempt(disk_space.check_room, directory, disk_space.Room(100_000, 100_000))
end(names=os.listdir(directory))
"""
    found = result_in_tmpfs(code, tmp_path)
    no_space, no_quota = found["sentences"]
    assert "has 65.54 kB free, and the run may write up to 1.000 MB" in no_space
    assert "does not take a file of 100.0 kB (No space left on device)" in no_quota
    assert found["names"] == []
