"""One rank's life, top to bottom."""

from __future__ import annotations

import os
import sys
import time
import traceback
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distbench.config import Config, Overrides
from distbench.errors import DistbenchError
from distbench.groups import (
    Group,
    check_placement,
    nodes_by_launcher,
    nodes_of,
    plan_groups,
    registered_sets,
)
from distbench.knobs import Place, check_place, set_horovod_variables
from distbench.launched import LaunchedAs, launched_as
from distbench.plan import plan_blocks
from distbench.rank_writer import RankWriter
from distbench.resolving import resolve, study_sizes
from distbench.worker import host, preflight
from distbench.worker.channel import Contact
from distbench.worker.device import (
    Device,
    check_one_gpu_each,
    claim_device,
    compute_capability,
    set_tf32,
)
from distbench.worker.failures import end_of_rank, failed, gather
from distbench.worker.faults import Saboteur, read_fault
from distbench.worker.last_words import Farewell
from distbench.worker.manifest import write_header, write_manifest
from distbench.worker.native_output import stderr_kept_back
from distbench.worker.progress import Progress
from distbench.worker.pulse import Pulse
from distbench.worker.run_directory import check_disk, create
from distbench.worker.session import CLOCK, Session, measure
from distbench.worker.start_reports import StartReports
from distbench.worker.telemetry import open_telemetry
from distbench.worker.time_limits import TimeLimits
from distbench.worker.watchdog import Watchdog
from distbench.worker.world import World, import_horovod, open_world

GPU_DRIVERS = (Path("/proc/driver/nvidia"), Path("/dev/kfd"))  # where one of them is loaded
GLOO_LATER_S = 60  # than the watch, which can say who is missing


def run_rank(overrides: Overrides) -> str | None:
    """Runs the benchmark as one rank of the job; returns the run directory on rank 0, None elsewhere.

    Raises the same DistbenchError on every rank where all of them can still be told, and
    RankFailedError where this rank failed alone. What hangs is ended from within, with exit code 5.
    """
    launched = launched_as(os.environ)
    saboteur = Saboteur(read_fault(os.environ), launched.rank)
    reports = StartReports(os.environ, launched.rank)
    farewell = Farewell(launched.rank, reports, sys.stderr)
    watch = _watch(overrides, launched, farewell)
    watch.start()
    try:
        session = _start(overrides, launched, watch, saboteur, reports)
        farewell.run, farewell.writer = session.run, session.writer
        _live(session)
    except DistbenchError as error:
        watch.leave(error.exit_code)
        raise
    watch.leave(0)
    watch.pulse.enter("leaving")
    session.world.close()
    watch.stop()
    return str(session.run.layout.directory) if session.world.rank == 0 else None


def _watch(overrides: Overrides, launched: LaunchedAs, farewell: Farewell) -> Watchdog:
    limits = TimeLimits(
        **{
            name: float(overrides.get(name, getattr(Config, name)))
            for name in ("start_timeout", "step_timeout", "deadline")
        }
    )
    return Watchdog(launched.rank, launched.size, limits, Pulse(), farewell)


def _start(
    overrides: Overrides,
    launched: LaunchedAs,
    watch: Watchdog,
    saboteur: Saboteur,
    reports: StartReports,
) -> Session:
    """From nothing to a session that all ranks have agreed on."""
    show_log = overrides.get("tensorflow_log", False)
    sets = _sets_to_register(overrides, launched)
    start_timeout_s = float(overrides.get("start_timeout", Config.start_timeout))
    prepare_environment(show_log, bool(overrides.get("sizes")), start_timeout_s)
    set_horovod_variables(overrides, os.environ)
    watch.pulse.enter("importing TensorFlow and Horovod")
    saboteur.at("import")
    with stderr_kept_back(not show_log):
        hvd = import_horovod()
    watch.pulse.enter("starting Horovod")
    saboteur.at("init")
    reports.report()
    world = open_world(hvd, launched, sets)
    reports.withdraw()
    try:
        return _begin(world, hvd, overrides, watch, saboteur)
    except DistbenchError:
        raise
    except Exception as error:  # there is no record yet that could hold the traceback
        traceback.print_exc()
        raise failed(world.rank, error) from error


def _live(session: Session) -> None:
    """Measures and closes the record; whatever happens, the reason is on disk before it is raised."""
    try:
        measure(session)
        session.enter("gathering the records")
        session.saboteur.at("gather")
        session.writer.append("end", status="ok")
        gather(session)
        if session.world.rank == 0:
            session.run.write_status("complete", 0)
    except Exception as error:
        raise end_of_rank(session, error) from error
    finally:
        if session.progress:
            session.progress.finish()


def prepare_environment(
    show_log: bool, is_study: bool, start_timeout_s: float = Config.start_timeout
) -> None:
    """Sets what TensorFlow, CUDA and Horovod read once, before they are imported."""
    _let_the_watch_speak_first(start_timeout_s)
    _let_waiting_threads_yield()
    if is_study:
        # Ranks outside of a group rightly wait for minutes, which Horovod would call a stall.
        os.environ.setdefault("HOROVOD_STALL_CHECK_DISABLE", "1")
    if show_log:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "0"
    else:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # its default, without the notice
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # count GPUs as NVML does


