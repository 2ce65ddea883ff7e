"""Who came last when the ranks met after their blocks, from clocks that nobody has synchronised.

All ranks of a run meet before each block and leave that meeting together. So the time between the end
of a rank's block and the start of its next one, both on its own clock, is how long it was at the
meeting, and what exceeds the shortest such time is how long it waited for the last to come:
wait_i = gap_i - min_j gap_j (METHOD 3.3). The offsets of the clocks cancel.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import betainc

from distbench.analysis.rank_grid import RankGrid

_BLOCK = ["phase", "group", "block", "warmup"]
_MEETING = [*_BLOCK, *(f"next_{name}" for name in _BLOCK)]


@dataclass(frozen=True)
class Arrivals:
    """What each rank did at the meetings after the group's computing, by the grid's rows.

    `meetings` counts those in which every rank of the group could be followed. `last` (int64) says at
    how many of them each rank came last, alone. `wait_s` is the median time that the others then
    waited for it (their median at each of those meetings), 0 where it never came last; `wait_share`
    is the same as a fraction of its block. `chance` is the probability of coming last so often where
    all ranks are alike: a binomial one with 1 ÷ ranks.
    """

    meetings: int
    last: Any
    wait_s: Any
    wait_share: Any
    chance: Any


def arrivals(blocks: pd.DataFrame, grid: RankGrid, phases: Collection[str]) -> Arrivals:
    """The meetings after the timed blocks of these phases; none for ranks that ran alone."""
    gaps_ns, spans_ns = _gaps(blocks, grid, phases)
    ranks, meetings = gaps_ns.shape
    waits_ns = gaps_ns - gaps_ns.min(axis=0, initial=np.inf)
    came_last = (waits_ns == 0) & ((waits_ns == 0).sum(axis=0) == 1)
    last = came_last.sum(axis=1)
    wait_s, wait_share = np.zeros(ranks), np.zeros(ranks)
    for row in np.flatnonzero(last):
        held_up = came_last[row]
        others_ns = np.median(np.delete(waits_ns[:, held_up], row, axis=0), axis=0)
        wait_s[row] = np.median(others_ns) / 1e9
        wait_share[row] = np.median(others_ns / spans_ns[row, held_up])
    return Arrivals(meetings, last, wait_s, wait_share, _chance(last, meetings))


def _chance(last: Any, meetings: int) -> Any:
    """P(X ≥ last) for X binomial with `meetings` and 1 ÷ ranks: I_p(k, n - k + 1)."""
    often = np.maximum(last, 1)
    chance = betainc(often, np.maximum(meetings - often + 1, 1), 1 / len(last))
    return np.where(last > 0, chance, 1.0)


def _gaps(blocks: pd.DataFrame, grid: RankGrid, phases: Collection[str]) -> tuple[Any, Any]:
    """By rank and meeting, the time to the next block and the length of the block, in ns."""
    followed = _followed_blocks(blocks, grid, phases)
    numbers = followed.groupby(_MEETING, observed=True, sort=False).ngroup().to_numpy()
    row_of = {int(rank): row for row, rank in enumerate(grid.ranks)}
    rows = followed["rank"].map(row_of).to_numpy(dtype=np.int64)
    shape = (len(grid.ranks), int(numbers.max(initial=-1)) + 1)
    gaps_ns, spans_ns = np.full(shape, np.nan), np.full(shape, np.nan)
    gaps_ns[rows, numbers] = followed["next_start_ns"] - followed["end_ns"]
    spans_ns[rows, numbers] = followed["end_ns"] - followed["start_ns"]
    whole = ~np.isnan(gaps_ns).any(axis=0)
    return gaps_ns[:, whole], spans_ns[:, whole]


def _followed_blocks(blocks: pd.DataFrame, grid: RankGrid, phases: Collection[str]) -> pd.DataFrame:
    """The group's timed blocks of these phases, each with the next block of the same rank.

    Ranks that wait while others run have no record of when, so that the next blocks of two ranks may
    differ: such a pair is then two meetings, neither of them whole.
    """
    columns = ["rank", *_BLOCK, "start_ns", "end_ns"]
    ordered = blocks.loc[blocks["rank"].isin(grid.ranks), columns]
    ordered = ordered.sort_values(["rank", "start_ns"], kind="stable", ignore_index=True)
    has_next = (ordered["rank"] == ordered["rank"].shift(-1)).to_numpy()
    for name in _BLOCK:
        ordered[f"next_{name}"] = ordered[name].shift(-1)
    # Kept in integers, since a float does not hold every nanosecond of a long uptime.
    ordered["next_start_ns"] = ordered["start_ns"].shift(-1, fill_value=0)
    wanted = (
        has_next
        & (ordered["group"] == grid.group)
        & ordered["phase"].isin(list(phases))
        & ~ordered["warmup"].astype(bool)
    )
    return ordered[wanted]
