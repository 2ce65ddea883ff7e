from __future__ import annotations

import json
from pathlib import Path

import pytest

from distbench.errors import OutputError
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
