from __future__ import annotations

import json
import os
import shutil
import threading
from dataclasses import astuple
from pathlib import Path

import pytest

from distbench import disk_space
from distbench.errors import OutputError
from distbench.groups import plan_groups
from distbench.layout import RunLayout
from distbench.plan import plan_blocks
from distbench.rank_writer import RankWriter
from distbench.records import raw_file_name
from distbench.worker import run_directory
from distbench.worker.run_directory import RunDirectory
from tests.fakes import RUN_ID, FakeWorld, on_every_rank, small_config


def written(world: FakeWorld, run: RunDirectory) -> RunDirectory:
    writer = RankWriter(run.layout.raw, run.run_id, world.rank)
    writer.append("header", size=world.size)
    writer.close()
    return run


def test_a_shared_directory_is_made_once_and_its_files_are_verified(tmp_path: Path) -> None:
    config = small_config(output=str(tmp_path / "run"))

    def body(world: FakeWorld) -> object:
        run = written(world, run_directory.create(world, config, RUN_ID))
        return run.is_shared, run_directory.gather_records(world, run)

    (shared_0, gathered), (shared_1, elsewhere) = on_every_rank(2, body)
    assert (shared_0, shared_1, elsewhere) == (True, True, None)
    assert gathered["files_verified"] == 2
    assert gathered["files_written"] == 0
    assert gathered["transport"] == "threads"


def test_ranks_without_a_shared_disk_send_their_files_to_rank_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def body(world: FakeWorld) -> object:
        config = small_config(output=str(tmp_path / f"disk-{world.rank}" / "run"))
        run = written(world, run_directory.create(world, config, RUN_ID))
        return run.is_shared, run_directory.gather_records(world, run)

    results = on_every_rank(3, body)
    assert [shared for shared, _ in results] == [True, False, False]
    assert results[0][1]["files_written"] == 2
    for rank in range(3):
        name = raw_file_name(rank)
        sent = (tmp_path / f"disk-{rank}" / "run" / "raw" / name).read_bytes()
        assert (tmp_path / "disk-0" / "run" / "raw" / name).read_bytes() == sent


def test_two_ranks_on_each_of_two_nodes_without_a_shared_disk(tmp_path: Path) -> None:
    def body(world: FakeWorld) -> object:
        node, world.local_rank, world.local_size = world.rank // 2, world.rank % 2, 2
        config = small_config(output=str(tmp_path / f"node-{node}" / "run"))
        run = written(world, run_directory.create(world, config, RUN_ID))
        return run.is_shared, run_directory.gather_records(world, run)

    results = on_every_rank(4, body)
    assert [shared for shared, _ in results] == [True, True, False, False]
    assert (results[0][1]["files_verified"], results[0][1]["files_written"]) == (2, 2)
    assert len(list((tmp_path / "node-1" / "run" / "raw").iterdir())) == 2


def test_a_name_that_no_disk_takes_is_refused(tmp_path: Path) -> None:
    config = small_config(output=str(tmp_path / ("x" * 300)))
    found = on_every_rank(2, lambda world: run_directory.create(world, config, RUN_ID))
    assert all("cannot be made (File name too long)" in error.sentence for error in found)


def test_bytes_that_differ_from_the_file_are_an_error(tmp_path: Path) -> None:
    config = small_config(output=str(tmp_path / "run"))

    def body(world: FakeWorld) -> object:
        run = written(world, run_directory.create(world, config, RUN_ID))
        world.barrier()
        if world.rank == 0:
            gather = world.gather_bytes
            world.gather_bytes = lambda data: [b"other" for _ in gather(data) or []]  # type: ignore
        return run_directory.gather_records(world, run)

    found, _ = on_every_rank(2, body)
    assert isinstance(found, OutputError)
    assert "bytes that rank 0 sent are not those of" in found.sentence


