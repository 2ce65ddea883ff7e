"""A rank whose clock is not that of the others: of another rate, jumped, or shifted.

All ranks meet right before each block, so that ranks that run a block together begin it at the same
moment, whatever their clocks show. From one such moment to a later one the same time passes for all
of them; what a rank's clock counted beside that is its own fault. Ranks leave a meeting some ms apart,
now and then 0.1 s (METHOD fact 7), so that medians over many meetings are compared. Blocks that ranks
ran alone tell nothing, and ranks of different machines are never compared by what their clocks show.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from distbench import units
from distbench.analysis.check import Check
from distbench.analysis.collect import Run
from distbench.groups import WORLD

LEAST_RATE = 0.005  # clocks that are being set run up to 0.0005 fast or slow
LATEST_START_S = 0.5  # of a rank after a meeting, with much to spare
LEAST_PAIRS = 8  # of meetings, to tell from their spread what is chance
SPREADS_BY_CHANCE = 4.0  # interquartile ranges ÷ √pairs: about as many standard errors of a median
LONGEST_SHIFT_S = (
    1.0  # at one meeting, that may be a late start; a shift stays, a late start passes
)
LEAST_SHIFT_S = 0.05  # however many meetings show it
LEAST_MEETINGS_OF_HALVES = 8
RATE_ADVICE = (
    "leave the host out, or see to its clock (/sys/devices/system/clocksource/clocksource0, and what "
    "is preloaded into the rank)"
)
JUMP_ADVICE = (
    "what was being timed then is wrong: see whether the machine was suspended or moved meanwhile"
)
OFFSET_ADVICE = (
    "no time here compares clocks of different ranks, so that none is wrong for that; do not lay the "
    "`start_ns` of these ranks side by side, and see whether one runs in a time namespace or with a "
    "preloaded clock"
)
_MEETING = ["phase", "group", "block", "warmup"]
Array = np.ndarray[Any, Any]


class Meetings(NamedTuple):
    """When each rank began the blocks that all of them ran together, by its own clock.

    `start_ns` is an int64 array of ranks × blocks, in the order in which these were run; `ranks`
    names its rows and `names` its columns.
    """

    ranks: Array
    names: tuple[str, ...]
    start_ns: Array

    def passed_s(self) -> Array:
        """What each rank's clock counted since the first meeting."""
        passed: Array = (self.start_ns - self.start_ns[:, :1]) / 1e9
        return passed


def clock_checks(run: Run) -> Iterator[Check]:
    """Every finding about the clocks of a run's ranks."""
    met = meetings(run.blocks)
    if met is None:
        return
    is_odd = np.zeros(len(met.ranks), dtype=bool)
    for find in (_rates, _jumps, _offsets):
        found, check = find(run, met, is_odd)
        is_odd |= found  # named once
        if check is not None:
            yield check


def meetings(blocks: pd.DataFrame) -> Meetings | None:
    """The blocks that the most ranks began together; None unless two ranks began two.

    A rank that has less than half of them stopped early and is left out; then what all have is kept.
    """
    if blocks.empty:
        return None
    ranks_of_group = blocks.groupby("group", observed=True)["rank"].nunique()
    most = int(ranks_of_group.max())
    together = blocks[blocks["group"].isin(ranks_of_group.index[ranks_of_group == most])]
    together = together.drop_duplicates(["rank", *_MEETING])  # the first of several pieces
    # numbered as they come in the files, which is how they were run, whatever a clock shows
    numbers = together.groupby(_MEETING, observed=True, sort=False).ngroup().to_numpy()
    ranks, rows = np.unique(together["rank"].to_numpy(dtype=np.int64), return_inverse=True)
    shape = (len(ranks), int(numbers.max()) + 1)
    start_ns, is_there = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=bool)
    start_ns[rows, numbers] = together["start_ns"].to_numpy(dtype=np.int64)
    is_there[rows, numbers] = True
    kept = is_there.sum(axis=1) * 2 >= shape[1]
    common = is_there[kept].all(axis=0)
    start_ns = start_ns[np.ix_(kept, common)]
    if min(start_ns.shape) < 2:
        return None
    firsts = np.unique(numbers, return_index=True)[1][common]
    names = tuple(_name(one) for one in together.iloc[firsts][_MEETING].itertuples(index=False))
    return Meetings(ranks[kept], names, start_ns)


