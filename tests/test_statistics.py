from __future__ import annotations

import math

import numpy as np
import pytest

from distbench.analysis.statistics import interval_ranks, inward_weight, median_interval


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


# With n = 6 the outer pair (1, 6) holds 31/32 and the next one 25/32: I = 0.1, and the weight is
# 5 · 0.1 ÷ (1 + 4 · 0.1). With n = 9, (2, 8) holds 246/256 and (3, 7) 210/256.
@pytest.mark.parametrize(
    ("samples", "weight"),
    [(6, 5 / 14), (9, 7 * (2.8 / 36) / (2 + 5 * (2.8 / 36)))],
)
def test_the_weight_by_hand(samples: int, weight: float) -> None:
    assert inward_weight(samples) == pytest.approx(weight, rel=1e-12)


def test_five_samples_have_no_weight() -> None:
    with pytest.raises(ValueError, match="needs 6 samples, not 5"):
        inward_weight(5)


@pytest.mark.parametrize("samples", range(6, 200))
def test_the_bounds_lie_between_neighbours(samples: int) -> None:
    assert 0 <= inward_weight(samples) < 1


def test_six_samples_by_hand() -> None:
    low, high, samples = median_interval([6, 1, 5, 2, 4, 3])
    assert (low, high) == pytest.approx((1 + 5 / 14, 6 - 5 / 14))
    assert samples == 6


@pytest.mark.parametrize("samples", [6, 8, 10, 20, 50])
@pytest.mark.parametrize("kind", ["normal", "exponential", "cauchy"])
def test_the_interval_holds_the_median_of_independent_values_in_95_percent(
    kind: str, samples: int
) -> None:
    """Of 3000 sets: 95 % ± 1.6 % is four standard deviations."""
    generator = np.random.default_rng(samples)
    draw = {
        "normal": generator.standard_normal,
        "exponential": generator.exponential,
        "cauchy": generator.standard_cauchy,
    }[kind]
    truth = math.log(2) if kind == "exponential" else 0.0
    intervals = [median_interval(draw(size=samples)) for _ in range(3000)]
    held = sum(low <= truth <= high for low, high, _ in intervals)
    assert 0.934 <= held / 3000 <= 0.966