def test_an_existing_directory_is_refused_on_every_rank(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    config = small_config(output=str(tmp_path / "run"))
    found = on_every_rank(2, lambda world: run_directory.create(world, config, RUN_ID))
    assert [type(error) for error in found] == [OutputError] * 2
    assert "exists already" in found[0].sentence


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    config = small_config(output=str(tmp_path / "file" / "run"))
    found = on_every_rank(1, lambda world: run_directory.create(world, config, RUN_ID))
    assert "cannot be made (" in found[0].sentence


def test_two_runs_race_for_one_directory_and_one_wins(tmp_path: Path) -> None:
    config = small_config(output=str(tmp_path / "run"))

    def body(world: FakeWorld) -> object:
        return run_directory.create(FakeWorld(0, 1), config, f"run-{world.rank}")

    found = on_every_rank(8, body)
    assert sum(isinstance(one, RunDirectory) for one in found) == 1
    assert sum(isinstance(one, OutputError) for one in found) == 7


def test_the_default_place_is_results_and_the_run_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = on_every_rank(1, lambda world: run_directory.create(world, small_config(), RUN_ID))[0]
    assert run.layout.directory == Path("results") / RUN_ID
    assert json.loads(run.layout.config.read_text())["run_id"] == RUN_ID


def test_status_is_replaced_as_a_whole(tmp_path: Path) -> None:
    config = small_config(output=str(tmp_path / "run"))
    run = on_every_rank(1, lambda world: run_directory.create(world, config, RUN_ID))[0]
    run.write_status("running", None)
    run.write_status("failed", 6, cause="why")
    status = json.loads(run.layout.status.read_text())
    assert status == {"state": "failed", "exit_code": 6, "run_id": RUN_ID, "cause": "why"}


def test_a_directory_that_a_networks_disk_shows_late_is_the_same_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client remembers for seconds that a name is not there; only making it asks the server."""
    config = small_config(output=str(tmp_path / "run"))
    look, looks_of_rank_1 = run_directory._is_of, iter([False, False])
    of_rank_1: list[int] = []

    def body(world: FakeWorld) -> object:
        world.local_rank = 0  # each on a node of its own
        if world.rank == 1:
            of_rank_1.append(threading.get_ident())
        return run_directory.create(world, config, RUN_ID)

    def look_late(layout: RunLayout, run_id: str) -> bool:
        is_late = threading.get_ident() in of_rank_1
        return next(looks_of_rank_1, look(layout, run_id)) if is_late else look(layout, run_id)

    monkeypatch.setattr(run_directory, "_is_of", look_late)
    found = on_every_rank(2, body)
    assert [run.is_shared for run in found] == [True, True]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_the_names_of_a_new_directory_are_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, synced = os.fsync, set()

    def sync(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    config = small_config(output=str(tmp_path / "results" / "run"))
    run = on_every_rank(1, lambda world: run_directory.create(world, config, RUN_ID))[0]
    for directory in (run.layout.directory.parent, run.layout.directory):
        assert directory.stat().st_ino in synced


def test_a_file_that_is_gone_at_the_end_is_told_on_every_rank(tmp_path: Path) -> None:
    """And not by the one rank alone, whose bytes the others would wait for."""
    config = small_config(output=str(tmp_path / "run"))

    def body(world: FakeWorld) -> object:
        run = written(world, run_directory.create(world, config, RUN_ID))
        world.barrier()
        if world.rank == 1:
            (run.layout.raw / raw_file_name(1)).unlink()
        return world.together(lambda: run_directory.gather_records(world, run))

    found = on_every_rank(3, body)
    assert [type(error) for error in found] == [OutputError] * 3
    assert {error.sentence for error in found} == {found[0].sentence}
    assert found[0].sentence.startswith("rank 1: ")
    assert "cannot be read (No such file or directory)" in found[0].sentence


def test_a_status_after_a_deletion_brings_back_what_a_report_needs(tmp_path: Path) -> None:
    config = small_config(output=str(tmp_path / "run"))
    run = on_every_rank(1, lambda world: run_directory.create(world, config, RUN_ID))[0]
    before = run.layout.config.read_bytes()
    shutil.rmtree(run.layout.directory)
    run.write_status("failed", 9, cause="it was deleted")
    assert run.layout.config.read_bytes() == before
    assert json.loads(run.layout.status.read_text())["state"] == "failed"
    shutil.rmtree(run.layout.directory)
    run.layout.directory.write_text("a file stands in its place")
    with pytest.raises(OutputError, match="cannot be written"):
        run.write_status("failed", 9)


@pytest.mark.parametrize("is_shared", [True, False])
def test_the_disk_needs_room_for_the_ranks_that_write_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_shared: bool
) -> None:
    asked: list[disk_space.Room] = []
    monkeypatch.setattr(run_directory, "check_room", lambda _, room: asked.append(room))
    config = small_config()
    plan = plan_blocks(config, plan_groups(config, [0, 0, 1, 1]))

    def body(world: FakeWorld) -> None:
        node, world.local_rank, world.local_size = world.rank // 2, world.rank % 2, 2
        place = tmp_path / "run" if is_shared else tmp_path / f"node-{node}" / "run"
        own = small_config(output=str(place))
        run = run_directory.create(world, own, RUN_ID)
        run_directory.check_disk(world, run, plan, False)

    assert on_every_rank(4, body) == [None] * 4
    own = disk_space.room_of_rank(plan, 3, 2, False)
    whole = [disk_space.room_of_run(plan, rank, 4, False) for rank in range(4)]
    wanted = whole if is_shared else [*whole[:2], own, own]
    assert sorted(asked, key=astuple) == sorted(wanted, key=astuple)
    assert own.directory_bytes == 2 * own.file_bytes < whole[0].directory_bytes


def test_rank_0_needs_room_for_all_ranks_and_a_full_disk_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(output=str(tmp_path / "run"))
    plan = plan_blocks(config, plan_groups(config, [0, 0]))
    monkeypatch.setattr(disk_space, "free_bytes", lambda _: 100_000)

    def body(world: FakeWorld) -> None:
        run = run_directory.create(world, config, RUN_ID)
        run_directory.check_disk(world, run, plan, False)

    found = on_every_rank(2, body)
    assert [type(error) for error in found] == [OutputError] * 2
    assert "has 100.0 kB free, and the run may write up to 1" in found[0].sentence
    assert list(tmp_path.iterdir()) == []  # and the place can be taken again
