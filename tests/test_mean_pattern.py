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
