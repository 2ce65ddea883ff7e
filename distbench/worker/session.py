"""What a rank does between its first and its last collective: build, prove, time, prove again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from distbench.config import Config
from distbench.groups import REDUCING, Group
from distbench.knobs import work_label
from distbench.plan import PlannedBlock, phases_of, plan_blocks
from distbench.process_stat import resident_bytes
from distbench.rank_writer import RankWriter
from distbench.worker import preflight, proving
from distbench.worker.computing import Computing
from distbench.worker.costs import costs
from distbench.worker.device import Device
from distbench.worker.faults import Saboteur
from distbench.worker.measure import Clock, time_block
from distbench.worker.members import Members
from distbench.worker.network import Network
from distbench.worker.peak import peak_record
from distbench.worker.phases import Phase, PhaseLadder
from distbench.worker.progress import Progress
from distbench.worker.proving import reduction_of
from distbench.worker.pulse import Pulse
from distbench.worker.reducing import Reducing
from distbench.worker.replica import Replica
from distbench.worker.run_directory import RunDirectory
from distbench.worker.telemetry import NoTelemetry, NvmlTelemetry
from distbench.worker.watchdog import Watchdog
from distbench.worker.world import World

CLOCK = time.perf_counter_ns
CPU_CLOCK = time.process_time_ns  # of all threads of this process, Horovod's too


@dataclass
class Session:
    """What one rank holds while it runs."""

    world: World
    hvd: Any
    config: Config
    groups: tuple[Group, ...]
    device: Device
    telemetry: NvmlTelemetry | NoTelemetry
    run: RunDirectory
    writer: RankWriter
    progress: Progress | None  # rank 0 only
    is_gathered: bool = False
    watch: Watchdog | None = None
    pulse: Pulse = field(default_factory=Pulse)
    saboteur: Saboteur = field(default_factory=lambda: Saboteur(None, 0))
    clock_ns: Clock = CLOCK

    @property
    def plan(self) -> list[PlannedBlock]:
        """Every block of the run, those of other ranks too."""
        return plan_blocks(self.config, self.groups)

    def enter(self, stage: str, text: str = "") -> None:
        """The next stage of the work; the user is told on rank 0, where there is a `text`."""
        self.pulse.enter(stage)
        if self.progress and text:
            self.progress.say(text)


@dataclass(frozen=True)
class Built:
    """What this rank has built: its networks by batch size, and the phases of the groups it is in."""

    replica: Replica
    networks: Mapping[int, Network]
    phases: Mapping[str, Mapping[str, Phase]]  # by group, then by phase

    def phases_in(self, group: Group) -> Mapping[str, Phase]:
        """The phases of a group; none where this rank is not in it."""
        return self.phases.get(group.name, {})


def measure(session: Session) -> None:
    """Builds the network, proves the phases, and times every block."""
    import tensorflow as tf

    config = session.config
    tf.random.set_seed(config.seed + session.world.rank)  # dropout differs between ranks
    what = f"{work_label(config)} on {session.world.size} {session.device.kind}(s)"
    session.enter("making the weights", f"{what}, making the weights and the graph")
    session.saboteur.at("build")
    before_network_bytes = resident_bytes()
    built = _build(session)
    weights = built.replica.snapshot() if "train_step" in config.phases else []
    session.enter(proving.FIRST_CALLS, "preflight: proving that every phase does its work")
    proving.call_first(session, built)
    session.enter(proving.PREFLIGHT)
    session.saboteur.at("preflight")
    peak = peak_record(config, session.world, CLOCK)
    settings = proving.settings_of(session, built)
    session.writer.append(
        "preflight", **proving.prove(session, built), **peak, settings_in_use=settings
    )
    built.replica.restore(weights)
    trained = _run_blocks(session, built, weights)
    session.enter("the last checks", "checking weights and gradients after the last block")
    session.saboteur.at("final")
    found = proving.prove_after_timing(session, built)
    spent = costs(session.pulse, session.device, before_network_bytes)
    session.writer.append("final", trained_parameters_digest=trained, **found, **spent)


def _build(session: Session) -> Built:
    """Traces every phase of every group that this rank is in."""
    config, rank = session.config, session.world.rank
    own = [group for group in session.groups if rank in group.ranks]
    networks: dict[int, Network] = {}
    for batch in dict.fromkeys(config.batch_of(group.size) for group in own):
        shared = next(iter(networks.values())).parameters if networks else None
        networks[batch] = Network(
            config.network(), batch, config.seed, rank, shared, Computing.of(config)
        )
    replica = Replica(next(iter(networks.values())).parameters)
    session.saboteur.may_spoil(replica.parameters[0])
    session.hvd.broadcast_variables(replica.parameters, root_rank=0)
    session.enter("building the graph")
    ladders = {
        batch: PhaseLadder(
            network,
            session.saboteur.horovod(session.hvd),
            replica,
            Reducing.of(config),
            config.xla,
        )
        for batch, network in networks.items()
    }
    phases = {
        group.name: ladders[config.batch_of(group.size)].build(
            phases_of(config, group), reduction_of(session.world, group)
        )
        for group in own
    }
    return Built(replica, networks, phases)


def _run_blocks(session: Session, built: Built, weights: list[Any]) -> dict[str, str]:
    """Times every block; returns the digest of the weights that each group's training left.

    Weights are checked before they are put back: a block that made a NaN shows there, whichever it
    was, and so do ranks that have drifted apart by their last block.
    """
    shapes = session.config.network().parameter_shapes
    plan = session.plan
    last_training = {block.group.name: block for block in plan if block.phase == "train_step"}
    trained = {}
    for index, block in enumerate(plan):
        phase = built.phases_in(block.group).get(block.phase)
        if not block.warmup and not session.pulse.is_warm:
            session.pulse.warm_up_is_done(sum(later.steps for later in plan[index:]))
        session.pulse.enter_block(index, block.in_words)
        _run_block(session, phase, block)
        if block.phase == "train_step":
            own = (built.replica.parameters, shapes, Members(session.world, block.group.ranks))
            if block.group.role == REDUCING and last_training[block.group.name] is block:
                trained[block.group.name] = preflight.prove_parameters(*own)
            else:
                preflight.prove_finite(*own)
        if phase is not None and phase.changes_parameters:
            built.replica.restore(weights)
    return trained


def _run_block(session: Session, phase: Phase | None, block: PlannedBlock) -> None:
    """Times one block on the ranks of its group; the others wait for its end.

    All ranks meet before and after, so that nobody writes or restores while others are timed.
    """
    if phase is not None:
        kind, record = "block", _timed(session, phase, block)
        group = block.group.record_name(session.world.rank)
    else:
        kind, record, group = "wait", _waited(session), block.group.name
    session.writer.append(
        kind,
        durable=phase is not None,  # a lost wait costs no measurement, and the next block brings it
        phase=block.phase,
        group=group,
        block=block.block,
        warmup=block.warmup,
        **record,
    )
    if session.progress:
        if phase is None:
            session.progress.waited(block)
        session.progress.block_done()


def _timed(session: Session, phase: Phase, block: PlannedBlock) -> dict[str, Any]:
    import tensorflow as tf

    pulse, progress = session.pulse, session.progress
    synchronise = tf.test.experimental.sync_devices

    def after_step(index: int, duration_ns: int) -> None:
        pulse.step_done(index, duration_ns)
        if progress:
            progress.step(block, duration_ns)

    step = session.saboteur.around(phase.name, phase.run)
    phase.prepare()
    synchronise()  # no device may still be at work when the ranks meet, or take energy for it after
    before = session.telemetry.read()
    pulse.meet()
    session.world.rendezvous()
    pulse.begin_steps()
    times = time_block(step, synchronise, session.clock_ns, block.steps, after_step)
    after = session.telemetry.read() if before else None
    pulse.end_steps()
    session.world.rendezvous()
    return {
        "group_size": block.group.size,
        "role": block.group.role,
        "images_per_step": phase.images_per_step,
        "telemetry": {"before": before, "after": after} if before else None,
        **asdict(times),
    }


def _waited(session: Session) -> dict[str, int]:
    session.pulse.meet()
    session.world.rendezvous()
    session.pulse.end_steps()  # this rank has none, and so holds nobody up
    wall_ns, cpu_ns = CLOCK(), CPU_CLOCK()
    session.world.rendezvous()
    return {"wall_ns": CLOCK() - wall_ns, "cpu_ns": CPU_CLOCK() - cpu_ns}