def _name(block: Any) -> str:
    """'block 3 of forward', 'the warm-up of forward of size-4'."""
    which = "the warm-up" if block.warmup else f"block {block.block}"
    group = "" if block.group == WORLD else f" of {block.group}"
    return f"{which} of {block.phase}{group}"


def _usual(values: Array) -> Array:
    """By column the median of the ranks, and always the value of one of them."""
    usual: Array = np.quantile(values, 0.5, axis=0, method="lower")
    return usual


Found = tuple[Array, Check | None]  # whether each rank is one of those found; what to say of them


def _rates(run: Run, met: Meetings, _: Array) -> Found:
    """Ranks whose clock counts more or less time than the others' do, throughout the run."""
    passed_s = met.passed_s()
    parts = [_rate_of_part(passed_s[:, columns]) for columns in _halves(passed_s.shape[1])]
    rates, allowed = (np.array(values) for values in zip(*parts))
    one_way = (rates > 0).all(axis=0) | (rates < 0).all(axis=0)
    found = one_way & (np.abs(rates) > allowed).all(axis=0)
    if not found.any():
        return found, None
    rate = rates.mean(axis=0)
    worst = int(np.argmax(np.where(found, np.abs(rate), 0)))
    usual = int(np.argmin(np.abs(rate)))
    counted = " and ".join(
        f"{units.seconds(float(passed_s[row, -1]))} for {_rank(run, met, row)}"
        for row in (worst, usual)
    )
    told = f"between the same two moments there passed {counted}"
    wrong = units.percent(abs(rate[worst]))
    if _are_few(found):
        way = "fast" if rate[worst] > 0 else "slow"
        text = (
            f"the clock of {_rank(run, met, worst)}{_others(found)} runs {wrong} {way}: {told}. All "
            f"its times are wrong by as much: {RATE_ADVICE}"
        )
    else:
        text = (
            f"the clocks of the ranks differ in their rate by {wrong}: {told}. Which of them is "
            f"right cannot be told, so that all times may be wrong by as much: {RATE_ADVICE}"
        )
    return found, Check("suspect", text)


