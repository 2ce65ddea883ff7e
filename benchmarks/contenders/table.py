"""One section of the result as lines of text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from contenders.comparison import Compared, Exposed, Share, Spread
from contenders.goals import Goal
from distbench import units

DIRECT_SUMS = (
    "(FLOPs of direct sums for all: Winograd's convolutions take fewer, and may pass 100 %)"
)
_COLUMNS = "{:<28}{:<28}{:>11}{:>11}  {:>7}  {}"


def pair_lines(pairs: Sequence[Compared]) -> list[str]:
    """A row for every phase and contender."""
    head = ("phase", "contender", "its step", "distbench", "ratio", "95 % interval, rounds")
    return [
        _COLUMNS.format(*head),
        *(
            _COLUMNS.format(
                pair.phase,
                pair.contender,
                units.seconds(pair.seconds),
                units.seconds(pair.our_seconds),
                f"{pair.ratio['median']:.3f}",
                interval_text(pair.ratio),
            )
            for pair in pairs
        ),
        "(ratio: the contender's step ÷ distbench's in the same round; above 1 distbench is faster)",
    ]


def share_lines(shares: Sequence[Share]) -> list[str]:
    """How near each contender comes to the peak, by the FLOPs of direct sums."""
    lines = [
        f"{one.contender} {one.phase}: {one.flops_per_s / 1e9:.1f} GFLOP/s a rank, "
        f"{one.share['median']:.1%} of the {one.peak_flops_per_s / 1e9:.1f} GFLOP/s of a matrix "
        f"product ({interval_text(one.share)})"
        for one in shares
    ]
    return [*lines, DIRECT_SUMS] if lines else []


def exposed_lines(found: Sequence[Exposed]) -> list[str]:
    """Not judged: how low it can get is a question to Horovod's settings."""
    return [
        f"{one.contender} exposed communication: {one.seconds['median'] * 1e3:.4g} ms, "
        f"{one.share['median']:.1%} of forward_backward_allreduce ({interval_text(one.share)})"
        for one in found
    ]


def goal_lines(goals: Sequence[Goal]) -> list[str]:
    """The verdicts."""
    return [
        f"goal: {one.text}: {one.verdict}" + (f": {one.because}" if one.because else "")
        for one in goals
    ]


def fact_lines(name: str, facts: Sequence[dict[str, Any]]) -> list[str]:
    """What rank 0 tells of its contender."""
    told = ", ".join(f"{key} {value}" for key, value in facts[0].items())
    return [f"{name}: {told}"] if told else []


def interval_text(found: Spread) -> str:
    """'1.010 to 1.032, 30'."""
    if math.isnan(found["low"]):
        return f"no interval below 6 rounds, {found['rounds']:.0f}"
    return f"{found['low']:.3f} to {found['high']:.3f}, {found['rounds']:.0f}"
