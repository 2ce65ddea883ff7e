"""Refuses to time a lie: each phase is proven to do its work before and after it is timed.

Every function here raises CorrectnessError with what was found. They take the very callables that
are timed, on the inputs of full size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from distbench.config import SELF_ALLREDUCE
from distbench.errors import CorrectnessError, MismatchError
from distbench.worker.computed_values import (
    WRONG_WORK,
    as_list,
    check_against_float32,
    check_complete_and_finite,
    check_equal,
    check_forward,
    check_gradients,
    eager_gradients,
    gradient_tolerance,
)
from distbench.worker.executed_ops import ALLREDUCE_OP, GROUPED_ALLREDUCE_OP
from distbench.worker.graph_facts import tensors_of_grouped_ops
from distbench.worker.members import Members
from distbench.worker.network import Network
from distbench.worker.phases import KEEP_PROB_INFERENCE, Phase
from distbench.worker.piecewise import fingerprint
from distbench.worker.reduced_patterns import Pattern
from distbench.worker.world import World

REDUCED_PHASES = ("forward_backward_allreduce", "train_step")


class Executed(NamedTuple):
    """Which ops one call of a phase executed on this rank, and what it returned."""

    ops: Counter[str]
    returned: Any


OpCounter = Callable[[Phase], Executed]


def check_same_everywhere(world: World, identity: Mapping[str, Any]) -> None:
    """Raises MismatchError naming the ranks and fields unless every rank has rank 0's `identity`.

    `identity` maps names such as 'config.batch_size' to JSON values.
    """
    identities = world.allgather_json(identity)
    first = identities[0]
    for rank, other in enumerate(identities):
        differing = sorted(
            name for name in first.keys() | other.keys() if first.get(name) != other.get(name)
        )
        if differing:
            name = differing[0]
            more = f" (and {len(differing) - 1} more fields)" if len(differing) > 1 else ""
            raise MismatchError(
                f"rank {rank} has {name} = {other.get(name)!r}, rank 0 has {first.get(name)!r}{more}; "
                "start every rank with the same command, files, variables and packages"
            ).of_every_rank()


class Counted(NamedTuple):
    """What one call of a phase returned, and how many allreduces Horovod executed for it on this rank.

    The number is None where they are part of XLA's code and leave no trace to count.
    """

    returned: Any
    allreduces: int | None


def check_executed_allreduces(phase: Phase, count_ops: OpCounter) -> Counted:
    """Runs the timed callable once, prepared as before a block, and counts.

    A grouped op counts as the tensors that it reduces. What cannot be counted is proven by
    `prove_by_value`.
    """
    phase.prepare()
    if not phase.is_countable:
        return Counted(phase.run(), None)
    executed, returned = count_ops(phase)
    grouped = tensors_of_grouped_ops(phase.function)
    if executed[GROUPED_ALLREDUCE_OP] != len(grouped):
        raise CorrectnessError(
            f"{phase.name} executed {executed[GROUPED_ALLREDUCE_OP]} grouped allreduces in a step "
            f"instead of {len(grouped)}; {WRONG_WORK}"
        )
    found = executed[ALLREDUCE_OP] + sum(grouped)
    if found != phase.allreduces_per_step:
        raise CorrectnessError(
            f"{phase.name} executed {found} allreduces in a step instead of "
            f"{phase.allreduces_per_step}; {WRONG_WORK}"
        )
    return Counted(returned, found)


def check_reduced_values(
    phase: Phase, shapes: Sequence[Sequence[int]], patterns: Sequence[Pattern], index: int
) -> None:
    """Sends patterns through the timed `allreduce` and requires what must come, element by element.

    `index` is this rank's place among the ranks that reduce together.
    A pattern stands in the callable's own inputs, which hold gradients again from the next block on.

    For a mean the rank at place r sends r' + ((e + t) mod F) / F for element e of tensor t, so that a
    tensor which is left out, swapped, shifted or reduced over other ranks gives another mean.
    r' = (r mod R) + 1. R and F keep the sum of all ranks within the mantissa of what travels (24 bits,
    11 where gradients travel in 16); what is left is the rounding of Horovod's factor 1 / size, none
    where the size is a power of two.
    """
    for pattern in patterns:
        _check_pattern(phase, shapes, pattern, index)


def _check_pattern(
    phase: Phase, shapes: Sequence[Sequence[int]], pattern: Pattern, index: int
) -> None:
    assert phase.fill_inputs is not None
    phase.fill_inputs(pattern.sent(index, tensor, shape) for tensor, shape in enumerate(shapes))
    outputs = phase.run()
    found = [tuple(output.shape) for output in outputs]
    if found != [tuple(shape) for shape in shapes]:
        raise CorrectnessError(
            f"allreduce returned tensors of the shapes {found} instead of {list(shapes)}; {WRONG_WORK}"
        )
    for tensor, (shape, output) in enumerate(zip(shapes, outputs)):
        worst = pattern.largest_error(output, tensor, shape)
        if not worst <= pattern.tolerance:
            raise CorrectnessError(
                f"allreduce returned {pattern.name} that is off by {worst:g} in gradient tensor "
                f"{tensor}; {WRONG_WORK}"
            )


def check_same_bits(name: str, tensors: Sequence[Any], members: Members) -> str:
    """Every rank of a group holds the same bits in `tensors`; returns their fingerprint.

    To be called on every rank of the world; on those outside the group `tensors` is not looked at.
    """
    own = fingerprint(tensors) if members.index is not None else ""
    digests = members.allgather_json(own)
    for rank, other in zip(members.ranks, digests):
        if other != digests[0]:
            raise CorrectnessError(
                f"{name} differs between rank {members.ranks[0]} and rank {rank} after the "
                f"reduction; {WRONG_WORK}"
            ).of_every_rank()
    return str(digests[0])


def prove_computing(
    name: str,
    phase: Phase | None,
    network: Network | None,
    members: Members,
    device_kind: str,
) -> float | None:
    """What a phase without communication computes; returns the largest difference of a gradient.

    This and the functions below are to be called on every rank of the world with the same names. A
    rank outside of the group has no phase, and may have no network: it only has to be there.
    """

    def prove() -> float | None:
        assert phase is not None, "a rank of the group has its phases"
        assert network is not None, "and the network"
        if name == "forward_backward":
            return check_gradients(phase, network, device_kind)
        check_forward(phase, network)
        return None

    return members.together(prove)


def prove_precision(
    phase: Phase | None, network: Network | None, members: Members
) -> dict[str, float] | None:
    """The gradients of `forward_backward` in 16 bits, compared with float32; returns the cosines."""

    def prove() -> dict[str, float]:
        assert phase is not None, "a rank of the group has its phases"
        assert network is not None, "and the network"
        return check_against_float32(phase, network)

    return members.together(prove)


def prove_phases(
    phases: Mapping[str, Phase],
    names: Sequence[str],
    shapes: Sequence[Sequence[int]],
    members: Members,
    count_ops: OpCounter,
    patterns: Sequence[Pattern],
    hint: str = "",
) -> dict[str, Any]:
    """What the phases of a group that reduces must do; returns what was found, for the record.

    `hint` is what a user can do where a gradient is not finite.
    """
    found: dict[str, Any] = {"executed_allreduces": {}, "reduced_gradients_digest": {}}

    def prove(name: str) -> None:
        counted = members.together(
            lambda: check_executed_allreduces(phases[name], count_ops), holds_collectives=True
        )
        found["executed_allreduces"][name] = counted.allreduces if counted else None
        if name in REDUCED_PHASES:
            gradients = as_list(counted.returned) if counted else []
            digest = prove_reduced(name, gradients, shapes, members, hint)
            found["reduced_gradients_digest"][name] = digest

    for name in names:
        prove(name)
    if "allreduce" in names:
        members.together(
            lambda: check_reduced_values(phases["allreduce"], shapes, patterns, members.index or 0),
            holds_collectives=True,
        )
    return found


def prove_by_value(
    phases: Mapping[str, Phase],
    names: Sequence[str],
    network: Network | None,
    members: Members,
    device_kind: str,
    reduce: Callable[[Sequence[Any]], Sequence[Any]],
) -> dict[str, float | None]:
    """What training phases return is what `reduce` makes of the ranks' own gradients.

    For phases whose allreduces cannot be counted. `reduce` asks Horovod op by op; dropout is off.
    Returns the largest relative difference of a tensor, by phase.
    """

    def prove(phase: Phase) -> float:
        assert network is not None
        assert phase.with_keep_prob is not None
        phase.prepare()
        wanted = reduce(eager_gradients(network))
        found = as_list(phase.with_keep_prob(KEEP_PROB_INFERENCE))
        tolerance = gradient_tolerance(network.computing, device_kind)
        return check_equal(phase.name, found, wanted, "an allreduce of eager gradients", tolerance)

    return {
        name: members.together(
            lambda name=name: prove(phases[name]),  # type: ignore[misc]
            holds_collectives=True,
        )
        for name in REDUCED_PHASES
        if name in names
    }


def prove_uncoupled(
    phases: Mapping[str, Phase],
    names: Sequence[str],
    shapes: Sequence[Sequence[int]],
    members: Members,
    count_ops: OpCounter,
    hint: str = "",
) -> dict[str, Any]:
    """The controls run as many allreduces as they must and return every gradient, on every rank.

    That is none for training phases, and one of each gradient where a rank reduces with itself.
    """
    executed: dict[str, Any] = {}
    for name in (*REDUCED_PHASES, SELF_ALLREDUCE):
        if name not in names:
            continue

        def prove(name: str = name) -> int | None:
            counted = check_executed_allreduces(phases[name], count_ops)
            check_complete_and_finite(name, as_list(counted.returned), shapes, hint)
            return counted.allreduces

        executed[name] = members.together(prove)
    return {"executed_allreduces": executed}


def prove_reduced(
    name: str,
    gradients: Sequence[Any],
    shapes: Sequence[Sequence[int]],
    members: Members,
    hint: str = "",
) -> str:
    """A tape phase returned every gradient, finite, with the same bits on every rank of its group.

    `gradients` is not looked at on ranks outside of it.
    """
    members.together(lambda: check_complete_and_finite(name, gradients, shapes, hint))
    return check_same_bits(f"what {name} returns", gradients, members)


def prove_finite(
    parameters: Sequence[Any], shapes: Sequence[Sequence[int]], members: Members
) -> None:
    """A group's weights are all there and finite on its ranks."""
    members.together(lambda: check_complete_and_finite("the network", parameters, shapes))


def prove_parameters(
    parameters: Sequence[Any], shapes: Sequence[Sequence[int]], members: Members
) -> str:
    """A group's weights are finite and have the same bits on its ranks; returns their digest."""
    prove_finite(parameters, shapes, members)
    return check_same_bits("the network", parameters, members)


def prove_after_timing(
    phases: Mapping[str, Phase],
    names: Sequence[str],
    shapes: Sequence[Sequence[int]],
    members: Members,
) -> dict[str, Any]:
    """The checks after a group's last block: its gradients are finite, and equal across its ranks."""
    reduced = [name for name in REDUCED_PHASES if name in names]
    if reduced:
        phase, gradients = phases.get(reduced[0]), []
        if phase is not None:
            phase.prepare()
            gradients = as_list(phase.run())
        digest = prove_reduced(reduced[0], gradients, shapes, members)
        return {"reduced_gradients_digest": digest}
    if "forward_backward" in names:
        members.together(
            lambda: check_complete_and_finite(
                "forward_backward", as_list(phases["forward_backward"].run()), shapes
            )
        )
    return {}
