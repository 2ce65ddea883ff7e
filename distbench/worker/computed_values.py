"""Whether what a phase computes is right: complete, finite, and what an eager pass computes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from distbench.errors import CorrectnessError
from distbench.worker import piecewise
from distbench.worker.computing import Computing
from distbench.worker.network import Network
from distbench.worker.phases import KEEP_PROB_INFERENCE, Phase

# L2 norm of the difference of two gradients over that of the reference. CPUs differ in the order of
# sums only. GPUs also choose between algorithms, some in TF32 with its 10-bit mantissa: rounding that
# way flips a few ReLU and pooling decisions, which moved the first kernel's gradient by 0.09 to 0.11
# when emulated. Work that was left out differs by 1. Products of 16 bits round like that everywhere,
# and a compiler that keeps values of a fused op in 32 bits rounds elsewhere.
GRADIENT_TOLERANCE = {"CPU": 1e-4, "GPU": 0.25}
NARROW_GRADIENT_TOLERANCE = 0.5
# Winograd's convolutions differ from direct sums by 5e-6 of their norm, which flips such decisions too:
# the gradients of VGG-A, D and E at batch 1 to 8 differed by up to 0.009.
WINOGRAD_GRADIENT_TOLERANCE = 0.03
# The least cosine between a gradient of 16 bits and that of float32, of a tensor and of all together.
# Gradients that underflowed to nothing, or that are noise, have one near 0. Measured on CPUs: 0.92 to
# 0.99 for the worst tensor, 0.999 for all. A loss scale that was left on shows in the norms.
LEAST_COSINE_OF_TENSOR = 0.5
LEAST_COSINE = 0.9
MOST_RATIO_OF_NORMS = 1.25
LEAST_OF_BEST_SCORE = {"float32": 0.999, "bfloat16": 0.97, "float16": 0.99}
WRONG_WORK = (
    "no speed is shown for work that is not done; please report this with the run directory"
)


def advice(computing: Computing) -> str:
    """What to try where numbers of this precision leave its range; empty where nothing helps."""
    if computing.precision != "float16":
        return ""
    return f"with float16 the loss scale of {computing.loss_scale:g} may be wrong: try another"


def check_forward(phase: Phase, network: Network) -> None:
    """The timed `forward` returns for each image a class that an eager forward pass ranks highest.

    The eager pass leaves every convolution to TensorFlow's library.
    """
    import tensorflow as tf

    predictions = phase.run()
    softmax = network.by_library().outputs(KEEP_PROB_INFERENCE).softmax
    chosen = tf.gather(softmax, predictions, batch_dims=1)
    # Two classes may be equal within rounding, so that the highest score counts and not its index.
    share = LEAST_OF_BEST_SCORE[network.computing.precision]
    if not bool(tf.reduce_all(chosen >= tf.reduce_max(softmax, axis=1) * share)):
        raise CorrectnessError(f"forward predicts other classes than an eager pass; {WRONG_WORK}")


def check_gradients(phase: Phase, network: Network, device_kind: str) -> float:
    """The timed `forward_backward` returns every gradient, finite and equal to an eager computation.

    Dropout is off in both (keep_prob 1), on the function that is timed with dropout on. The eager pass
    has the same precision, and leaves every convolution to TensorFlow's library. Returns the largest
    relative difference of a tensor.
    """
    gradients = _without_dropout(phase)
    hint = advice(network.computing)
    check_complete_and_finite(phase.name, gradients, network.vgg.parameter_shapes, hint)
    tolerance = gradient_tolerance(network.computing, device_kind)
    references = eager_gradients(network.by_library())
    return check_equal(phase.name, gradients, references, "an eager computation", tolerance)


def gradient_tolerance(computing: Computing, device_kind: str) -> float:
    """How much of its norm two right gradients may differ by."""
    if computing.is_narrow:
        return NARROW_GRADIENT_TOLERANCE
    if computing.convolution == "winograd":
        return WINOGRAD_GRADIENT_TOLERANCE
    return GRADIENT_TOLERANCE[device_kind]


def _without_dropout(phase: Phase) -> list[Any]:
    assert phase.with_keep_prob is not None
    return as_list(phase.with_keep_prob(KEEP_PROB_INFERENCE))


def eager_gradients(network: Network) -> list[Any]:
    """The gradients op by op, without dropout."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = network.loss(KEEP_PROB_INFERENCE)
    return list(tape.gradient(loss, network.parameters))


