"""Worlds, clocks and runs that are known exactly, so that results can be worked out by hand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from distbench.config import PHASES, Config
from distbench.durable_files import json_document
from distbench.groups import Group, plan_groups
from distbench.layout import RunLayout
from distbench.plan import plan_blocks
from distbench.rank_writer import RankWriter
from distbench.records import SCHEMA_NAME, SCHEMA_VERSION
from distbench.worker.world import World

RUN_ID = "run-1"
MS = 1_000_000  # nanoseconds


class FakeClock:
    """A clock that stands still until something advances it."""

    def __init__(self) -> None:
        self.now_ns = 1_000

    def __call__(self) -> int:
        return self.now_ns

    def advance(self, nanoseconds: int) -> None:
        self.now_ns += nanoseconds


class _Meeting:
    def __init__(self, size: int) -> None:
        self.barrier = threading.Barrier(size, timeout=20)
        self.given: list[bytes] = [b""] * size


class FakeWorld(World):
    """One rank of a world whose ranks are threads of this process."""

    controller = "fake"
    transport = "threads"
    exchanges_without_tensorflow = True

    def __init__(self, rank: int, size: int, meeting: _Meeting | None = None) -> None:
        self.rank, self.size = rank, size
        self.local_rank, self.local_size = rank, size
        self.process_sets = {tuple(range(size)): "all ranks"}
        self._meeting = meeting or _Meeting(size)
        self.closed = False

    def barrier(self) -> None:
        self._meeting.barrier.wait()

    def rendezvous(self) -> None:
        self.barrier()

    def close(self) -> None:
        self.closed = True

    def _allgather_slice(self, data: bytes) -> list[bytes]:
        self._meeting.given[self.rank] = data
        self.barrier()
        received = list(self._meeting.given)
        self.barrier()
        return received


def on_every_rank(size: int, body: Callable[[FakeWorld], Any]) -> list[Any]:
    """What `body` returned or raised on each rank of a fake world."""
    meeting = _Meeting(size)

    def run(rank: int) -> Any:
        try:
            return body(FakeWorld(rank, size, meeting))
        except Exception as error:
            return error

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(run, range(size)))


def small_config(**changes: Any) -> Config:
    """A network that is built in a moment."""
    values: dict[str, Any] = {
        "preset": "quick",
        "image_size": 32,
        "batch_size": 2,
        "classes": 10,
        "fc_units": 128,
        "width_multiplier": 0.25,
        "warmup_steps": 1,
        "steps": 6,
        "blocks": 6,
    }
    return Config(**{**values, **changes})


def header(rank: int, size: int, **changes: Any) -> dict[str, Any]:
    """The header record of a rank on a host called 'node'."""
    return {
        "schema": SCHEMA_NAME,
        "schema_version": SCHEMA_VERSION,
        "size": size,
        "local_rank": rank,
        "local_size": size,
        "host": "node",
        "boot_id": "boot",
        "device": {
            "kind": "CPU",
            "name": "a processor",
            "nvml_name": "",
            "threads": 1,
            "threads_reason": "given",
        },
        "controller": "gloo",
        "transport": "threads",
        "grad_bytes": 1_000_000,
        "tensor_count": 2,
        **changes,
    }


def block(
    phase: str, index: int, duration_ms: Sequence[float], warmup: bool = False, **changes: Any
) -> dict[str, Any]:
    """One block whose steps follow each other without a gap."""
    durations = [round(value * MS) for value in duration_ms]
    starts = [1_000 + sum(durations[:position]) for position in range(len(durations))]
    return {
        "phase": phase,
        "group": "world",
        "group_size": 2,
        "role": "reducing",
        "block": index,
        "warmup": warmup,
        "images_per_step": 0 if phase == "allreduce" else 4,
        "telemetry": None,
        "start_ns": starts,
        "duration_ns": durations,
        **changes,
    }


def write_run(
    directory: Path,
    blocks_by_rank: Sequence[Sequence[dict[str, Any]]],
    config: Config | None = None,
    unfinished: Sequence[int] = (),
    header_changes: dict[str, Any] | None = None,
) -> RunLayout:
    """A run directory with the given blocks; `unfinished` ranks have no end line."""
    layout = RunLayout(directory)
    layout.raw.mkdir(parents=True)
    document = {"run_id": RUN_ID, **(config or config_of(blocks_by_rank)).as_dict()}
    layout.config.write_bytes(json_document(document))
    for rank, blocks in enumerate(blocks_by_rank):
        writer = RankWriter(layout.raw, RUN_ID, rank)
        writer.append("header", **header(rank, len(blocks_by_rank), **(header_changes or {})))
        writer.append("preflight", executed_allreduces={})
        for one in blocks:
            writer.append("block", **one)
        if rank not in unfinished:
            writer.append("final")
            writer.append("end", status="ok")
        writer.close()
    return layout


def study_config(**changes: Any) -> Config:
    """A study of 1, 2 and 4 ranks, in six rounds of two steps."""
    values = {"sizes": (1, 2, 4), "steps": 12, "blocks": 6, "rounds": 6, **changes}
    return small_config(**values)


def write_study(
    directory: Path,
    config: Config,
    nodes: Sequence[int],
    scale: dict[str, float] | None = None,
    waiting_cpu_s: float = 0.03,
    finished: bool = True,
    header_changes: dict[str, Any] | None = None,
    changed_blocks: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] = list,
) -> RunLayout:
    """A run directory of a study with the times of `study_time_ms`; hosts are 'node-0' and so on.

    `scale` makes all blocks of a role longer. Ranks outside of a group wait a second for each block.
    """
    layout = RunLayout(directory)
    layout.raw.mkdir(parents=True)
    layout.config.write_bytes(json_document({"run_id": RUN_ID, **config.as_dict()}))
    plan = plan_blocks(config, plan_groups(config, nodes))
    for rank, node in enumerate(nodes):
        writer = RankWriter(layout.raw, RUN_ID, rank)
        host = {"host": f"node-{node}" if len(set(nodes)) > 1 else "node"}
        writer.append("header", **header(rank, len(nodes), **{**host, **(header_changes or {})}))
        writer.append("preflight", groups={})
        for one in plan:
            group, place = one.group, {"phase": one.phase, "block": one.block, "warmup": one.warmup}
            if rank in group.ranks:
                time_ms = (scale or {}).get(group.role, 1.0) * study_time_ms(one.phase, group, rank)
                images = 0 if one.phase == "allreduce" else config.batch_of(group.size)
                own = block(
                    one.phase,
                    one.block,
                    [time_ms + one.block / 1000] * one.steps,
                    one.warmup,
                    group=group.record_name(rank),
                    group_size=group.size,
                    role=group.role,
                    images_per_step=images,
                )
                for changed in changed_blocks([own]):
                    writer.append("block", **changed)
            else:
                cpu_ns = round(waiting_cpu_s * 1e9)
                writer.append("wait", group=group.name, wall_ns=10**9, cpu_ns=cpu_ns, **place)
        if finished:
            writer.append("final")
            writer.append("end", status="ok")
        writer.close()
    return layout


def study_time_ms(phase: str, group: Group, rank: int) -> float:
    """forward 10, forward_backward 30, train_step 32 where nothing is reduced; rank 1 is 2 % slower.

    A group of p ranks adds 2 p to what it reduces in. The control of all ranks takes as long as one.
    """
    own = {"forward": 10.0, "forward_backward": 30.0, "allreduce": 0.0, "train_step": 32.0}
    time = own.get(phase, 30.0) * (1.02 if rank == 1 else 1.0)
    if group.reduces and phase not in ("forward", "forward_backward"):
        return time + 2.0 * len(group.ranks)
    return time or 0.01  # an allreduce of one rank


def config_of(blocks_by_rank: Sequence[Sequence[dict[str, Any]]]) -> Config:
    """The configuration that plans the blocks of the first rank."""
    blocks = blocks_by_rank[0] if blocks_by_rank else []
    phases = tuple(phase for phase in PHASES if any(one["phase"] == phase for one in blocks))
    of_first = [one for one in blocks if phases and one["phase"] == phases[0]]
    timed = [len(one["duration_ns"]) for one in of_first if not one["warmup"]]
    warmup = [len(one["duration_ns"]) for one in of_first if one["warmup"]]
    return small_config(
        phases=phases or PHASES,
        steps=sum(timed) or 1,
        blocks=len(timed) or 1,
        warmup_steps=sum(warmup),
    )


def ladder_blocks(scale: float = 1.0, rounds: int = 6) -> list[dict[str, Any]]:
    """Every phase in `rounds` blocks of two steps, after a block of warm-up that is far too slow.

    In ms: forward 10, forward_backward 30, allreduce 20, forward_backward_allreduce 40, train_step 45;
    block b of each is longer by b µs.
    """
    times = {
        "forward": 10.0,
        "forward_backward": 30.0,
        "allreduce": 20.0,
        "forward_backward_allreduce": 40.0,
        "train_step": 45.0,
    }
    blocks = [block(phase, 0, [500.0], warmup=True) for phase in times]
    for index in range(1, rounds + 1):
        for phase, time_ms in times.items():
            blocks.append(block(phase, index, [scale * (time_ms + index / 1000)] * 2))
    return blocks
