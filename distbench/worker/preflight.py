"""Refuses to time a lie: each phase is proven to do its work before and after it is timed.

Every function here raises CorrectnessError with what was found. They take the very callables that
are timed, on the inputs of full size.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from distbench.config import SELF_ALLREDUCE
from distbench.errors import CorrectnessError, MismatchError
from distbench.worker.executed_ops import ALLREDUCE_OP
from distbench.worker.mean_pattern import MeanPattern
from distbench.worker.members import Members
from distbench.worker.network import Network
from distbench.worker.phases import KEEP_PROB_INFERENCE, Phase
from distbench.worker.world import World

# L2 norm of the difference of two gradients over that of the reference. CPUs differ in the order of
# sums only. GPUs also choose between algorithms, some in TF32 with its 10-bit mantissa: rounding that
# way flips a few ReLU and pooling decisions, which moved the first kernel's gradient by 0.09 to 0.11
# when emulated. Work that was left out differs by 1.
GRADIENT_TOLERANCE = {"CPU": 1e-4, "GPU": 0.25}
WRONG_WORK = (
    "no speed is shown for work that is not done; please report this with the run directory"
)

REDUCED_PHASES = ("forward_backward_allreduce", "train_step")

OpCounter = Callable[[Callable[[], Any]], Counter[str]]


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


def check_executed_allreduces(phase: Phase, count_ops: OpCounter) -> int:
    """Runs the timed callable once and counts the allreduces that Horovod executed on this rank."""
    found: int = count_ops(phase.run)[ALLREDUCE_OP]
    if found != phase.allreduces_per_step:
        raise CorrectnessError(
            f"{phase.name} executed {found} allreduces in a step instead of "
            f"{phase.allreduces_per_step}; {WRONG_WORK}"
        )
    return found


def check_allreduce_mean(
    phase: Phase, shapes: Sequence[Sequence[int]], size: int, index: int
) -> None:
    """Sends a pattern through the timed `allreduce` and requires the exact mean, element by element.

    `index` is this rank's place among the `size` ranks that reduce together.
    The pattern stands in the callable's own inputs, which hold the gradients again afterwards.

    The rank at place r sends r' + ((e + t) mod F) / F for element e of tensor t, so that a tensor
    which is left out, swapped, shifted or reduced over other ranks gives another mean.
    r' = (r mod R) + 1. R and F keep the sum of all ranks within float32's 24 bits; what is left is
    the rounding of Horovod's factor 1 / size, none where the size is a power of two.
    """
    pattern = MeanPattern(size)
    gradients = [variable.numpy() for variable in phase.inputs]
    for tensor, variable in enumerate(phase.inputs):
        variable.assign(pattern.sent(index, tensor, variable.shape))
    outputs = phase.run()
    for variable, gradient in zip(phase.inputs, gradients):
        variable.assign(gradient)
    if len(outputs) != len(shapes):
        raise CorrectnessError(
            f"allreduce returned {len(outputs)} tensors instead of {len(shapes)}; {WRONG_WORK}"
        )
    for tensor, (shape, output) in enumerate(zip(shapes, outputs)):
        worst = pattern.largest_error(output, tensor, shape)
        if not worst <= pattern.tolerance:
            raise CorrectnessError(
                f"allreduce returned a mean that is off by {worst:g} in gradient tensor {tensor}; "
                f"{WRONG_WORK}"
            )


def check_forward(phase: Phase, network: Network) -> None:
    """The timed `forward` returns for each image a class that an eager forward pass ranks highest."""
    import tensorflow as tf

    predictions = phase.run()
    softmax = network.outputs(KEEP_PROB_INFERENCE).softmax
    chosen = tf.gather(softmax, predictions, batch_dims=1)
    # Two classes may be equal within rounding, so that the highest score counts and not its index.
    if not bool(tf.reduce_all(chosen >= tf.reduce_max(softmax, axis=1) * 0.999)):
        raise CorrectnessError(f"forward predicts other classes than an eager pass; {WRONG_WORK}")


def check_gradients(phase: Phase, network: Network, device_kind: str) -> float:
    """The timed `forward_backward` returns every gradient, finite and equal to an eager computation.

    Dropout is off in both (keep_prob 1), on the function that is timed with dropout on. Returns the
    largest relative difference of a tensor.
    """
    import tensorflow as tf

    assert phase.with_keep_prob is not None
    gradients = _as_list(phase.with_keep_prob(KEEP_PROB_INFERENCE))
    check_complete_and_finite(phase.name, gradients, network.vgg.parameter_shapes)
    with tf.GradientTape() as tape:
        loss = network.loss(KEEP_PROB_INFERENCE)
    references = tape.gradient(loss, network.parameters)
    differences = [_relative_difference(*pair) for pair in zip(gradients, references)]
    worst = max(range(len(differences)), key=differences.__getitem__)
    if differences[worst] > GRADIENT_TOLERANCE[device_kind]:
        raise CorrectnessError(
            f"{phase.name} returned gradient tensor {worst} that differs from an eager computation "
            f"by {differences[worst]:g} of its norm; {WRONG_WORK}"
        )
    return differences[worst]


def _relative_difference(gradient: Any, reference: Any) -> float:
    """L2 norm of the difference over that of the reference; a gradient may rightly be zero."""
    import tensorflow as tf

    difference, size = float(tf.norm(gradient - reference)), float(tf.norm(reference))
    if size > 0:
        return difference / size
    return 0.0 if difference == 0 else math.inf


def check_complete_and_finite(
    name: str, tensors: Sequence[Any], shapes: Sequence[Sequence[int]]
) -> None:
    """Every tensor of `shapes` is there, of that shape, and finite."""
    import tensorflow as tf

    found = [tuple(tensor.shape) for tensor in tensors if tensor is not None]
    wanted = [tuple(shape) for shape in shapes]
    if found != wanted:
        raise CorrectnessError(
            f"{name} returned {len(found)} tensors where the {len(wanted)} gradients of all "
            f"parameters were wanted; {WRONG_WORK}"
        )
    for index, tensor in enumerate(tensors):
        if not bool(tf.reduce_all(tf.math.is_finite(tensor))):
            raise CorrectnessError(
                f"{name} holds a NaN or an infinity in tensor {index}; {WRONG_WORK}"
            )


def check_same_bits(name: str, tensors: Sequence[Any], members: Members) -> str:
    """Every rank of a group holds the same bits in `tensors`; returns their digest.

    To be called on every rank of the world; on those outside the group `tensors` is not looked at.
    """
    own = digest(tensors) if members.index is not None else ""
    digests = members.allgather_json(own)
    for rank, other in zip(members.ranks, digests):
        if other != digests[0]:
            raise CorrectnessError(
                f"{name} differs between rank {members.ranks[0]} and rank {rank} after the "
                f"reduction; {WRONG_WORK}"
            ).of_every_rank()
    return str(digests[0])


def digest(tensors: Sequence[Any]) -> str:
    """BLAKE2b over the bytes of all tensors in order."""
    state = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        state.update(memoryview(tensor.numpy()).cast("B"))
    return state.hexdigest()


def _as_list(returned: Any) -> list[Any]:
    """What a phase returned as a list; a lone tensor, such as a loss, is a list of one."""
    return list(returned) if isinstance(returned, (list, tuple)) else [returned]


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


def prove_phases(
    phases: Mapping[str, Phase],
    names: Sequence[str],
    shapes: Sequence[Sequence[int]],
    members: Members,
    count_ops: OpCounter,
) -> dict[str, Any]:
    """What the phases of a group that reduces must do; returns what was found, for the record."""
    found: dict[str, Any] = {"executed_allreduces": {}, "reduced_gradients_digest": {}}
    for name in names:
        found["executed_allreduces"][name] = members.together(
            lambda name=name: check_executed_allreduces(phases[name], count_ops),  # type: ignore[misc]
            holds_collectives=True,
        )
    if "allreduce" in names:
        members.together(
            lambda: check_allreduce_mean(
                phases["allreduce"], shapes, members.size, members.index or 0
            ),
            holds_collectives=True,
        )
    for name in REDUCED_PHASES:
        if name in names:
            found["reduced_gradients_digest"][name] = prove_reduced(
                name, phases.get(name), shapes, members
            )
    return found


def prove_uncoupled(
    phases: Mapping[str, Phase],
    names: Sequence[str],
    shapes: Sequence[Sequence[int]],
    members: Members,
    count_ops: OpCounter,
) -> dict[str, Any]:
    """The controls run as many allreduces as they must and return every gradient, on every rank.

    That is none for training phases, and one of each gradient where a rank reduces with itself.
    """
    executed: dict[str, Any] = {}
    for name in (*REDUCED_PHASES, SELF_ALLREDUCE):
        if name not in names:
            continue
        executed[name] = members.together(
            lambda name=name: check_executed_allreduces(phases[name], count_ops)  # type: ignore[misc]
        )
        members.together(
            lambda name=name: check_complete_and_finite(  # type: ignore[misc]
                name, _as_list(phases[name].run()), shapes
            )
        )
    return {"executed_allreduces": executed}


def prove_reduced(
    name: str, phase: Phase | None, shapes: Sequence[Sequence[int]], members: Members
) -> str:
    """A tape phase returns every gradient, finite, with the same bits on every rank of its group."""
    gradients = _as_list(phase.run()) if phase is not None else []
    members.together(lambda: check_complete_and_finite(name, gradients, shapes))
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
        digest_found = prove_reduced(reduced[0], phases.get(reduced[0]), shapes, members)
        return {"reduced_gradients_digest": digest_found}
    if "forward_backward" in names:
        members.together(
            lambda: check_complete_and_finite(
                "forward_backward", _as_list(phases["forward_backward"].run()), shapes
            )
        )
    return {}
