from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distbench.doctor import leftovers
from distbench.doctor.leftovers import Leftovers, OldRank, collect, is_rank, judge, living_ranks
from distbench.doctor.verdicts import NOTE, OK, PROBLEM
from distbench.errors import OutputError


@pytest.mark.parametrize(
    ("command", "is_one"),
    [
        ("/venv/bin/python -m distbench", True),
        ("/venv/bin/python3.11 -u -X dev -m distbench --preset quick", True),
        ("python -m distbench run --steps 3", True),
        ("python /venv/bin/distbench run", True),
        ("python -m distbench.doctor.probe_rank /tmp/x", True),
        ("python -m distbench doctor", False),
        ("python -m distbench report results/x", False),
        ("python /venv/bin/horovodrun --gloo -np 2 python -m distbench", False),
        ("mpirun -np 2 python -m distbench", False),
        ("python train.py -m distbench", False),
        ("python", False),
        ("", False),
    ],
)
def test_only_ranks_are_ranks(command: str, is_one: bool) -> None:
    assert is_rank([*command.split(" "), ""]) is is_one


def process(proc: Path, pid: int, command: str, parent: int = 50, state: str = "S") -> None:
    folder = proc / str(pid)
    (folder / "fd").mkdir(parents=True)
    (folder / "cmdline").write_bytes(
        b"\0".join(word.encode() for word in command.split(" ")) + b"\0"
    )
    ticks = os.sysconf("SC_CLK_TCK") * 40
    fields = [state, str(parent), *["0"] * 17, str(ticks)]
    (folder / "stat").write_text(f"{pid} (a ) b) {' '.join(fields)}\n")
    (proc / "uptime").write_text("100.0 1.0\n")


def test_ranks_are_found_with_their_age_and_launcher(tmp_path: Path) -> None:
    process(tmp_path, 1, "/sbin/init")
    process(tmp_path, 10, "python -m distbench", parent=1)
    process(tmp_path, 11, "python -m distbench", parent=9, state="T")
    process(tmp_path, 12, "bash -c x")
    found = sorted(living_ranks(tmp_path))
    assert found == [OldRank(10, 60.0, False, False), OldRank(11, 60.0, True, True)]


def test_a_launcher_may_be_the_first_process_of_a_container(tmp_path: Path) -> None:
    process(tmp_path, 1, "/opt/mpi/bin/mpirun -np 1 python -m distbench")
    process(tmp_path, 10, "python -m distbench", parent=1)
    assert [rank.has_launcher for rank in living_ranks(tmp_path)] == [True]


def test_a_living_rank_of_this_machine_is_found(tmp_path: Path) -> None:
    (tmp_path / "distbench.py").write_text("import time\ntime.sleep(100)\n")
    child = subprocess.Popen([sys.executable, "-m", "distbench"], cwd=tmp_path)
    try:
        deadline_s = time.monotonic() + 30
        while child.pid not in {rank.pid for rank in living_ranks()}:
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
    finally:
        child.kill()
        child.wait()
    assert child.pid not in {rank.pid for rank in living_ranks()}


def run(place: Path, name: str, state: str) -> Path:
    directory = place / name
    (directory / "raw").mkdir(parents=True)
    (directory / "status.json").write_text(json.dumps({"state": state}))
    (directory / "raw" / "rank-00000.jsonl").write_text("")
    return directory


def test_a_run_without_an_end_is_stale_unless_someone_writes_it(tmp_path: Path) -> None:
    place, proc = tmp_path / "results", tmp_path / "proc"
    run(place, "done", "complete")
    old = run(place, "killed", "running")
    live = run(place, "live", "running")
    os.utime(old / "status.json", (1, 1))
    os.utime(old / "raw" / "rank-00000.jsonl", (1000, 1000))
    process(proc, 10, "anything")
    (proc / "10/fd/3").symlink_to(live / "raw" / "rank-00000.jsonl")
    found = collect(place, proc)
    assert [directory for directory, _ in found.stale_runs] == [str(old)]
    assert found.stale_runs[0][1] == pytest.approx(time.time() - 1000, abs=100)


def test_runs_of_a_study_are_looked_into(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    old = run(tmp_path / "results/study/cells/ab/attempt-1", "run", "running")
    assert collect(tmp_path / "results", tmp_path / "proc").stale_runs[0][0] == str(old)


def test_half_written_files_count_where_nobody_is_at_them(tmp_path: Path) -> None:
    proc = tmp_path / "proc"
    process(proc, 10, "python -m distbench")
    place = run(tmp_path / "results", "a", "complete")
    old = (".status.json.a1b2.tmp", ".raw.17.tmp", "notes.tmp", ".x.tmp", ".distbench-doctor-x")
    for name in (*old, ".new.17.tmp"):
        (place / name).write_text("")
    for name in old:
        os.utime(place / name, (1000, 1000))
    (proc / "10/fd/3").symlink_to(place / ".raw.17.tmp")
    found = collect(tmp_path / "results", proc)
    wanted = [".distbench-doctor-x", ".status.json.a1b2.tmp"]
    assert found.temporary_files == [str(place / name) for name in wanted]


def test_the_name_of_a_half_written_file_is_the_one_that_writers_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distbench import durable_files

    names = []

    def fail(descriptor: int) -> None:
        names.extend(path.name for path in tmp_path.iterdir())
        raise OSError(5, "no")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError):
        durable_files.write_atomically(tmp_path / "status.json", b"x")
    assert leftovers._TEMPORARY.fullmatch(names[0])


def test_links_and_hostile_trees_are_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "proc").mkdir()
    place = tmp_path / "results"
    place.mkdir()
    (place / "loop").symlink_to(place)
    run(tmp_path / "elsewhere", "a", "running")
    (place / "out").symlink_to(tmp_path / "elsewhere")
    assert collect(place, tmp_path / "proc").stale_runs == []
    monkeypatch.setattr(leftovers, "MOST_PATHS", 3)
    for number in range(9):
        (place / f"{number}.txt").write_text("")
    assert not collect(place, tmp_path / "proc").is_complete


def test_nothing_left_is_well_and_nothing_there_too(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    assert [one.level for one in judge(collect(tmp_path / "none", tmp_path / "proc"))] == [OK]


def test_each_leftover_has_its_fix() -> None:
    lost, busy = OldRank(7, 7200, False, False), OldRank(8, 70, True, False)
    said = judge(Leftovers((lost, busy), [("results/a", 90.0)], ["results/.x.1.tmp"], False))
    assert [one.level for one in said] == [PROBLEM, NOTE, NOTE, NOTE, NOTE]
    assert "kill -9 7" in said[0].fix
    assert "started 2 hour(s) ago" in said[0].found
    assert "kill 8" in said[1].fix
    assert "distbench report results/a" in said[2].fix
    assert "results/.x.1.tmp" in said[3].found
    stopped = judge(Leftovers((OldRank(9, 1, True, True),)))
    assert "stopped" in stopped[0].found
