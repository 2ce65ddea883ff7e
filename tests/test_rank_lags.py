from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from distbench.analysis import rank_lags
from distbench.analysis.rank_grid import RankGrid


def grid_of(log_times: Any, blocks: Any = None) -> RankGrid:
    ranks, steps = log_times.shape
    return RankGrid(
        phase="forward_backward",
        group="world",
        ranks=np.arange(ranks),
        hosts=("node",) * ranks,
        blocks=np.ones(steps, int) if blocks is None else np.asarray(blocks),
        duration_ns=1e8 * np.exp(log_times),
    )


def noise(ranks: int, steps: int, autocorrelation: float = 0.0, seed: int = 0) -> Any:
    """2 % of it; benchmarks/straggler_detection.py draws its seeds afresh."""
    source = np.random.default_rng(seed)
    series = source.standard_normal((ranks, steps))
    for step in range(1, steps):
        series[:, step] *= (1 - autocorrelation**2) ** 0.5
        series[:, step] += autocorrelation * series[:, step - 1]
    return 0.02 * series


@given(st.lists(st.integers(0, 6), min_size=2, max_size=9))
def test_the_median_of_others_is_exact_with_ties_and_without(numbers: list[int]) -> None:
    values = np.array(numbers, dtype=float)[:, np.newaxis]
    expected = [np.median(np.delete(values[:, 0], rank)) for rank in range(len(numbers))]
    assert rank_lags.median_of_others(values)[:, 0].tolist() == expected


def test_units_are_parts_of_blocks_and_never_of_two() -> None:
    one_block = rank_lags.unit_bounds(np.ones(100))
    assert one_block == [(first, first + 5) for first in range(0, 100, 5)]
    studies = rank_lags.unit_bounds(np.repeat([1, 2, 3, 4, 5, 6], [17, 17, 17, 17, 16, 16]))
    assert len(studies) == 24
    assert {first for first, _ in studies} >= {0, 17, 34, 51, 68, 84}
    assert rank_lags.unit_bounds(np.array([1, 1, 2])) == [(0, 1), (1, 2), (2, 3)]
    many = rank_lags.unit_bounds(np.repeat(np.arange(30), 10))
    assert many == [(first, first + 10) for first in range(0, 300, 10)]


def test_without_noise_the_lags_are_those_that_were_put_in() -> None:
    speeds = np.log([1.0, 1.0, 1.05, 1.0, 1.0])
    drift = np.log(np.linspace(1.0, 1.5, 40))  # which all ranks share
    lags = rank_lags.rank_lags(grid_of(speeds[:, np.newaxis] + drift))
    assert rank_lags.relative(lags.lag) == pytest.approx([0, 0, 0.05, 0, 0], abs=1e-9)
    low, high = lags.interval()
    assert high - low == pytest.approx(0, abs=1e-6)
    assert rank_lags.chance_by_noise(lags)[2] < 1e-12
    assert (rank_lags.chance_by_noise(lags)[[0, 1, 3, 4]] > 0.1).all()


def test_slow_ranks_among_the_others_do_not_shift_the_reference() -> None:
    """With 3 of 8 ranks slow, the middle of the others lies higher in the noise of the rest."""
    found = []
    for seed in range(30):
        times = noise(8, 100, seed=seed)
        times[:3] += np.log(1.05)
        found += rank_lags.relative(rank_lags.rank_lags(grid_of(times)).lag)[:3].tolist()
    # sd of one is 0.26 %, and the plain median of the others would give 4.2 %
    assert np.mean(found) == pytest.approx(0.05, abs=0.0025)


@pytest.mark.parametrize("autocorrelation", [0.0, 0.6])
def test_intervals_and_chances_hold_what_they_promise(autocorrelation: float) -> None:
    """Of 60 × 16 ranks, so that a share of 0.95 is known to 0.02 (three standard deviations)."""
    inside, improbable = [], []
    for seed in range(60):
        lags = rank_lags.rank_lags(grid_of(noise(16, 100, autocorrelation, seed)))
        low, high = lags.interval()
        inside.append((low <= 0) & (high >= 0))
        improbable.append(rank_lags.chance_by_noise(lags) < 0.05)
    assert np.mean(inside) > 0.92
    assert np.mean(improbable) < 0.08
    if autocorrelation:
        assert lags.autocorrelation > 0
        assert lags.degrees < 19


