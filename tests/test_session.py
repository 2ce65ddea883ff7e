"""What a rank does in a study, on fake worlds; the whole of it runs in test_end_to_end."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from distbench.errors import CorrectnessError
from distbench.groups import Group, plan_groups
from distbench.rank_writer import RankWriter
from distbench.records import RankRecords, read_rank_file
from distbench.worker import proving, session
from distbench.worker.device import Device
from distbench.worker.faults import Fault, Saboteur
from distbench.worker.phases import Phase
from distbench.worker.telemetry import NoTelemetry
from tests.fakes import RUN_ID, FakeWorld, header, on_every_rank, study_config

tf = pytest.importorskip("tensorflow")


class LoneHorovod:
    """Broadcasts nothing: these ranks build the same weights from the same seed."""

    def broadcast_variables(self, variables: Any, root_rank: int) -> None:
        assert root_rank == 0


def a_session(world: FakeWorld, directory: Path, **changes: Any) -> session.Session:
    # size 1 only, so that no rank needs a real Horovod to reduce with
    config = study_config(**{"sizes": (1,), "phases": ("forward", "train_step"), **changes})
    controls = (Group("independent", tuple(range(world.size)), "independent"),)
    writer = RankWriter(directory, RUN_ID, world.rank)
    writer.append("header", **header(world.rank, world.size))
    device = Device("CPU", "a processor", "", 1, "given")
    return session.Session(
        world=world,
        hvd=LoneHorovod(),
        config=config,
        groups=plan_groups(config, [0] * world.size) + controls[: world.size - 1],
        device=device,
        telemetry=NoTelemetry(),
        run=None,  # type: ignore[arg-type]
        writer=writer,
        progress=None,
    )


def records_of_ranks(directory: Path, size: int) -> list[RankRecords]:
    return [read_rank_file(directory / f"rank-{rank:05d}.jsonl", RUN_ID) for rank in range(size)]


def test_ranks_take_turns_and_write_down_how_they_waited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proving, "count_executed_ops", lambda run: Counter(run() or ()))
    ended = on_every_rank(2, lambda world: session.measure(a_session(world, tmp_path)))
    assert ended == [None, None]
    for records in records_of_ranks(tmp_path, 2):
        assert records.problems == []
        assert records.preflight is not None
        assert records.preflight["groups"]["independent"]["executed_allreduces"] == {
            "train_step": 0
        }
        own = [block for block in records.blocks if block["role"] == "alone"]
        # warm-up and six rounds of two phases, and as many blocks of the other rank to wait for
        assert len(own) == 14
        assert {block["group"] for block in own} == {f"alone-{records.rank:05d}"}
        assert {block["group_size"] for block in own} == {1}
        assert records.waits.count == 14
        assert records.waits.wall_ns > 0
        text = (tmp_path / f"rank-{records.rank:05d}.jsonl").read_text()
        assert text.count(f'"alone-turn-{1 - records.rank}","kind":"wait"') == 14
        together = [block for block in records.blocks if block["role"] == "independent"]
        assert {(block["phase"], block["group_size"]) for block in together} == {("train_step", 2)}


def test_a_nan_of_any_training_block_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an early block too, although the weights are put back after each of them."""
    monkeypatch.setattr(proving, "count_executed_ops", lambda run: Counter(run() or ()))
    planned = a_session(FakeWorld(0, 1), tmp_path)
    faulty = Fault("nan", rank=0, phase="train_step", step=2)
    planned.saboteur = Saboteur(faulty, rank=0)
    with pytest.raises(CorrectnessError, match="the network holds a NaN or an infinity"):
        session.measure(planned)
    (records,) = records_of_ranks(tmp_path, 1)
    trained = [block["block"] for block in records.blocks if block["phase"] == "train_step"]
    assert 1 <= len(trained) < 1 + planned.config.blocks


def test_networks_of_strong_scaling_share_their_weights(tmp_path: Path) -> None:
    world = FakeWorld(0, 1)
    strong = a_session(world, tmp_path, sizes=(1, 2), scaling="strong", global_batch=8)
    strong.groups = plan_groups(strong.config, [0])[-1:]  # the world of one rank: batch 8
    built = session._build(strong)
    assert list(built.networks) == [8]
    strong.groups = (
        *plan_groups(study_config(sizes=(1,)), [0, 0]),
        Group("independent", (0, 1), "independent"),
    )
    built = session._build(strong)
    assert sorted(built.networks) == [4, 8]  # two ranks at once, and one alone
    small, large = built.networks[4], built.networks[8]
    assert [one is other for one, other in zip(small.parameters, large.parameters)] == [True] * 32
    assert small.images.shape[0] == 4
    assert large.images.shape[0] == 8


class Calls:
    """A phase that notes who was called."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self._log = name, log

    def run(self) -> None:
        self._log.append(self.name)

    def prepare(self) -> None:
        self._log.append(f"{self.name} prepared")


def test_each_computing_phase_is_called_once_before_the_proofs(tmp_path: Path) -> None:
    """To prepare what allreduce carries is a call of forward_backward."""
    log: list[str] = []
    forward, alone = Calls("forward", log), Calls("forward_backward of one", log)
    many = Calls("forward_backward of many", log)
    phases = {
        "alone": {"forward": forward, "forward_backward": alone},
        "also alone": {"forward": forward, "forward_backward": alone},
        "all": {
            "forward": forward,
            "forward_backward": many,
            "allreduce": Calls("allreduce", log),
            "train_step": Calls("train_step", log),
        },
    }
    built = session.Built(None, {}, phases)  # type: ignore[arg-type]
    proving.call_first(a_session(FakeWorld(0, 1), tmp_path), built)
    assert log == ["forward", "forward_backward of one", "allreduce prepared"]


class LoggedTelemetry:
    """Reads something, and notes when."""

    def __init__(self, log: list[str]) -> None:
        self._log = log

    def read(self) -> dict[str, int]:
        self._log.append("telemetry")
        return {"energy_mj": len(self._log)}


def test_what_prepares_a_block_is_no_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither of its steps, nor of its energy, nor of the time after the ranks have met."""
    log: list[str] = []
    world = FakeWorld(0, 1)
    monkeypatch.setattr(world, "rendezvous", lambda: log.append("ranks meet"))
    monkeypatch.setattr(
        tf.test.experimental, "sync_devices", lambda: log.append("devices are done")
    )
    own = a_session(world, tmp_path)
    own.telemetry = LoggedTelemetry(log)  # type: ignore[assignment]
    block = next(one for one in own.plan if one.phase == "train_step")
    phase = Phase(
        "train_step",
        run=lambda: log.append("step"),
        images_per_step=4,
        allreduces_per_step=0,
        prepare=lambda: log.append("prepared"),
    )
    own.pulse.enter_block(0, block.in_words)
    record = session._timed(own, phase, block)
    assert log[:4] == ["prepared", "devices are done", "telemetry", "ranks meet"]
    assert log[4:7] == ["devices are done", "step", "devices are done"]
    assert log[-2:] == ["telemetry", "ranks meet"]
    assert len(record["duration_ns"]) == block.steps == log.count("step")
