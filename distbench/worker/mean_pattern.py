"""Numbers that show whether an allreduce averaged every element of every tensor over every rank."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

FLOAT32_MANTISSA_BITS = 24


class MeanPattern:
    """Numbers whose mean over `size` ranks is known exactly (see `preflight.check_allreduce_mean`)."""

    def __init__(self, size: int) -> None:
        self.size = size
        bits = max(2, FLOAT32_MANTISSA_BITS - math.ceil(math.log2(size + 1)))
        self.fractions = 2 ** min(10, bits // 2)
        self.rank_terms: int = max(1, 2 ** (bits // 2) - 2)
        terms = [self._rank_term(rank) for rank in range(size)]
        self.mean_term = sum(terms) / size
        exact = size & (size - 1) == 0
        self.tolerance = 0.0 if exact else 2.0**-22 * (self.mean_term + 1)

    def _rank_term(self, rank: int) -> int:
        return rank % self.rank_terms + 1

    def sent(self, rank: int, tensor: int, shape: Sequence[int]) -> Any:
        """What rank `rank` sends as gradient tensor `tensor`, float32 of `shape`."""
        return self._filled(float(self._rank_term(rank)), tensor, shape)

    def largest_error(self, received: Any, tensor: int, shape: Sequence[int]) -> float:
        """The largest absolute difference between `received` and the mean; NaN where it holds one."""
        import tensorflow as tf

        expected = self._filled(self.mean_term, tensor, shape)
        return float(tf.reduce_max(tf.abs(received - expected)))

    def _filled(self, term: float, tensor: int, shape: Sequence[int]) -> Any:
        import tensorflow as tf

        one_period = (tf.range(self.fractions, dtype=tf.float32) + tensor) % self.fractions
        periods = -(-math.prod(shape) // self.fractions)
        values = tf.tile(one_period / self.fractions + term, [periods])
        return tf.reshape(values[: math.prod(shape)], shape)