def _halves(count: int) -> list[slice]:
    """Both halves of a run, in which a clock of another rate shows alike and one that jumped does not."""
    if count < LEAST_MEETINGS_OF_HALVES:
        return [slice(None)]
    return [slice(0, count // 2), slice(count // 2, None)]


def _rate_of_part(passed_s: Array) -> tuple[Array, Array]:
    """By rank how much faster its clock runs than the others', and how much more than nothing may be.

    Each meeting is paired with the one that is half of the part later; a rank has the median of all
    pairs, which one late start hardly moves. What is left to chance follows from how its own pairs
    differ, or where they are few from the latest start.
    """
    count = passed_s.shape[1]
    spans_s = passed_s[:, count // 2 :] - passed_s[:, : count - count // 2]
    usual_s = _usual(spans_s)
    spans_s, usual_s = spans_s[:, usual_s > 0], usual_s[usual_s > 0]
    pairs = len(usual_s)
    if not pairs:
        return np.zeros(len(passed_s)), np.full(len(passed_s), np.inf)
    quartiles = np.quantile(spans_s / usual_s - 1, (0.25, 0.5, 0.75), axis=1)
    if pairs < LEAST_PAIRS:
        chance = np.full(len(passed_s), LATEST_START_S / usual_s.min())
    else:
        chance = SPREADS_BY_CHANCE * (quartiles[2] - quartiles[0]) / np.sqrt(pairs)
    return quartiles[1], LEAST_RATE + chance


def _jumps(run: Run, met: Meetings, is_odd: Array) -> Found:
    """Ranks whose clock went ahead or back once, against those of the others, and stayed there."""
    passed_s = met.passed_s()
    ahead_s = passed_s - _usual(passed_s)
    steps_s = np.diff(ahead_s, axis=1)
    places = np.argmax(np.abs(steps_s), axis=1)
    largest_s = np.abs(steps_s).max(axis=1)
    jumps_s = np.zeros(len(met.ranks))
    for row in np.flatnonzero((largest_s > LEAST_SHIFT_S) & ~is_odd):
        before_s, after_s = np.split(ahead_s[row], [places[row] + 1])
        shift_s = np.median(after_s) - np.median(before_s)
        stays = 0.5 < shift_s / steps_s[row, places[row]] < 2  # a late start passes, a drift grows
        if stays and abs(shift_s) > _least_shift_s(min(len(before_s), len(after_s))):
            jumps_s[row] = shift_s
    found = jumps_s != 0
    if not found.any():
        return found, None
    worst = int(np.argmax(np.abs(jumps_s)))
    jump_s, place = float(jumps_s[worst]), met.names[places[worst]]
    way = "ahead" if jump_s > 0 else "back"
    doubt = "" if _are_few(found) else ", or theirs the other way"
    text = (
        f"the clock of {_rank(run, met, worst)}{_others(found)} jumped {way} by "
        f"{units.seconds(abs(jump_s))} against those of the other ranks{doubt}, during or after "
        f"{place}: {JUMP_ADVICE}"
    )
    return found, Check("suspect", text)


def _least_shift_s(meetings_seen: int) -> float:
    return max(LONGEST_SHIFT_S / meetings_seen, LEAST_SHIFT_S)


def _offsets(run: Run, met: Meetings, is_odd: Array) -> Found:
    """Ranks of one machine that began the same blocks at different times of what should be one clock."""
    ahead_s, offset_s = np.zeros(met.start_ns.shape), np.zeros(len(met.ranks))
    boots = _boots(run, met)
    for boot in set(boots) - {""}:
        rows = np.flatnonzero((boots == boot) & ~is_odd)
        if len(rows) > 1:
            ahead_s[rows] = (met.start_ns[rows] - _usual_ns(met.start_ns[rows])) / 1e9
    quartiles = np.quantile(ahead_s, (0.25, 0.5, 0.75), axis=1)
    offset_s, spread_s = quartiles[1], quartiles[2] - quartiles[0]
    least_s = np.maximum(5 * spread_s, _least_shift_s(ahead_s.shape[1]))
    found = np.abs(offset_s) > least_s
    if not found.any():
        return found, None
    worst = int(np.argmax(np.where(found, np.abs(offset_s), 0)))
    way = "ahead of" if offset_s[worst] > 0 else "behind"
    text = (
        f"the clock of {_rank(run, met, worst)}{_others(found)} is "
        f"{units.seconds(abs(float(offset_s[worst])))} {way} those of the other ranks there, which "
        f"share one clock: {OFFSET_ADVICE}"
    )
    return found, Check("note", text)


def _usual_ns(start_ns: Array) -> Array:
    """By column the median rank's; in integers, since a float does not hold every nanosecond."""
    usual: Array = np.sort(start_ns, axis=0)[(len(start_ns) - 1) // 2]
    return usual


def _boots(run: Run, met: Meetings) -> Array:
    """The boot that each rank says it runs in; empty where it does not."""
    told = {one.rank: str(one.header.get("boot_id") or "") for one in run.ranks if one.header}
    return np.array([told.get(int(rank), "") for rank in met.ranks])


def _are_few(found: Array) -> bool:
    """Whether most ranks agree, so that it is these that are wrong."""
    return bool(found.sum() * 2 < len(found))


def _others(found: Array) -> str:
    left = int(found.sum()) - 1
    return f" (and of {left} more rank{'s' if left > 1 else ''})" if left else ""


def _rank(run: Run, met: Meetings, row: int) -> str:
    rank = int(met.ranks[row])
    host = next(str(one.header["host"]) for one in run.ranks if one.rank == rank and one.header)
    return f"rank {rank} on {host}"
