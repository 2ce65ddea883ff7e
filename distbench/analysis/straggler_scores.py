"""The numbers by which ranks are compared, one row per rank, and which of them are stragglers.

A rank is one where three things hold. Its lag behind the other ranks is more than noise explains (a t
test on its own runs of steps). It stands out from the spread of the ranks, since devices that all
differ a little are uneven, and none of them a straggler. And it is LEAST_LAG at least. A rank that
became slow during the run is found by the same three tests on the change of its lag.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from distbench.analysis.arrivals import Arrivals, arrivals
from distbench.analysis.collect import Run
from distbench.analysis.rank_grid import (
    ALONE_RANKS,
    COMPUTING_PHASES,
    RankGrid,
    alone_grid,
    timed_steps,
)
from distbench.analysis.rank_lags import (
    Changes,
    RankLags,
    chance_by_noise,
    chance_by_spread,
    distance_factor,
    rank_changes,
    rank_lags,
    relative,
    spread_of,
)

# Where all ranks are alike but for noise, one is spoken of in at most FAMILY_ERROR of the runs: all
# ranks together (Bonferroni), and the three ways to be spoken of (the lag, its change, coming last).
FAMILY_ERROR = 0.05
NOISE_ERROR = FAMILY_ERROR / 3
# How improbable its distance to the others must be beside. Where ranks differ by nature, evenly spread,
# one is named all the same in 5 to 10 of 100 runs from 8 ranks on, and in 20 of 100 of 3 ranks.
SPREAD_ERROR = 0.03
# A job gains no more from a swapped rank than its lag, and less than this is seldom worth the change.
LEAST_LAG = 0.01
# A spike is as far from the rank's usual lag as hyperfine wants an outlier to be (METHOD R7 and M16),
# and a tenth longer at least.
SPIKE_DEVIATIONS = 14.826
LEAST_SPIKE = 0.1


@dataclass(frozen=True)
class Comparison:
    """How alike the ranks of a group compute.

    `scores` has one row per rank, node by node:

      rank, host, device     the last with the GPU's UUID, where it has one
      relative_lag           how much slower than the other ranks (0.05: 5 %), with _low and _high, its
                             95 % interval; `z` is the lag in standard errors
      own_change             of its lag, from `own_change_block` on, where that is clearest, and
                             `own_change_z`; `became_slow` says that it is one to be named for
      alone_lag              its lag where every rank ran alone, with _low and _high; else NaN
      meetings               those after blocks of computing in which all ranks could be followed,
      last_arrivals          at how many of them it came last,
      median_wait_s          and how long the others then waited for it (0 where it never did);
      is_late                often, and not because it computes slower
      slowest_share          of the steps, those in which it was the slowest
      spikes                 steps of a length unusual for it; `longest_spike` as a multiple of the
                             usual, and `spike_share` of the job's time that they cost
      is_straggler           whether it is named

    `slowdown` is mean(max) ÷ mean(mean) of the ranks' times over the steps (METHOD 3.3), and
    `slowdown_without` the same of the ranks that are not named. `gain` is the share of the job's
    time in `phase` that would be saved without those. A rank of usual noise is named from a lag of
    `least_named` on (NaN where there are too few steps to test). `is_uneven` says that ranks differ
    by more than noise, and by LEAST_LAG, and yet none stands out.
    """

    phase: str
    group: str
    steps_per_rank: int
    units: int
    autocorrelation: float
    scores: pd.DataFrame
    slowdown: float
    slowdown_without: float
    gain: float
    least_named: float
    is_uneven: bool

    @property
    def ranks(self) -> int:
        """How many ranks were compared."""
        return len(self.scores)

    @property
    def was_tested(self) -> bool:
        """Whether there were enough steps to tell a lag from noise."""
        return not np.isnan(self.least_named)


def compare_ranks(run: Run, grid: RankGrid) -> Comparison:
    """Compares the ranks of `grid`, which holds the steps of one phase that computes."""
    lags, met = rank_lags(grid), arrivals(run.blocks, grid, COMPUTING_PHASES)
    changes = rank_changes(lags)
    became_slow = _became_slow(changes)
    is_straggler = _is_slow(lags) | became_slow
    scores = pd.DataFrame(
        {
            **_places(run, grid),
            **_lag_columns(lags),
            **_change_columns(lags, changes),
            "became_slow": became_slow,
            **_alone_columns(run, grid),
            **_arrival_columns(met, lags, is_straggler),
            **_slowest_columns(grid, lags),
            "is_straggler": is_straggler,
        }
    )
    others = grid.duration_ns[~is_straggler] if is_straggler.any() else grid.duration_ns
    return Comparison(
        phase=grid.phase,
        group=grid.group,
        steps_per_rank=grid.duration_ns.shape[1],
        units=lags.units.shape[1],
        autocorrelation=lags.autocorrelation,
        scores=scores,
        slowdown=_slowdown(grid.duration_ns),
        slowdown_without=_slowdown(others),
        gain=1 - float(others.max(axis=0).mean() / grid.duration_ns.max(axis=0).mean()),
        least_named=_least_named(lags),
        is_uneven=not is_straggler.any() and _is_uneven(lags),
    )


def _is_slow(lags: RankLags) -> Any:
    ranks = len(lags.lag)
    by_noise = chance_by_noise(lags) * ranks < NOISE_ERROR
    by_spread = chance_by_spread(lags.level) * ranks < SPREAD_ERROR
    return by_noise & by_spread & (lags.lag >= np.log1p(LEAST_LAG))


def _became_slow(changes: Changes) -> Any:
    ranks, least = len(changes.change), np.log1p(LEAST_LAG)
    by_noise = changes.by_noise * ranks < NOISE_ERROR
    by_spread = changes.by_spread * ranks < SPREAD_ERROR
    return by_noise & by_spread & (changes.change >= least) & (changes.late >= least)


def _is_uneven(lags: RankLags) -> bool:
    differs = np.minimum(chance_by_noise(lags), chance_by_noise(lags, faster=True))
    matters = np.abs(lags.lag) >= np.log1p(LEAST_LAG)
    return bool((matters & (differs * 2 * len(lags.lag) < FAMILY_ERROR)).any())


def _least_named(lags: RankLags) -> float:
    """The lag from which on a rank of the usual noise is named, as a fraction."""
    if lags.degrees <= 0:
        return float("nan")
    ranks = len(lags.lag)
    scale, degrees = spread_of(lags.level)
    by_noise = stdtrit(lags.degrees, 1 - NOISE_ERROR / ranks) * np.median(lags.se)
    by_spread = stdtrit(degrees, 1 - SPREAD_ERROR / ranks) * scale * distance_factor(ranks)
    return float(relative(max(by_noise, by_spread, np.log1p(LEAST_LAG))))


def _places(run: Run, grid: RankGrid) -> dict[str, Any]:
    headers = {records.rank: records.header for records in run.ranks if records.header}
    devices = [_device(headers.get(int(rank), {})) for rank in grid.ranks]
    return {"rank": grid.ranks, "host": list(grid.hosts), "device": devices}


def _device(header: dict[str, Any]) -> str:
    name = str(header.get("device", {}).get("name", ""))
    uuid = str(header.get("gpu_uuid") or "")
    return ", ".join(part for part in (name, uuid) if part)


def _lag_columns(lags: RankLags) -> dict[str, Any]:
    low, high = lags.interval()
    return {
        "relative_lag": relative(lags.lag),
        "relative_lag_low": relative(low),
        "relative_lag_high": relative(high),
        "z": lags.z,
    }


def _change_columns(lags: RankLags, changes: Changes) -> dict[str, Any]:
    return {
        "own_change": relative(changes.change),
        "own_change_z": changes.z,
        "own_change_block": lags.unit_blocks[changes.first_late],
        "late_lag": relative(changes.late),
    }


def _alone_columns(run: Run, grid: RankGrid) -> dict[str, Any]:
    """The lags of the ranks that ran alone too, in the same phase."""
    columns = {name: np.full(len(grid.ranks), np.nan) for name in _ALONE_COLUMNS}
    beside = grid.group != ALONE_RANKS
    alone = alone_grid(timed_steps(run.steps, grid.phase), grid.phase) if beside else None
    if alone is not None:
        lags = rank_lags(alone)
        rows = np.searchsorted(np.sort(grid.ranks), alone.ranks)
        is_held = np.isin(alone.ranks, grid.ranks)
        rows = np.argsort(grid.ranks, kind="stable")[rows[is_held]]
        for name, values in zip(_ALONE_COLUMNS, (lags.lag, *lags.interval())):
            columns[name][rows] = relative(values[is_held])
    return columns


_ALONE_COLUMNS = ("alone_lag", "alone_lag_low", "alone_lag_high")


def _arrival_columns(met: Arrivals, lags: RankLags, is_straggler: Any) -> dict[str, Any]:
    """`is_late` compares what the others waited with what the rank's own lag explains of it."""
    is_often = met.chance * len(lags.lag) < NOISE_ERROR
    unexplained = met.wait_share - np.maximum(relative(lags.lag), 0)
    return {
        "meetings": np.full(len(lags.lag), met.meetings),
        "last_arrivals": met.last,
        "median_wait_s": met.wait_s,
        "is_late": is_often & (unexplained >= LEAST_LAG) & ~is_straggler,
    }


def _slowest_columns(grid: RankGrid, lags: RankLags) -> dict[str, Any]:
    ranks, steps = grid.duration_ns.shape
    slowest = grid.duration_ns.argmax(axis=0)
    usual = np.median(lags.residual, axis=1, keepdims=True)
    reach = SPIKE_DEVIATIONS * np.median(np.abs(lags.residual - usual), axis=1, keepdims=True)
    is_spike = lags.residual - usual > np.maximum(reach, np.log1p(LEAST_SPIKE))
    above = np.where(is_spike, lags.residual - usual, 0.0).max(axis=1)
    columns = np.flatnonzero(is_spike[slowest, np.arange(steps)])
    ordered = np.sort(grid.duration_ns[:, columns], axis=0)
    cost = np.bincount(slowest[columns], ordered[-1] - ordered[-2], ranks)
    return {
        "slowest_share": np.bincount(slowest, minlength=ranks) / steps,
        "spikes": is_spike.sum(axis=1),
        "longest_spike": np.exp(above),
        "spike_share": cost / grid.duration_ns.max(axis=0).sum(),
    }


def _slowdown(duration_ns: Any) -> float:
    return float(duration_ns.max(axis=0).mean() / duration_ns.mean())
