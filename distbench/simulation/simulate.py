"""`distbench simulate`: the run directory that a stated cluster's ranks would have written.

The configuration, the groups, the order of the blocks and the records are those of a real run; only
the times come from a model. Every header says `simulated`, and manifest.json holds the cluster and
its true values under `simulated_cluster`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import platform
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import distbench
from distbench.config import Config
from distbench.durable_files import json_document, write_atomically
from distbench.errors import MissingPartError, OutputError, RankFailedError, UsageError
from distbench.groups import Group, plan_groups, registered_sets
from distbench.knobs import changed
from distbench.layout import RunLayout
from distbench.plan import PlannedBlock, plan_blocks
from distbench.records import (
    SCHEMA_NAME,
    SCHEMA_VERSION,
    encode,
    raw_file_name,
    settings_checksum,
)
from distbench.simulation.cluster import Cluster, DeadRank
from distbench.simulation.cluster_model import CYCLE_NS, FUSION_BYTES, allreduce_cost, step_model
from distbench.simulation.cluster_steps import SimulatedBlock, block_at, run_plan
from distbench.simulation.cluster_truth import true_values
from distbench.simulation.simulated_records import BlockLines

MOST_RANK_STEPS = 200_000_000  # held in memory at 8 bytes each
LONGEST_RUN_S = 1e8  # three years: nanoseconds stay far below 2^63 whatever the noise
DEVICE = {
    "kind": "GPU",
    "name": "simulated device",
    "nvml_name": "",
    "threads": 0,
    "threads_reason": "simulated",
}
_CLOCKS_APART_NS = 10**15  # at most, between the nodes


@dataclass(frozen=True)
class Simulation:
    """One run to be written: `plan` is all of it, `survived` how many of its blocks the job lived."""

    cluster: Cluster
    config: Config
    groups: tuple[Group, ...]
    plan: Sequence[PlannedBlock]
    survived: int
    run_id: str
    layout: RunLayout

    @cached_property
    def settings_crc32(self) -> str:
        """What every header says of the configuration."""
        return settings_checksum(self.config.as_dict())


def simulate(cluster: Cluster, config: Config) -> tuple[RunLayout, dict[str, Any]]:
    """Writes a run directory; returns where it is, and the true values.

    The same cluster and configuration write the same records. Raises UsageError where the run is too
    large or too long, OutputError where the directory is there already or cannot be written.
    """
    try:
        import numpy  # noqa: F401
    except ImportError as error:
        raise MissingPartError(
            "numpy is missing, which the simulator needs; install distbench[report]"
        ) from error
    for name in changed(config):
        raise UsageError(
            f"{name} is {getattr(config, name)}, and a simulated cluster has no such setting; unset "
            f"DISTBENCH_{name.upper()}"
        )
    simulation = _prepared(cluster, _with_links(cluster, config))
    config = simulation.config
    # Everything is worked out before the directory is made.
    truth = true_values(cluster, config, simulation.groups)
    blocks = list(run_plan(cluster, config, simulation.plan))[: simulation.survived]
    _make_directory(simulation)
    try:
        _write(simulation, blocks, truth)
    except OSError as error:
        raise OutputError(
            f"the simulated run cannot be written to {simulation.layout.directory} "
            f"({error.strerror}); free space there or name another place with --output"
        ) from error
    return simulation.layout, truth


def _with_links(cluster: Cluster, config: Config) -> Config:
    """The cluster's links as settings, as somebody who knows a real one gives them."""
    return dataclasses.replace(
        config,
        link_gb_per_s=config.link_gb_per_s or cluster.inter_gb_per_s,
        intra_link_gb_per_s=config.intra_link_gb_per_s or cluster.intra_gb_per_s,
    )


def _prepared(cluster: Cluster, config: Config) -> Simulation:
    groups = plan_groups(config, cluster.nodes)
    plan = plan_blocks(config, groups)
    _check_amount(plan)
    _check_length(cluster, config, plan)
    survived = len(plan)
    if cluster.dead_rank is not None:
        survived, _ = block_at(plan, cluster.dead_rank.at)
    stated = {**dataclasses.asdict(cluster), **config.as_dict(), "output": ""}
    digest = hashlib.blake2b(json_document(stated), digest_size=4).hexdigest()
    run_id = f"simulated-{config.config}-{config.preset}-np{cluster.ranks}-{digest}"
    directory = Path(config.output) if config.output else Path("results") / run_id
    return Simulation(cluster, config, groups, plan, survived, run_id, RunLayout(directory))


