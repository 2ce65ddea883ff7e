"""One rank's life, top to bottom."""

from __future__ import annotations

import os
import sys
import time
import traceback
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from distbench.config import Config, Overrides, resolve
from distbench.errors import DistbenchError, RankFailedError, first_line
from distbench.records import (
    SCHEMA_NAME,
    SCHEMA_VERSION,
    RankWriter,
    json_document,
    write_atomically,
)
from distbench.worker import host, preflight
from distbench.worker.device import Device, check_one_gpu_each, claim_device
from distbench.worker.executed_ops import count_executed_ops
from distbench.worker.measure import PlannedBlock, clock_resolution_ns, plan_blocks, time_block
from distbench.worker.native_output import stderr_kept_back
from distbench.worker.network import Network
from distbench.worker.phases import Phase, PhaseLadder
from distbench.worker.progress import Progress
from distbench.worker.run_directory import RunDirectory, create, gather_records
from distbench.worker.telemetry import NoTelemetry, NvmlTelemetry, open_telemetry
from distbench.worker.world import World, import_horovod, open_world

CLOCK = time.perf_counter_ns
GROUP = "world"


@dataclass
class Rank:
    """What one rank holds while it runs."""

    world: World
    hvd: Any
    config: Config
    device: Device
    telemetry: NvmlTelemetry | NoTelemetry
    run: RunDirectory
    writer: RankWriter
    progress: Progress | None  # rank 0 only
    is_gathered: bool = False


def run_rank(overrides: Overrides) -> str | None:
    """Runs the benchmark as one rank of the job; returns the run directory on rank 0, None elsewhere.

    Raises the same DistbenchError on every rank where all of them can still be told, and
    RankFailedError where this rank failed alone.
    """
    show_log = overrides.get("tensorflow_log", False)
    prepare_environment(show_log)
    with stderr_kept_back(not show_log):
        hvd = import_horovod()
    world = open_world(hvd)
    try:
        rank = _begin(world, hvd, overrides)
    except DistbenchError:
        raise
    except Exception as error:  # there is no record yet that could hold the traceback
        traceback.print_exc()
        raise _failed(world, error) from error
    _live(rank)
    world.close()
    return str(rank.run.layout.directory) if world.rank == 0 else None


def _live(rank: Rank) -> None:
    """Measures and closes the record; whatever happens, the reason is on disk before it is raised."""
    try:
        _measure(rank)
        rank.writer.append("end", status="ok")
        _gather(rank)
        if rank.world.rank == 0:
            rank.run.write_status("complete", 0)
    except DistbenchError as error:
        _record_failure(rank, error, traceback.format_exc())
        raise
    except Exception as error:
        failed = _failed(
            rank.world, error, f"; what was measured is in {rank.run.layout.directory}"
        )
        # Horovod ends the collectives of all ranks when one leaves: that is no first cause.
        failed.is_echo = rank.run.failed_already()
        _record_failure(rank, failed, traceback.format_exc())
        raise failed from error
    finally:
        if rank.progress:
            rank.progress.finish()


def _failed(world: World, error: Exception, where: str = "") -> RankFailedError:
    return RankFailedError(
        f"rank {world.rank} failed with {type(error).__name__}: {first_line(error)}{where}"
    )


def prepare_environment(show_log: bool) -> None:
    """Sets what TensorFlow and CUDA read once, before they are imported."""
    if show_log:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "0"
    else:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # its default, without the notice
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # count GPUs as NVML does


def _begin(world: World, hvd: Any, overrides: Overrides) -> Rank:
    """Device, configuration and directory: everything that must be agreed on before any work."""
    machine = host.machine()
    device = world.together(
        lambda: claim_device(
            world, machine["host"], machine["cpu"], overrides.get("threads_per_rank", 0)
        )
    )
    telemetry = open_telemetry(device.kind, device.nvml_name)
    holders = world.allgather_json([machine["host"], telemetry.uuid])
    world.together(lambda: check_one_gpu_each(holders))
    config = world.together(lambda: resolve(overrides, on_gpu=device.kind == "GPU"))
    preflight.check_same_everywhere(world, _identity(config))
    run_id = str(world.allgather_json(_new_run_id(config, world))[0])
    run = create(world, config, run_id)
    writer = world.together(lambda: RankWriter(run.layout.raw, run_id, world.rank))
    progress = Progress(sys.stderr, CLOCK, plan_blocks(config)) if world.rank == 0 else None
    rank = Rank(world, hvd, config, device, telemetry, run, writer, progress)
    world.together(lambda: _write_header(rank, machine))
    _write_manifest(rank, machine)
    return rank


def _identity(config: Config) -> dict[str, Any]:
    """What every rank must have alike."""
    values = {f"config.{name}": value for name, value in config.as_dict().items()}
    packages = {f"version of {name}": value for name, value in host.versions().items()}
    return {**values, **packages}


def _new_run_id(config: Config, world: World) -> str:
    """Readable, and unique by its random end."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())  # a label only; no duration uses it
    return f"{stamp}-{config.config}-{config.preset}-np{world.size}-{uuid.uuid4().hex[:8]}"


def _write_header(rank: Rank, machine: Mapping[str, Any]) -> None:
    world, network = rank.world, rank.config.network()
    rank.writer.append(
        "header",
        schema=SCHEMA_NAME,
        schema_version=SCHEMA_VERSION,
        size=world.size,
        local_rank=world.local_rank,
        local_size=world.local_size,
        host=machine["host"],
        boot_id=host.boot_id(),
        device=asdict(rank.device),
        gpu_uuid=rank.telemetry.uuid,
        controller=world.controller,
        transport=world.transport,
        clock="time.perf_counter_ns",
        clock_resolution_ns=clock_resolution_ns(CLOCK),
        grad_bytes=network.grad_bytes,
        tensor_count=network.tensor_count,
    )


def _write_manifest(rank: Rank, machine: Mapping[str, Any]) -> None:
    """Brings every rank's description to rank 0, which writes manifest.json and the first status."""
    world = rank.world
    description = {
        "rank": world.rank,
        "local_rank": world.local_rank,
        "local_size": world.local_size,
        **machine,
        "device": asdict(rank.device),
        "gpu_uuid": rank.telemetry.uuid,
        "driver": rank.telemetry.driver,
    }
    machines = world.allgather_json(description)

    def write() -> None:
        write_atomically(rank.run.layout.manifest, json_document(_manifest(rank, machines)))
        rank.run.write_status("running", None)

    world.together(write if world.rank == 0 else lambda: None)


