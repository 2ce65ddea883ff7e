"""What is proven of a session: its settings, its phases before timing, and its work after it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from distbench.config import Config
from distbench.groups import REDUCING, WITH_ITSELF, Group
from distbench.plan import phases_of
from distbench.worker import preflight
from distbench.worker.computed_values import advice
from distbench.worker.computing import Computing
from distbench.worker.executed_ops import count_executed_ops
from distbench.worker.graph_facts import facts_of
from distbench.worker.knobs_in_use import Setting, check_in_use, settings_in_use
from distbench.worker.members import Members
from distbench.worker.phases import Phase
from distbench.worker.reduced_patterns import Pattern, patterns
from distbench.worker.reducing import Reducer, Reducing, Reduction
from distbench.worker.world import World

FIRST_CALLS, PREFLIGHT = "first calls", "preflight"  # stages of the start
LOCAL_PHASES = ("forward", "forward_backward")  # which communicate with nobody

if TYPE_CHECKING:
    from distbench.worker.session import Built, Session


def settings_of(session: Session, built: Built) -> list[dict[str, Any]]:
    """What is in use on this rank; an error on all ranks where it is not what was asked for."""

    def read() -> list[Setting]:
        phases = [phase for of_group in built.phases.values() for phase in of_group.values()]
        functions = dict.fromkeys(phase.function for phase in phases)
        is_gpu = session.device.kind == "GPU"
        facts = [facts_of(function) for function in functions]
        found = settings_in_use(session.config, facts, session.hvd, is_gpu, os.environ)
        check_in_use(found)
        return found

    return [setting._asdict() for setting in session.world.together(read)]


def _patterns(session: Session, size: int) -> list[Pattern]:
    """What proves the allreduces of a group; on GPUs with NCCL the ranks of a node average first."""
    reducing = Reducing.of(session.config)
    averages = session.device.kind == "GPU" and bool(session.hvd.nccl_built())
    return patterns(reducing, size, session.world.local_size if averages else 1)


def call_first(session: Session, built: Built) -> None:
    """The phases that compute are called once, and what `allreduce` carries is put in its place.

    What a first call builds and allocates is so told apart from what the proofs cost.
    """

    def call() -> None:
        called: set[int] = set()
        for phases in built.phases.values():
            by_filling = "allreduce" in phases  # which calls forward_backward
            for name in (*LOCAL_PHASES, "allreduce"):
                phase = phases.get(name)
                if phase is None or id(phase) in called:
                    continue
                called.add(id(phase))
                if name == "allreduce":
                    phase.prepare()
                elif not (by_filling and name == "forward_backward"):
                    phase.run()

    session.world.together(call)


def _telling_first_calls_apart(session: Session) -> preflight.OpCounter:
    """Counts the ops of a call. The first one of a phase that reduces counts as such, not as a proof."""
    called: set[int] = set()

    def count(phase: Phase) -> preflight.Executed:
        is_first = phase.name not in LOCAL_PHASES and id(phase) not in called
        called.add(id(phase))
        returned: list[Any] = []

        def call() -> None:
            if is_first:
                session.pulse.spend(FIRST_CALLS)
            returned.append(phase.run())
            session.pulse.spend(PREFLIGHT)

        return preflight.Executed(count_executed_ops(call), returned[0])

    return count


def prove(session: Session, built: Built) -> dict[str, Any]:
    """Everything that must hold before anything is timed; to be called on every rank."""
    world, config = session.world, session.config
    count_ops = _telling_first_calls_apart(session)
    found: dict[str, Any] = {"computing": {}, "groups": {}}
    for batch, groups in _by_batch(config, session.groups).items():
        network, of_batch = built.networks.get(batch), found["computing"].setdefault(str(batch), {})
        for name in LOCAL_PHASES:
            holding = [group for group in groups if name in phases_of(config, group)]
            ranks = sorted({rank for group in holding for rank in group.ranks})
            phase = next((built.phases_in(g)[name] for g in holding if built.phases_in(g)), None)
            if ranks:
                members = Members(world, ranks)
                of_batch[name] = preflight.prove_computing(
                    name, phase, network, members, session.device.kind
                )
                if name == "forward_backward" and Computing.of(config).is_narrow:
                    of_batch["against_float32"] = preflight.prove_precision(phase, network, members)
    for group in session.groups:
        found["groups"][group.name] = _prove_group(session, built, group, count_ops)
    return found


def _prove_group(
    session: Session, built: Built, group: Group, count_ops: preflight.OpCounter
) -> dict[str, Any]:
    config, members = session.config, Members(session.world, group.ranks)
    phases, names = built.phases_in(group), phases_of(config, group)
    shapes, hint = config.network().parameter_shapes, advice(Computing.of(config))
    if group.role != REDUCING:
        return preflight.prove_uncoupled(phases, names, shapes, members, count_ops, hint)
    found = preflight.prove_phases(
        phases, names, shapes, members, count_ops, _patterns(session, members.size), hint
    )
    if config.xla == "all" and members.size > 1:
        found["reduced_by_value"] = preflight.prove_by_value(
            phases,
            names,
            built.networks.get(config.batch_of(group.size)),
            members,
            session.device.kind,
            _op_by_op(session, group),
        )
    return found


def _op_by_op(session: Session, group: Group) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """The group's reduction, asked for outside of any compiled function."""
    reducer = Reducer(session.hvd, Reducing.of(session.config))
    among = reduction_of(session.world, group)
    scale = reducer.scale(among)
    return lambda gradients: reducer.reduced([one * scale for one in gradients], "proof", among)


def _by_batch(config: Config, groups: Sequence[Group]) -> dict[int, list[Group]]:
    found: dict[int, list[Group]] = {}
    for group in groups:
        found.setdefault(config.batch_of(group.size), []).append(group)
    return found


def reduction_of(world: World, group: Group) -> Reduction:
    """Among whom a group reduces; its controls without communication are as one rank."""
    if not group.reduces and group.role != WITH_ITSELF:
        return Reduction(ranks=1)
    return Reduction(len(group.ranks), world.process_sets[group.ranks])


def prove_after_timing(session: Session, built: Built) -> dict[str, Any]:
    """What must hold after the last block; to be called on every rank."""
    config, world = session.config, session.world
    shapes = config.network().parameter_shapes
    everyone = Members(world, range(world.size))
    found: dict[str, Any] = {
        "parameters_digest": preflight.prove_parameters(built.replica.parameters, shapes, everyone),
        "groups": {},
    }
    for group in session.groups:
        if group.role == REDUCING:
            found["groups"][group.name] = preflight.prove_after_timing(
                built.phases_in(group),
                phases_of(config, group),
                shapes,
                Members(world, group.ranks),
            )
    return found