def check_equal(
    name: str, gradients: Sequence[Any], references: Sequence[Any], of_what: str, tolerance: float
) -> float:
    """Every tensor is its reference within `tolerance` of its norm; returns the largest difference."""
    differences = [_relative_difference(*pair) for pair in zip(gradients, references, strict=True)]
    worst = max(range(len(differences)), key=differences.__getitem__)
    if not differences[worst] <= tolerance:
        raise CorrectnessError(
            f"{name} returned gradient tensor {worst} that differs from {of_what} "
            f"by {differences[worst]:g} of its norm; {WRONG_WORK}"
        )
    return differences[worst]


def _relative_difference(gradient: Any, reference: Any) -> float:
    """L2 norm of the difference over that of the reference; a gradient may rightly be zero."""
    difference, size = piecewise.squares(gradient, reference)
    if size > 0:
        return math.sqrt(difference / size)
    return 0.0 if difference == 0 else math.inf


def check_against_float32(phase: Phase, network: Network) -> dict[str, float]:
    """Gradients made of 16-bit products point where those of float32 do.

    Two passes of one wrong graph are equal, so that its equal in the same precision does not prove it.
    Returns the cosine of all tensors together, the least one of a tensor, and the ratio of the norms.
    """
    references = eager_gradients(network.in_float32())
    products = [piecewise.products(*pair) for pair in zip(_without_dropout(phase), references)]
    cosines = [_cosine(*one) for one in products]
    worst = min(range(len(cosines)), key=cosines.__getitem__)
    sums = [sum(column) for column in zip(*products)]
    together, ratio = _cosine(*sums), math.sqrt(sums[1] / sums[2]) if sums[2] else 0.0
    are_alike = cosines[worst] >= LEAST_COSINE_OF_TENSOR and together >= LEAST_COSINE
    if not (are_alike and 1 / MOST_RATIO_OF_NORMS <= ratio <= MOST_RATIO_OF_NORMS):
        hint = advice(network.computing)
        raise CorrectnessError(
            f"{phase.name} in {network.computing.precision} returned gradients whose cosine with those of "
            f"float32 is {together:.3f} in all and {cosines[worst]:.3f} in tensor {worst}, and whose "
            f"norm is {ratio:.3g} times theirs; "
            f"{f'{hint}; ' if hint else ''}{WRONG_WORK}"
        )
    return {
        "cosine": together,
        "least_cosine_of_a_tensor": cosines[worst],
        "ratio_of_norms": ratio,
    }


def _cosine(product: float, square: float, other_square: float) -> float:
    """1 for two zeros, which are the same; 0 where one of them is zero."""
    if square == other_square == 0:
        return 1.0
    return product / math.sqrt(square * other_square) if square and other_square else 0.0


def check_complete_and_finite(
    name: str, tensors: Sequence[Any], shapes: Sequence[Sequence[int]], hint: str = ""
) -> None:
    """Every tensor of `shapes` is there, of that shape, and finite."""
    found = [tuple(tensor.shape) for tensor in tensors if tensor is not None]
    wanted = [tuple(shape) for shape in shapes]
    if found != wanted:
        raise CorrectnessError(
            f"{name} returned {len(found)} tensors where the {len(wanted)} gradients of all "
            f"parameters were wanted; {WRONG_WORK}"
        )
    for index, tensor in enumerate(tensors):
        if not piecewise.is_finite(tensor):
            raise CorrectnessError(
                f"{name} holds a NaN or an infinity in tensor {index}; "
                f"{f'{hint}; ' if hint else ''}{WRONG_WORK}"
            )


def as_list(returned: Any) -> list[Any]:
    """What a phase returned as a list; a lone tensor, such as a loss, is a list of one."""
    return list(returned) if isinstance(returned, (list, tuple)) else [returned]