def _let_waiting_threads_yield() -> None:
    """On CPUs the cores are needed for computing where Horovod's thread waits in Open MPI.

    There Open MPI polls, unless it is told to yield. Two ranks on two cores then took 1.6 times as long
    for a forward_backward of VGG-D. A launcher's own choice stands. Open MPI reads it when it starts,
    which is before any device is known: a machine with a GPU's driver is left as it is.
    """
    if not any(path.exists() for path in GPU_DRIVERS):
        os.environ.setdefault("OMPI_MCA_mpi_yield_when_idle", "1")


def _let_the_watch_speak_first(start_timeout_s: float) -> None:
    """Gloo aborts the healthy ranks after 30 s of waiting, which a slow disk takes for imports alone.

    horovodrun always sets its limit, so that a user's own cannot be told from the default: the longer
    one holds.
    """
    least_s = int(start_timeout_s) + GLOO_LATER_S
    try:
        given_s = int(os.environ.get("HOROVOD_GLOO_TIMEOUT_SECONDS", "0"))
    except ValueError:
        given_s = 0
    os.environ["HOROVOD_GLOO_TIMEOUT_SECONDS"] = str(max(given_s, least_s))


def _begin(
    world: World, hvd: Any, overrides: Overrides, watch: Watchdog, saboteur: Saboteur
) -> Session:
    """Device, configuration and directory: everything that must be agreed on before any work."""
    watch.pulse.enter("agreeing with the other ranks")
    machine = host.machine()
    device = world.together(
        lambda: claim_device(
            world,
            machine["host"],
            machine["cpu"],
            overrides.get("threads_per_rank", 0),
            overrides.get("inter_op_threads", 0),
        )
    )
    telemetry = open_telemetry(device.kind, device.nvml_name)
    holders = world.allgather_json([machine["host"], telemetry.uuid])
    world.together(lambda: check_one_gpu_each(holders))
    config = world.together(
        lambda: resolve(overrides, on_gpu=device.kind == "GPU", world_size=world.size)
    )
    world.together(lambda: _set_up(config, device, [host for host, _ in holders], hvd))
    unwatched = _connect(world, watch, [host for host, _ in holders])
    preflight.check_same_everywhere(world, _identity(config, saboteur))
    groups = world.together(lambda: _groups(world, config, [host for host, _ in holders]))
    run_id = str(world.allgather_json(_new_run_id(config, world))[0])
    run = create(world, config, run_id)
    plan = plan_blocks(config, groups)
    check_disk(world, run, plan, bool(telemetry.uuid))
    writer = world.together(lambda: RankWriter(run.layout.raw, run_id, world.rank))
    saboteur.may_write_to(writer.fileno())
    session = Session(
        world,
        hvd,
        config,
        groups,
        device,
        telemetry,
        run,
        writer,
        None,
        watch=watch,
        pulse=watch.pulse,
        saboteur=saboteur,
        clock_ns=saboteur.clock(CLOCK),
    )
    if world.rank == 0:
        session.progress = Progress(sys.stderr, CLOCK, session.plan)
    world.together(lambda: write_header(session, machine))
    write_manifest(session, machine, unwatched)
    return session


def _set_up(config: Config, device: Device, hosts: Sequence[str], hvd: Any) -> None:
    """Refuses settings that do not exist here, and switches TF32 as asked for."""
    is_gpu, nodes = device.kind == "GPU", len(set(hosts))
    build = host.horovod_build(hvd)
    check_place(config, Place(is_gpu, compute_capability(device), nodes, build))
    set_tf32(config.tf32)


def _connect(world: World, watch: Watchdog, hosts: Sequence[str]) -> list[str]:
    """Opens the lines on which the ranks hear of each other; returns in words who could not."""
    if world.size == 1:
        return []
    is_one_host = len(set(hosts)) == 1
    contact = world.together(lambda: watch.open_hub(is_one_host) if world.rank == 0 else None)
    told = Contact(*world.allgather_json(contact)[0])
    problems = world.allgather_json(watch.join_hub(told) if world.rank else "")
    unwatched = {rank: problem for rank, problem in enumerate(problems) if problem}
    watch.peers.forget(list(unwatched))
    return [f"rank {rank}: {problem}" for rank, problem in unwatched.items()]


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


def _identity(config: Config, saboteur: Saboteur) -> dict[str, Any]:
    """What every rank must have alike."""
    values = {f"config.{name}": value for name, value in config.as_dict().items()}
    packages = {
        f"version of {name}": value for name, value in saboteur.versions(host.versions()).items()
    }
    return {**values, **packages}


def _new_run_id(config: Config, world: World) -> str:
    """Readable, and unique by its random end."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())  # a label only; no duration uses it
    return f"{stamp}-{config.config}-{config.preset}-np{world.size}-{uuid.uuid4().hex[:8]}"
