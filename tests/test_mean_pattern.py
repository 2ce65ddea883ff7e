"""That a wrong mean is found is tested in test_preflight; here are the bounds of the pattern."""

from __future__ import annotations

import pytest

from distbench.worker.mean_pattern import MeanPattern


@pytest.mark.parametrize("size", [256, 4096, 16384])
def test_the_pattern_fits_into_float32_at_large_sizes(size: int) -> None:
    pattern = MeanPattern(size)
    largest_sum = size * (pattern.rank_terms + 1)
    assert largest_sum * pattern.fractions <= 2**24
    assert pattern.fractions >= 16


def test_a_power_of_two_leaves_nothing_to_rounding() -> None:
    assert [MeanPattern(size).tolerance for size in (1, 2, 4, 4096)] == [0.0] * 4
    assert 0 < MeanPattern(3).tolerance < 1e-5


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 4096])
def test_a_sum_is_exact_at_any_size(size: int) -> None:
    """No factor is rounded, so that nothing is tolerated."""
    pattern = MeanPattern(size, is_sum=True)
    assert (pattern.name, pattern.tolerance) == ("a sum", 0.0)
    terms, senders = pattern._expected(0)
    assert senders == size
    assert terms == sum(pattern._rank_term(rank) for rank in range(size))
