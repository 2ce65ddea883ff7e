from __future__ import annotations

import math

import numpy as np
import pytest

from distbench.analysis.statistics import interval_ranks, median_interval


# Worked out from the binomial distribution; the same as in published tables.
@pytest.mark.parametrize(
    ("samples", "ranks"),
    [
        (6, (1, 6)),
        (10, (2, 9)),
        (20, (6, 15)),
        (30, (10, 21)),
        (50, (18, 33)),
        (100, (40, 61)),
        (200, (86, 115)),
    ],
)
def test_order_statistics_of_the_median(samples: int, ranks: tuple[int, int]) -> None:
    assert interval_ranks(samples) == ranks


@pytest.mark.parametrize("samples", range(6, 120))
def test_the_interval_is_the_narrowest_that_holds_95_percent(samples: int) -> None:
    low, high = interval_ranks(samples) or (0, 0)

    def below(count: int) -> float:
        return sum(math.comb(samples, k) for k in range(count)) / 2**samples

    assert high == samples + 1 - low
    assert 1 - 2 * below(low) >= 0.95
    assert 1 - 2 * below(low + 1) < 0.95


def test_five_samples_have_no_interval() -> None:
    low, high, samples = median_interval([1, 2, 3, 4, 5])
    assert math.isnan(low)
    assert math.isnan(high)
    assert samples == 5


def test_six_samples_have_their_range() -> None:
    assert median_interval([6, 1, 5, 2, 4, 3]) == (1, 6, 6)


def test_coverage_on_skewed_noise_is_at_least_93_percent() -> None:
    generator = np.random.default_rng(1)
    truth = math.log(2)  # median of the exponential distribution
    intervals = [median_interval(generator.exponential(size=20)) for _ in range(1000)]
    assert sum(low <= truth <= high for low, high, _ in intervals) >= 930
