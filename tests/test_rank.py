"""One rank's life. The whole of it runs in test_end_to_end; here is what needs no other rank."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distbench.errors import CorrectnessError, MissingPartError, RankFailedError, UsageError
from distbench.groups import plan_groups
from distbench.launched import LaunchedAs
from distbench.rank_writer import RankWriter
from distbench.records import read_rank_file
from distbench.worker import rank, run_directory
from distbench.worker.device import Device
from distbench.worker.session import Session
from distbench.worker.telemetry import NoTelemetry
from tests.fakes import RUN_ID, FakeWorld, header, small_config


def a_session(tmp_path: Path) -> Session:
    world = FakeWorld(0, 1)
    config = small_config(output=str(tmp_path / "run"))
    run = run_directory.create(world, config, RUN_ID)
    writer = RankWriter(run.layout.raw, RUN_ID, 0)
    writer.append("header", **header(0, 1))
    device = Device("CPU", "a processor", "", 1, "given")
    groups = plan_groups(config, [0])
    return Session(
        world, SimpleNamespace(), config, groups, device, NoTelemetry(), run, writer, None
    )


def failing(error: Exception) -> Any:
    def measure(one: Session) -> None:
        raise error

    return measure


def test_a_bug_becomes_a_named_failure_with_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = a_session(tmp_path)
    monkeypatch.setattr(rank, "measure", failing(ZeroDivisionError("by zero\nmore")))
    with pytest.raises(RankFailedError, match="rank 0 failed with ZeroDivisionError: by zero;"):
        rank._live(one)
    found = read_rank_file(one.writer.path, RUN_ID)
    assert found.end is None
    assert found.failure is not None
    assert "in measure" in found.failure["traceback"]
    status = json.loads(one.run.layout.status.read_text())
    assert (status["state"], status["exit_code"], status["rank"]) == ("failed", 4, 0)


def test_what_every_rank_found_is_gathered_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = a_session(tmp_path)
    error = CorrectnessError("the weights ran away")
    error.on_every_rank = True
    monkeypatch.setattr(rank, "measure", failing(error))
    with pytest.raises(CorrectnessError):
        rank._live(one)
    status = json.loads(one.run.layout.status.read_text())
    assert (status["state"], status["exit_code"]) == ("failed", 6)
    assert status["cause"] == "the weights ran away"
    assert status["gather"]["files_verified"] == 1


def test_a_whole_life_ends_with_the_end_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = a_session(tmp_path)
    monkeypatch.setattr(rank, "measure", lambda _: None)
    rank._live(one)
    assert read_rank_file(one.writer.path, RUN_ID).end is not None
    status = json.loads(one.run.layout.status.read_text())
    assert (status["state"], status["exit_code"]) == ("complete", 0)


def test_tensorflow_is_silenced_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    rank.prepare_environment(show_log=True, is_study=False)
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    rank.prepare_environment(show_log=False, is_study=False)
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "3"
    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


def test_open_mpi_yields_while_it_waits_where_cores_compute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "OMPI_MCA_mpi_yield_when_idle"
    monkeypatch.setenv(name, "")
    monkeypatch.delenv(name)
    monkeypatch.setattr(rank, "GPU_DRIVERS", (tmp_path, tmp_path / "none"))
    rank.prepare_environment(show_log=False, is_study=False)
    assert name not in os.environ
    monkeypatch.setattr(rank, "GPU_DRIVERS", (tmp_path / "none",))
    rank.prepare_environment(show_log=False, is_study=False)
    assert os.environ[name] == "1"
    monkeypatch.setenv(name, "0")  # the launcher's own word counts
    rank.prepare_environment(show_log=False, is_study=False)
    assert os.environ[name] == "0"


def test_a_study_asks_horovod_for_no_stall_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOROVOD_STALL_CHECK_DISABLE", raising=False)
    rank.prepare_environment(show_log=False, is_study=False)
    assert "HOROVOD_STALL_CHECK_DISABLE" not in os.environ
    monkeypatch.setenv("HOROVOD_STALL_CHECK_DISABLE", "0")  # the user's own word counts
    rank.prepare_environment(show_log=False, is_study=True)
    assert os.environ["HOROVOD_STALL_CHECK_DISABLE"] == "0"
    monkeypatch.delenv("HOROVOD_STALL_CHECK_DISABLE")
    rank.prepare_environment(show_log=False, is_study=True)
    assert os.environ["HOROVOD_STALL_CHECK_DISABLE"] == "1"


@pytest.mark.parametrize(("given", "found"), [("30", "160"), ("500", "500"), ("soon", "160")])
def test_gloo_waits_longer_than_the_watch(
    given: str, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOROVOD_GLOO_TIMEOUT_SECONDS", given)
    rank.prepare_environment(show_log=False, is_study=False, start_timeout_s=100.0)
    assert os.environ["HOROVOD_GLOO_TIMEOUT_SECONDS"] == found


def test_the_sets_of_a_study_are_known_before_horovod_starts() -> None:
    launched = LaunchedAs("horovodrun over Gloo", 3, 8, 3, 4, 2)
    overrides = {"sizes": (1, 2, 4, 8)}
    assert rank._sets_to_register({}, launched) == []
    assert rank._sets_to_register(overrides, launched) == [(0, 1, 2, 3), (0, 1), (0,)]
    spread = {**overrides, "placement": "spread"}
    assert rank._sets_to_register(spread, launched) == [(0, 1, 4, 5), (0, 4), (0,)]


def test_ranks_numbered_across_the_nodes_are_refused_in_a_study() -> None:
    world = FakeWorld(0, 4)
    world.process_sets = {(0, 1): "registered", (0, 1, 2, 3): "all"}
    config = small_config(sizes=(2, 4))
    assert [group.name for group in rank._groups(world, config, ["a", "a", "b", "b"])] == [
        "world",
        "size-2",
        "independent",
    ]
    with pytest.raises(UsageError, match="numbered node by node"):
        rank._groups(world, config, ["a", "b", "a", "b"])


def test_run_ids_are_unique_and_readable() -> None:
    config, world = small_config(config="A-LRN"), FakeWorld(0, 1)
    ids = {rank._new_run_id(config, world) for _ in range(50)}
    assert len(ids) == 50
    assert all("-A-LRN-quick-np1-" in one for one in ids)


def test_settings_are_refused_by_what_the_device_and_horovod_are() -> None:
    def built(**changes: Any) -> Any:
        names = ("mpi", "gloo", "nccl", "cuda", "rocm", "ddl", "ccl")
        answers = {f"{name}_built": lambda name=name: changes.get(name, 0) for name in names}
        return SimpleNamespace(**answers, mpi_enabled=lambda: bool(changes.get("mpi")))

    cpu = Device("CPU", "a processor", "", 1, "given")
    gpu = Device("GPU", "a GPU (compute capability 7.0)", "0", 0, "")
    rank._set_up(small_config(reduction="adasum"), cpu, ["a"], built(mpi=1))
    with pytest.raises(MissingPartError, match="Adasum over MPI only"):
        rank._set_up(small_config(reduction="adasum"), cpu, ["a"], built(gloo=1))
    hierarchical = small_config(hierarchical_allreduce=True)
    rank._set_up(hierarchical, gpu, ["a", "b"], built(mpi=1, nccl=21000))
    with pytest.raises(MissingPartError, match="all ranks are on one node"):
        rank._set_up(hierarchical, gpu, ["a", "a"], built(mpi=1, nccl=21000))
    with pytest.raises(MissingPartError, match=r"compute capability 7\.0"):
        rank._set_up(small_config(precision="bfloat16"), gpu, ["a"], built())
