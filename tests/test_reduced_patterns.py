from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from distbench.worker.mean_pattern import MeanPattern
from distbench.worker.reduced_patterns import AdasumOfEqual, AdasumOfOrthogonal, Pattern, patterns
from distbench.worker.reducing import Reducing

tf = pytest.importorskip("tensorflow")

SHAPES = [(3, 5), (40,), (1,)]


def adasum(a: Any, b: Any) -> Any:
    """The formula of the paper, in float64."""
    product, a2, b2 = (a * b).sum(), (a * a).sum(), (b * b).sum()
    from_a = 1 - product / (2 * a2) if a2 else 1.0
    from_b = 1 - product / (2 * b2) if b2 else 1.0
    return from_a * a + from_b * b


def tree(parts: Sequence[Any]) -> Any:
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    return adasum(tree(parts[:half]), tree(parts[half:]))


def worst(pattern: Pattern, size: int, reduce: Any, sender: Any = None) -> float:
    errors = []
    for tensor, shape in enumerate(SHAPES):
        sent = [
            pattern.sent(rank, tensor, shape).numpy().astype(np.float64) for rank in range(size)
        ]
        errors.append(pattern.largest_error(tf.constant(reduce(sent), tf.float32), tensor, shape))
    return max(errors)


@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize("compression", ["none", "fp16"])
def test_adasum_passes_and_a_mean_or_a_sum_does_not(size: int, compression: str) -> None:
    both = patterns(Reducing(compression, 0, "adasum"), size)
    assert [type(one) for one in both] == [AdasumOfOrthogonal, AdasumOfEqual]
    assert all(worst(one, size, tree) <= one.tolerance < 0.01 for one in both)
    orthogonal, equal = both
    assert worst(orthogonal, size, lambda sent: sum(sent) / size) > orthogonal.tolerance
    assert worst(equal, size, sum) > equal.tolerance
    assert worst(equal, size, lambda sent: sent[0] * np.nan) != 0


def test_ranks_of_a_node_average_before_adasum_joins_the_nodes() -> None:
    def on_two_nodes(sent: Sequence[Any]) -> Any:
        return adasum((sent[0] + sent[1]) / 2, (sent[2] + sent[3]) / 2)

    for one in patterns(Reducing("none", 0, "adasum"), 4, ranks_averaged=2):
        assert worst(one, 4, on_two_nodes) <= one.tolerance


def test_a_mean_is_proven_by_a_mean_in_the_bits_that_travel() -> None:
    (whole,) = patterns(Reducing(), 4)
    (half,) = patterns(Reducing("fp16"), 4)
    assert isinstance(whole, MeanPattern)
    assert isinstance(half, MeanPattern)
    assert half.fractions < whole.fractions
    (alone,) = patterns(Reducing("fp16", 0, "adasum"), 1)
    assert isinstance(alone, MeanPattern)  # one rank reduces nothing
    assert alone.fractions == MeanPattern(1).fractions


@pytest.mark.parametrize("size", [2, 3, 8])
def test_a_scaled_sum_is_proven_by_a_sum(size: int) -> None:
    (one,) = patterns(Reducing(operation="scaled_sum"), size)
    assert worst(one, size, sum) == 0.0
    assert worst(one, size, lambda sent: sum(sent) / size) > 0.4
    assert worst(one, size, lambda sent: sum(sent[1:])) > 0.4


@pytest.mark.parametrize("size", [2, 3, 8, 33, 64, 200, 1000])
def test_means_of_halves_are_exact_and_a_missing_rank_is_found(size: int) -> None:
    """Summed one after the other in float16, as a chain of ranks does it."""
    (half,) = patterns(Reducing("fp16"), size)
    shape = (64,)
    turns = 1 + (size - 1) // 64
    for tensor in range(min(turns, 3)):
        sent = [half.sent(rank, tensor, shape).numpy() for rank in range(size)]
        assert all((one.astype(np.float16) == one).all() for one in sent)
        total = np.zeros(shape, np.float16)
        for one in sent:
            total = total + one.astype(np.float16)
        mean = (total.astype(np.float32) * np.float32(1 / size)).astype(np.float16)
        assert half.largest_error(mean.astype(np.float32), tensor, shape) <= half.tolerance
        without = (sum(sent) - sent[tensor]) / size  # one whose turn it is
        assert half.largest_error(without, tensor, shape) > half.tolerance
