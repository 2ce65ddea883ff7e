"""Numbers that show whether an allreduce averaged every element of every tensor over every rank."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from distbench.worker import piecewise
from distbench.worker.piecewise import first_piece

FLOAT32_MANTISSA_BITS = 24
FLOAT16_MANTISSA_BITS = 11
# Where the sum of all ranks has few bits, the ranks take turns from tensor to tensor, at most so many of
# them in one and in at most so many turns; the others send zeros.
MOST_SENDERS_IN_HALF = 64
MOST_TURNS = 16


class MeanPattern:
    """Numbers whose mean over `size` ranks is known exactly (see `preflight.check_reduced_values`).

    They repeat, so that a piece of a tensor is like any other.

    `mantissa_bits` are those of the numbers on the wire, in which partial sums must be exact. Where
    nobody divides (`is_sum`), the sum of the same numbers must come.
    """

    def __init__(
        self, size: int, mantissa_bits: int = FLOAT32_MANTISSA_BITS, is_sum: bool = False
    ) -> None:
        self.size = size
        self.name = "a sum" if is_sum else "a mean"
        self._divisor = 1 if is_sum else size
        self._turns = 1
        if mantissa_bits < FLOAT32_MANTISSA_BITS:
            self._turns = min(MOST_TURNS, math.ceil(size / MOST_SENDERS_IN_HALF))
        senders = math.ceil(size / self._turns)
        bits = max(2, mantissa_bits - math.ceil(math.log2(senders + 1)))
        self.fractions = 2 ** min(10, bits // 2)
        self.rank_terms: int = max(1, 2 ** (bits // 2) - 2)
        largest_sum = senders * (self.rank_terms + 1)
        fits = largest_sum * self.fractions <= 2**mantissa_bits
        is_exact = self._divisor & (self._divisor - 1) == 0 and fits
        largest_mean = max(sum(self._expected(turn)) for turn in range(self._turns))
        self.tolerance = 0.0 if is_exact else 2.0 ** (2 - mantissa_bits) * largest_mean

    def _rank_term(self, rank: int) -> int:
        return rank % self.rank_terms + 1

    def _expected(self, tensor: int) -> tuple[float, float]:
        """The mean of the ranks' terms, and the share of the ranks that send at all; or the sums."""
        senders = range(tensor % self._turns, self.size, self._turns)
        terms = sum(self._rank_term(rank) for rank in senders)
        return terms / self._divisor, len(senders) / self._divisor

    def sent(self, rank: int, tensor: int, shape: Sequence[int]) -> Any:
        """What rank `rank` sends as gradient tensor `tensor`, float32 of `shape`."""
        is_its_turn = rank % self._turns == tensor % self._turns
        term = float(self._rank_term(rank)) if is_its_turn else 0.0
        return self._filled(term, float(is_its_turn), tensor, shape)

    def largest_error(self, received: Any, tensor: int, shape: Sequence[int]) -> float:
        """The largest absolute difference between `received` and the mean; infinite for a NaN."""
        repeated = self._filled(*self._expected(tensor), tensor, first_piece(shape))
        return piecewise.largest_difference(received, repeated)

    def _filled(self, term: float, share: float, tensor: int, shape: Sequence[int]) -> Any:
        import tensorflow as tf

        one_period = (tf.range(self.fractions, dtype=tf.float32) + tensor) % self.fractions
        periods = -(-math.prod(shape) // self.fractions)
        values = tf.tile(share * one_period / self.fractions + term, [periods])
        if values.shape[0] > math.prod(shape):
            values = values[: math.prod(shape)]
        return tf.reshape(values, shape)