def _check_amount(plan: Sequence[PlannedBlock]) -> None:
    amount = sum(block.steps * len(block.group.ranks) for block in plan)
    if amount > MOST_RANK_STEPS:
        raise UsageError(
            f"the run would hold {amount} steps of all ranks together and the most is "
            f"{MOST_RANK_STEPS}; give fewer --steps, --sizes or --ranks"
        )


def _check_length(cluster: Cluster, config: Config, plan: Sequence[PlannedBlock]) -> None:
    """Estimates from above; every factor is taken to be there all the time."""
    factor = max([1.0, *(slow.factor for slow in cluster.slow_rank)])
    factor *= max(1.0, 1 + cluster.drift)
    factor *= max(1.0, cluster.thermal_step.factor if cluster.thermal_step else 1.0)
    length_s = longest_s = 0.0
    for block in plan:
        cost = allreduce_cost(cluster, block.group.ranks)
        step = step_model(cluster, config.network(), config.batch_of(block.group.size))
        per_byte = cost.ns_per_byte + cost.copy_ns_per_byte
        network_ns = cost.latency_ns * len(step.tensor_bytes) + per_byte * sum(step.tensor_bytes)
        step_s = (factor * (step.forward_backward_ns + step.optimizer_ns) + network_ns) / 1e9
        length_s += block.steps * step_s
        longest_s = max(longest_s, step_s)
    length_s += longest_s * sum(spike.factor for spike in cluster.spike)
    if not length_s <= LONGEST_RUN_S:
        raise UsageError(
            f"the simulated run would last {length_s:.3g} s and the longest is {LONGEST_RUN_S:.0e} s; "
            "give a faster cluster, fewer --steps or a smaller batch"
        )


def _make_directory(simulation: Simulation) -> None:
    layout = simulation.layout
    try:
        if layout.directory.exists():
            raise OutputError(
                f"the run directory {layout.directory} exists already and a run is never "
                "overwritten; name another one with --output"
            )
        layout.directory.parent.mkdir(parents=True, exist_ok=True)
        layout.directory.mkdir()
        layout.raw.mkdir()
    except OSError as error:
        raise OutputError(
            f"the run directory {layout.directory} cannot be made ({error.strerror}); "
            "name a place that can be written with --output"
        ) from error


def _write(simulation: Simulation, blocks: Sequence[SimulatedBlock], truth: dict[str, Any]) -> None:
    layout, config = simulation.layout, simulation.config
    identity = {"run_id": simulation.run_id}
    write_atomically(layout.config, json_document({**identity, **config.as_dict()}))
    write_atomically(layout.manifest, json_document(_manifest(simulation, truth)))
    _write_status(simulation, "running", None)
    lines = [
        BlockLines(block, simulation.run_id, _images_per_step(config, block.planned))
        for block in blocks
    ]
    clocks_ns = _clocks_ns(simulation)
    for rank in range(simulation.cluster.ranks):
        clock_ns = clocks_ns[simulation.cluster.node_of(rank)]
        content = b"".join(_rank_file(simulation, rank, clock_ns, lines))
        with open(layout.raw / raw_file_name(rank), "xb") as file:
            file.write(content)
    _write_end(simulation)


def _images_per_step(config: Config, block: PlannedBlock) -> int:
    return 0 if block.phase == "allreduce" else config.batch_of(block.group.size)


def _clocks_ns(simulation: Simulation) -> list[int]:
    """What the clock of each node shows at the start: nothing relates those of two machines."""
    source = random.Random(simulation.config.seed)
    nodes = simulation.cluster.node_of(simulation.cluster.ranks - 1) + 1
    return [source.randrange(10**12, _CLOCKS_APART_NS) for _ in range(nodes)]


