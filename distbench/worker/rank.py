"""One rank's life, top to bottom."""

from __future__ import annotations

import os
import sys
import time
import traceback
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from distbench.config import Config, Overrides, resolve, study_sizes
from distbench.durable_files import json_document, write_atomically
from distbench.errors import DistbenchError, RankFailedError, first_line
from distbench.groups import (
    Group,
    check_placement,
    nodes_by_launcher,
    nodes_of,
    plan_groups,
    registered_sets,
)
from distbench.launched import LaunchedAs, launched_as
from distbench.rank_writer import RankWriter
from distbench.records import SCHEMA_NAME, SCHEMA_VERSION
from distbench.worker import host, preflight
from distbench.worker.device import check_one_gpu_each, claim_device
from distbench.worker.measure import clock_resolution_ns
from distbench.worker.native_output import stderr_kept_back
from distbench.worker.progress import Progress
from distbench.worker.run_directory import create, gather_records
from distbench.worker.session import CLOCK, Session, measure
from distbench.worker.telemetry import open_telemetry
from distbench.worker.world import World, import_horovod, open_world


def run_rank(overrides: Overrides) -> str | None:
    """Runs the benchmark as one rank of the job; returns the run directory on rank 0, None elsewhere.

    Raises the same DistbenchError on every rank where all of them can still be told, and
    RankFailedError where this rank failed alone.
    """
    show_log = overrides.get("tensorflow_log", False)
    launched = launched_as(os.environ)
    sets = _sets_to_register(overrides, launched)
    prepare_environment(show_log, is_study=bool(overrides.get("sizes")))
    with stderr_kept_back(not show_log):
        hvd = import_horovod()
    world = open_world(hvd, launched, sets)
    try:
        session = _begin(world, hvd, overrides)
    except DistbenchError:
        raise
    except Exception as error:  # there is no record yet that could hold the traceback
        traceback.print_exc()
        raise _failed(world, error) from error
    _live(session)
    world.close()
    return str(session.run.layout.directory) if world.rank == 0 else None


def _live(session: Session) -> None:
    """Measures and closes the record; whatever happens, the reason is on disk before it is raised."""
    try:
        measure(session)
        session.writer.append("end", status="ok")
        _gather(session)
        if session.world.rank == 0:
            session.run.write_status("complete", 0)
    except DistbenchError as error:
        _record_failure(session, error, traceback.format_exc())
        raise
    except Exception as error:
        failed = _failed(
            session.world, error, f"; what was measured is in {session.run.layout.directory}"
        )
        # Horovod ends the collectives of all ranks when one leaves: that is no first cause.
        failed.is_echo = session.run.failed_already()
        _record_failure(session, failed, traceback.format_exc())
        raise failed from error
    finally:
        if session.progress:
            session.progress.finish()


def _failed(world: World, error: Exception, where: str = "") -> RankFailedError:
    return RankFailedError(
        f"rank {world.rank} failed with {type(error).__name__}: {first_line(error)}{where}"
    )


def prepare_environment(show_log: bool, is_study: bool) -> None:
    """Sets what TensorFlow, CUDA and Horovod read once, before they are imported."""
    if is_study:
        # Ranks outside of a group rightly wait for minutes, which Horovod would call a stall.
        os.environ.setdefault("HOROVOD_STALL_CHECK_DISABLE", "1")
    if show_log:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "0"
    else:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # its default, without the notice
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # count GPUs as NVML does


def _begin(world: World, hvd: Any, overrides: Overrides) -> Session:
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
    config = world.together(
        lambda: resolve(overrides, on_gpu=device.kind == "GPU", world_size=world.size)
    )
    preflight.check_same_everywhere(world, _identity(config))
    groups = world.together(lambda: _groups(world, config, [host for host, _ in holders]))
    run_id = str(world.allgather_json(_new_run_id(config, world))[0])
    run = create(world, config, run_id)
    writer = world.together(lambda: RankWriter(run.layout.raw, run_id, world.rank))
    session = Session(world, hvd, config, groups, device, telemetry, run, writer, None)
    if world.rank == 0:
        session.progress = Progress(sys.stderr, CLOCK, session.plan)
    world.together(lambda: _write_header(session, machine))
    _write_manifest(session, machine)
    return session


def _sets_to_register(overrides: Overrides, launched: LaunchedAs) -> list[tuple[int, ...]]:
    """The sets of ranks of a study, by what the launcher's variables say of the nodes."""
    sizes = study_sizes(overrides, launched.size)
    if not sizes:
        return []
    placement = overrides.get("placement", Config.placement)
    nodes = nodes_by_launcher(launched, placement)
    phases = overrides.get("phases", Config.phases)
    config = Config(sizes=sizes, placement=placement, phases=phases)
    return registered_sets(plan_groups(config, nodes), launched.size)


