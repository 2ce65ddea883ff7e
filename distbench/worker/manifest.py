"""What a run says of its ranks and their machines: each rank's header, and manifest.json."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from distbench.durable_files import json_document, write_atomically
from distbench.records import SCHEMA_NAME, SCHEMA_VERSION, settings_checksum
from distbench.worker import host
from distbench.worker.measure import clock_resolution_ns
from distbench.worker.session import Session


def write_header(session: Session, machine: Mapping[str, Any]) -> None:
    """The first record of this rank: who it is, on what, in which run."""
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
        clock_resolution_ns=clock_resolution_ns(session.clock_ns),
        settings_crc32=settings_checksum(session.config.as_dict()),
        grad_bytes=network.grad_bytes,
        tensor_count=network.tensor_count,
    )


def write_manifest(session: Session, machine: Mapping[str, Any], unwatched: Sequence[str]) -> None:
    """Brings every rank's description to rank 0, which writes manifest.json and the first status.

    `unwatched` says in words which ranks nobody could hear of, should they freeze.
    """
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

    document = {**_manifest(session, machines), "unwatched_ranks": list(unwatched)}

    def write() -> None:
        write_atomically(session.run.layout.manifest, json_document(document))
        session.run.write_status("running", None)

    world.together(write if world.rank == 0 else lambda: None)


def _manifest(session: Session, machines: Sequence[Any]) -> dict[str, Any]:
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
