"""Which patterns prove what a reduction of gradients does, and those of Adasum.

Adasum of two gradients (Maleki et al. 2021) is (1 − ab/2a²) a + (1 − ab/2b²) b: their sum where they are
orthogonal, and the gradient itself where both are the same. Both cases are exact in floating point,
for any power of two of ranks, and no mean and no plain sum passes both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

from distbench.worker.mean_pattern import FLOAT16_MANTISSA_BITS, FLOAT32_MANTISSA_BITS, MeanPattern
from distbench.worker.piecewise import first_piece, largest_difference
from distbench.worker.reducing import Reducing

_FRACTIONS = 16


class Pattern(Protocol):
    """Numbers to send, and how far what came back is from what must come."""

    name: str  # of what comes back, in words
    tolerance: float

    def sent(self, rank: int, tensor: int, shape: Sequence[int]) -> Any:
        """What the rank at place `rank` sends as gradient tensor `tensor`, float32 of `shape`."""

    def largest_error(self, received: Any, tensor: int, shape: Sequence[int]) -> float:
        """The largest absolute difference to what must come; infinite where `received` holds a NaN."""


class AdasumOfOrthogonal:
    """Each element is sent by one rank alone, so that Adasum is the sum: what that rank sent.

    On GPUs with NCCL the ranks of a node average before Adasum joins the nodes: the sum is then divided
    by `ranks_averaged`.
    """

    name = "an Adasum of orthogonal gradients"

    def __init__(self, size: int, ranks_averaged: int, mantissa_bits: int) -> None:
        self._size = size
        self._ranks_averaged = ranks_averaged
        self.tolerance = 2.0 ** (3 - mantissa_bits)

    def sent(self, rank: int, tensor: int, shape: Sequence[int]) -> Any:
        """The values where it is this rank's turn, zero elsewhere."""
        import tensorflow as tf

        places = tf.range(math.prod(shape)) + tensor
        own = tf.reshape(tf.cast(places % self._size == rank, tf.float32), shape)
        return _values(tensor, shape) * own

    def largest_error(self, received: Any, tensor: int, shape: Sequence[int]) -> float:
        """As `Pattern` says."""
        repeated = _values(tensor, first_piece(shape)) / self._ranks_averaged
        return largest_difference(received, repeated)


class AdasumOfEqual:
    """All ranks send the same, so that Adasum is that itself."""

    name = "an Adasum of equal gradients"

    def __init__(self, mantissa_bits: int) -> None:
        self.tolerance = 2.0 ** (3 - mantissa_bits)

    def sent(self, rank: int, tensor: int, shape: Sequence[int]) -> Any:
        """The values, on every rank."""
        return _values(tensor, shape)

    def largest_error(self, received: Any, tensor: int, shape: Sequence[int]) -> float:
        """As `Pattern` says."""
        return largest_difference(received, _values(tensor, first_piece(shape)))


def patterns(reducing: Reducing, size: int, ranks_averaged: int = 1) -> list[Pattern]:
    """What must be sent through an allreduce of `size` ranks to prove it; one rank reduces nothing."""
    is_half = reducing.compression == "fp16" and size > 1
    bits = FLOAT16_MANTISSA_BITS if is_half else FLOAT32_MANTISSA_BITS
    if reducing.operation == "adasum" and size > 1:
        return [AdasumOfOrthogonal(size, ranks_averaged, bits), AdasumOfEqual(bits)]
    return [MeanPattern(size, bits, is_sum=reducing.operation == "scaled_sum")]


def _values(tensor: int, shape: Sequence[int]) -> Any:
    """From 1 to 2, other ones at neighbouring elements and in neighbouring tensors; exact in 11 bits."""
    import tensorflow as tf

    places = (tf.range(math.prod(shape), dtype=tf.int32) + tensor) % _FRACTIONS
    return tf.reshape(1 + tf.cast(places, tf.float32) / _FRACTIONS, shape)