def _rank_file(
    simulation: Simulation, rank: int, clock_ns: int, lines: Sequence[BlockLines]
) -> Iterator[bytes]:
    def record(sequence: int, kind: str, **fields: Any) -> bytes:
        common = {"kind": kind, "seq": sequence, "run_id": simulation.run_id, "rank": rank}
        return encode({**common, **fields})

    yield record(0, "header", **_header(simulation, rank))
    yield record(1, "preflight", simulated=True)
    for sequence, block in enumerate(lines, start=2):
        yield block.line(rank, sequence, clock_ns)
    following, dead = 2 + len(lines), simulation.cluster.dead_rank
    if dead is None:
        yield record(following, "final", simulated=True)
        yield record(following + 1, "end", status="ok")
    elif rank != dead.rank:
        yield record(following, "failure", **_failure(simulation, rank))


def _header(simulation: Simulation, rank: int) -> dict[str, Any]:
    network = simulation.config.network()
    return {
        "schema": SCHEMA_NAME,
        "schema_version": SCHEMA_VERSION,
        "simulated": True,
        "size": simulation.cluster.ranks,
        **_place(simulation.cluster, rank),
        "boot_id": f"simulated-boot-{simulation.cluster.node_of(rank):03d}",
        "controller": "simulated",
        "transport": "simulated",
        "clock": "simulated",
        "clock_resolution_ns": 1,
        "settings_crc32": simulation.settings_crc32,
        "grad_bytes": network.grad_bytes,
        "tensor_count": network.tensor_count,
    }


def _place(cluster: Cluster, rank: int) -> dict[str, Any]:
    node = cluster.node_of(rank)
    first = node * cluster.ranks_per_node
    return {
        "local_rank": rank - first,
        "local_size": min(cluster.ranks_per_node, cluster.ranks - first),
        "host": f"simulated-node-{node:03d}",
        "device": DEVICE,
        "gpu_uuid": f"simulated-{rank:05d}",
    }


def _failure(simulation: Simulation, rank: int) -> dict[str, Any]:
    """What a rank records whose collective fails because another rank has died."""
    dead = simulation.cluster.dead_rank
    assert dead is not None
    return {
        "error": "RankFailedError",
        "exit_code": RankFailedError.exit_code,
        "rank": rank,
        "sentence": f"rank {rank} failed with UnknownError: rank {dead.rank} of the simulated "
        "cluster has died; what was measured is in the run directory",
        "is_echo": rank != _first_to_fail(dead),
        "traceback": "simulated",
    }


def _first_to_fail(dead: DeadRank) -> int:
    return 1 if dead.rank == 0 else 0


def _manifest(simulation: Simulation, truth: dict[str, Any]) -> dict[str, Any]:
    cluster = simulation.cluster
    return {
        "run_id": simulation.run_id,
        "versions": {"distbench": distbench.__version__, "python": platform.python_version()},
        "horovod": {"nccl_built": "simulated"},
        "environment": {},
        "controller": "simulated",
        "transport": "simulated",
        "block_order_seed": simulation.config.seed,
        "groups": [dataclasses.asdict(group) for group in simulation.groups],
        "process_sets_registered": len(registered_sets(simulation.groups, cluster.ranks)),
        "ranks": [
            {"rank": rank, **_place(cluster, rank), "cores_allowed": []}
            for rank in range(cluster.ranks)
        ],
        "simulated_cluster": {
            "parameters": dataclasses.asdict(cluster),
            "model": {"fusion_bytes": FUSION_BYTES, "cycle_ns": CYCLE_NS},
            "seed": simulation.config.seed,
            "truth": truth,
        },
    }


def _write_status(simulation: Simulation, state: str, exit_code: int | None, **more: Any) -> None:
    status = {"state": state, "exit_code": exit_code, "run_id": simulation.run_id, **more}
    write_atomically(simulation.layout.status, json_document({"simulated": True, **status}))


def _write_end(simulation: Simulation) -> None:
    dead = simulation.cluster.dead_rank
    if dead is None:
        _write_status(simulation, "complete", 0)
    elif simulation.cluster.ranks > 1:  # else nobody is left to say so
        failure = _failure(simulation, _first_to_fail(dead))
        told = {name: failure[name] for name in ("error", "rank")}
        _write_status(simulation, "failed", failure["exit_code"], cause=failure["sentence"], **told)