def _groups(world: World, config: Config, hosts: Sequence[str]) -> tuple[Group, ...]:
    """The groups by the true hosts of the ranks, which must be those that were registered."""
    groups = plan_groups(config, nodes_of(hosts))
    check_placement(groups, list(world.process_sets), world.size)
    return groups


def _identity(config: Config) -> dict[str, Any]:
    """What every rank must have alike."""
    values = {f"config.{name}": value for name, value in config.as_dict().items()}
    packages = {f"version of {name}": value for name, value in host.versions().items()}
    return {**values, **packages}


def _new_run_id(config: Config, world: World) -> str:
    """Readable, and unique by its random end."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())  # a label only; no duration uses it
    return f"{stamp}-{config.config}-{config.preset}-np{world.size}-{uuid.uuid4().hex[:8]}"


def _write_header(session: Session, machine: Mapping[str, Any]) -> None:
    world, network = session.world, session.config.network()
    session.writer.append(
        "header",
        schema=SCHEMA_NAME,
        schema_version=SCHEMA_VERSION,
        size=world.size,
        local_rank=world.local_rank,
        local_size=world.local_size,
        host=machine["host"],
        boot_id=host.boot_id(),
        device=asdict(session.device),
        gpu_uuid=session.telemetry.uuid,
        controller=world.controller,
        transport=world.transport,
        clock="time.perf_counter_ns",
        clock_resolution_ns=clock_resolution_ns(CLOCK),
        grad_bytes=network.grad_bytes,
        tensor_count=network.tensor_count,
    )


def _write_manifest(session: Session, machine: Mapping[str, Any]) -> None:
    """Brings every rank's description to rank 0, which writes manifest.json and the first status."""
    world = session.world
    description = {
        "rank": world.rank,
        "local_rank": world.local_rank,
        "local_size": world.local_size,
        **machine,
        "device": asdict(session.device),
        "gpu_uuid": session.telemetry.uuid,
        "driver": session.telemetry.driver,
    }
    machines = world.allgather_json(description)

    def write() -> None:
        write_atomically(session.run.layout.manifest, json_document(_manifest(session, machines)))
        session.run.write_status("running", None)

    world.together(write if world.rank == 0 else lambda: None)


def _manifest(session: Session, machines: list[Any]) -> dict[str, Any]:
    return {
        "run_id": session.run.run_id,
        "versions": host.versions(),
        "horovod": host.horovod_build(session.hvd),
        "tensorflow": host.tensorflow_build(),
        "mpi_library": host.mpi_library(session.world.controller),
        "environment": host.environment(os.environ),
        "git_commit": host.git_commit(),
        "controller": session.world.controller,
        "transport": session.world.transport,
        "block_order_seed": session.config.seed,
        "groups": [asdict(group) for group in session.groups],
        "process_sets_registered": len(session.world.process_sets) - 1,
        "ranks": machines,
    }


def _gather(session: Session) -> None:
    """Closes this rank's record and brings all of them to rank 0. To be called on every rank."""
    session.is_gathered = True
    session.writer.close()
    gathered = session.world.together(lambda: gather_records(session.world, session.run))
    if gathered is not None:
        session.run.status["gather"] = dict(gathered)


def _record_failure(session: Session, error: DistbenchError, trace: str) -> None:
    """Leaves the reason on disk: in this rank's record and, for the first to fail, in status.json.

    Nothing here may hide the error that is on its way.
    """
    description: dict[str, Any] = {
        "error": type(error).__name__,
        "exit_code": error.exit_code,
        "rank": session.world.rank,
    }
    for leave in (_leave_failure, _leave_status):
        try:
            leave(session, error, description, trace)
        except (DistbenchError, OSError, ValueError) as second:
            print(f"distbench: the failure could not be recorded: {second}", file=sys.stderr)


def _leave_failure(session: Session, error: DistbenchError, description: Any, trace: str) -> None:
    if session.is_gathered:
        return
    try:
        session.writer.append(
            "failure",
            **description,
            sentence=error.sentence,
            is_echo=error.is_echo,
            traceback=trace,
        )
    finally:
        if error.on_every_rank:  # all ranks are here, so that their records can still be brought
            _gather(session)


def _leave_status(session: Session, error: DistbenchError, description: Any, trace: str) -> None:
    told_by_rank_0 = error.on_every_rank and session.world.rank != 0
    if session.run.is_shared and not told_by_rank_0 and not session.run.failed_already():
        session.run.write_status("failed", cause=error.sentence, **description)