def test_the_autocorrelation_of_the_units_is_found_and_never_negative() -> None:
    found = [
        rank_lags.rank_lags(grid_of(noise(64, 100, 0.6, seed))).autocorrelation
        for seed in range(10)
    ]
    # of means of 5 steps at 0.6: 0.6 (1 - 0.6^5)² / (5 (1 - 0.6²) - 1.2 (1 - 0.6^5)) = 0.244
    assert np.mean(found) == pytest.approx(0.244, abs=0.06)
    alternating = 0.01 * np.resize([1.0, -1.0], 20) * np.array([[1.0], [-1.0], [1.0], [-1.0]])
    assert rank_lags.rank_lags(grid_of(alternating)).autocorrelation == 0.0


def test_too_few_units_are_not_judged() -> None:
    lags = rank_lags.rank_lags(grid_of(noise(4, 3)))
    assert np.isnan(lags.se).all()
    assert np.isnan(lags.z).all()
    assert rank_lags.chance_by_noise(lags).tolist() == [1.0] * 4
    assert np.isnan(lags.interval()[0]).all()
    assert rank_lags.rank_changes(lags).by_noise.tolist() == [1.0] * 4


def test_the_spread_rests_on_the_faster_half() -> None:
    levels = np.array([0.00, 0.01, 0.02, 0.03, 0.05, 0.9, 0.9])
    scale, degrees = rank_lags.spread_of(levels)
    # three distances to the middle rank, and two more ranks' worth of half a per cent
    expected = (0.03**2 + 0.02**2 + 0.01**2 + 2 * 0.005**2) / 5
    assert scale == pytest.approx(expected**0.5)
    assert degrees == 5
    assert rank_lags.spread_of(np.array([0.0, 0.9])) == (pytest.approx(0.005), 2)


def test_a_rank_stands_out_by_its_distance_to_the_others() -> None:
    levels = np.array([0.00, 0.01, 0.02, 0.03, 0.13])
    chance = rank_lags.chance_by_spread(levels)
    # distances of the faster half: 0.02 and 0.01; the others' median of the last is 0.015
    scale = ((0.02**2 + 0.01**2 + 2 * 0.005**2) / 4) ** 0.5
    expected = stats.t.sf((0.13 - 0.015) / (scale * 1.25**0.5), 4)
    assert chance[4] == pytest.approx(expected)
    assert chance[4] < 0.03 / 5
    assert chance[:4].min() > 0.1


def test_a_change_is_found_where_it_was() -> None:
    times = noise(8, 100) / 10
    times[5, 60:] += np.log(1.05)
    lags = rank_lags.rank_lags(grid_of(times, np.repeat(np.arange(1, 11), 10)))
    changes = rank_lags.rank_changes(lags)
    assert rank_lags.relative(changes.change)[5] == pytest.approx(0.05, abs=0.005)
    assert changes.first_late[5] == 12  # of 20 units
    assert lags.unit_blocks[changes.first_late[5]] == 7
    assert rank_lags.relative(changes.late)[5] == pytest.approx(0.05, abs=0.005)
    assert changes.by_noise[5] < 1e-6
    assert changes.by_spread[5] < 0.001
    assert changes.by_noise[[0, 1, 2, 3, 4, 6, 7]].min() > 1e-4


def test_no_change_is_seldom_taken_for_one() -> None:
    found = []
    for seed in range(60):
        lags = rank_lags.rank_lags(grid_of(noise(8, 100, 0.6, seed)))
        found.append(rank_lags.rank_changes(lags).by_noise.min() < 0.05 / 8)
    assert np.mean(found) < 0.15  # 0.05 at most is promised; three deviations more are 0.13