def _manifest(rank: Rank, machines: list[Any]) -> dict[str, Any]:
    return {
        "run_id": rank.run.run_id,
        "versions": host.versions(),
        "horovod": host.horovod_build(rank.hvd),
        "tensorflow": host.tensorflow_build(),
        "mpi_library": host.mpi_library(rank.world.controller),
        "environment": host.environment(os.environ),
        "git_commit": host.git_commit(),
        "controller": rank.world.controller,
        "transport": rank.world.transport,
        "block_order_seed": rank.config.seed,
        "ranks": machines,
    }


def _measure(rank: Rank) -> None:
    """Builds the network, proves the phases, and times every block."""
    world, config = rank.world, rank.config
    import tensorflow as tf

    tf.random.set_seed(config.seed + world.rank)  # dropout differs between ranks
    _say(rank, f"{config.network_label} on {world.size} {rank.device.kind}(s), building the graph")
    network = Network(config.network(), config.batch_size, config.seed, world.rank)
    rank.hvd.broadcast_variables(network.parameters, root_rank=0)
    ladder = PhaseLadder(network, rank.hvd, world.size)
    phases = ladder.build(config.phases)
    weights = ladder.snapshot()
    _say(rank, "preflight: proving that every phase does its work")
    proof = preflight.prove_phases(phases, network, world, rank.device.kind, count_executed_ops)
    ladder.restore(weights)
    rank.writer.append("preflight", ranks_in_group=world.size, **proof)
    trained = _run_blocks(rank, phases, ladder, weights, network)
    _say(rank, "checking weights and gradients after the last block")
    found = preflight.prove_after_timing(phases, network, world)
    rank.writer.append("final", trained_parameters_digest=trained, **found)


def _run_blocks(
    rank: Rank,
    phases: Mapping[str, Phase],
    ladder: PhaseLadder,
    weights: list[Any],
    network: Network,
) -> str | None:
    """Times every block; returns the digest of the weights that the last training block left.

    Those are checked before they are put back: ranks that drift apart, or weights that run away,
    show there.
    """
    plan = plan_blocks(rank.config)
    training = [block for block in plan if phases[block.phase].changes_parameters]
    trained = None
    for block in plan:
        _run_block(rank, phases[block.phase], block)
        if training and block == training[-1]:
            trained = preflight.prove_parameters(network, rank.world)
        if block in training:
            ladder.restore(weights)
    return trained


def _run_block(rank: Rank, phase: Phase, block: PlannedBlock) -> None:
    import tensorflow as tf

    before = rank.telemetry.read()
    progress = rank.progress
    report = (lambda _, duration_ns: progress.step(block, duration_ns)) if progress else _silently
    rank.world.barrier()
    times = time_block(
        phase.run, tf.test.experimental.sync_devices, CLOCK, block.steps, after_step=report
    )
    rank.writer.append(
        "block",
        phase=block.phase,
        group=GROUP,
        group_size=rank.world.size,
        block=block.block,
        warmup=block.warmup,
        images_per_step=phase.images_per_step,
        telemetry={"before": before, "after": rank.telemetry.read()} if before else None,
        **asdict(times),
    )
    if progress:
        progress.block_done()


def _silently(index: int, duration_ns: int) -> None:
    """Ranks other than 0 say nothing."""


def _gather(rank: Rank) -> None:
    """Closes this rank's record and brings all of them to rank 0. To be called on every rank."""
    rank.is_gathered = True
    rank.writer.close()
    gathered = rank.world.together(lambda: gather_records(rank.world, rank.run))
    if gathered is not None:
        rank.run.status["gather"] = dict(gathered)


def _record_failure(rank: Rank, error: DistbenchError, trace: str) -> None:
    """Leaves the reason on disk: in this rank's record and, for the first to fail, in status.json.

    Nothing here may hide the error that is on its way.
    """
    description: dict[str, Any] = {
        "error": type(error).__name__,
        "exit_code": error.exit_code,
        "rank": rank.world.rank,
    }
    for leave in (_leave_failure, _leave_status):
        try:
            leave(rank, error, description, trace)
        except (DistbenchError, OSError, ValueError) as second:
            print(f"distbench: the failure could not be recorded: {second}", file=sys.stderr)


def _leave_failure(rank: Rank, error: DistbenchError, description: Any, trace: str) -> None:
    if rank.is_gathered:
        return
    rank.writer.append(
        "failure", **description, sentence=error.sentence, is_echo=error.is_echo, traceback=trace
    )
    if error.on_every_rank:  # all ranks are here, so that their records can still be brought
        _gather(rank)


def _leave_status(rank: Rank, error: DistbenchError, description: Any, trace: str) -> None:
    told_by_rank_0 = error.on_every_rank and rank.world.rank != 0
    if rank.run.is_shared and not told_by_rank_0 and not rank.run.failed_already():
        rank.run.write_status("failed", cause=error.sentence, **description)


def _say(rank: Rank, text: str) -> None:
    if rank.progress:
        rank.progress.say(text)
