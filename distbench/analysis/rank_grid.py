"""The steps of one phase as an array of ranks × steps: what compares ranks with each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from distbench.groups import ALONE, REDUCING

# Computed without communication, the one that does more first: there a rank's time is its own.
COMPUTING_PHASES = ("forward_backward", "forward")
ALONE_RANKS = "alone"  # what the ranks that ran alone are called together, as in `summary`


@dataclass(frozen=True)
class RankGrid:
    """The timed steps that all ranks of a group have, in the order in which they were run.

    `duration_ns` is a float64 array of ranks × steps; `ranks` (int64) and `hosts` name its rows,
    `blocks` (int64) holds the block of each column. Rows stand node by node, nodes in the order of
    their first rank.
    """

    phase: str
    group: str
    ranks: Any
    hosts: tuple[str, ...]
    blocks: Any
    duration_ns: Any


def computing_grid(steps: pd.DataFrame) -> RankGrid | None:
    """The grid of the main group's computing, of two ranks or more; None where there is none.

    The main group is the largest that reduces, else the ranks that ran alone.
    """
    for phase in COMPUTING_PHASES:
        timed = timed_steps(steps, phase)
        reducing = timed[timed["role"] == REDUCING]
        for size in sorted(reducing["group_size"].unique(), reverse=True):
            of_size = reducing[reducing["group_size"] == size]
            first = str(of_size["group"].iloc[0])
            grid = rank_grid(of_size[of_size["group"] == first], phase, first)
            if grid is not None and len(grid.ranks) == size > 1:
                return grid
        grid = alone_grid(timed, phase)
        if grid is not None:
            return grid
    return None


def alone_grid(timed: pd.DataFrame, phase: str) -> RankGrid | None:
    """The grid of the ranks that ran alone, where there are two or more of them.

    Its columns are the same step of the same round, which the ranks of a node ran in turn.
    """
    grid = rank_grid(timed[timed["role"] == ALONE], phase, ALONE_RANKS)
    return grid if grid is not None and len(grid.ranks) > 1 else None


def timed_steps(steps: pd.DataFrame, phase: str) -> pd.DataFrame:
    """The timed steps of one phase; only the columns that a grid needs."""
    columns = ["rank", "host", "group", "role", "group_size", "block", "step", "duration_ns"]
    wanted = (steps["phase"] == phase).to_numpy() & ~steps["warmup"].to_numpy(dtype=bool)
    return steps.loc[wanted, columns]


def rank_grid(timed: pd.DataFrame, phase: str, group: str) -> RankGrid | None:
    """The grid of all ranks in `timed`; None where they have no step in common."""
    if timed.empty:
        return None
    ranks, rows = np.unique(timed["rank"].to_numpy(dtype=np.int64), return_inverse=True)
    blocks, steps = (timed[name].to_numpy(dtype=np.int64) for name in ("block", "step"))
    width = int(steps.max()) + 1
    times, columns = np.unique(blocks * width + steps, return_inverse=True)
    durations = np.full((len(ranks), len(times)), np.nan)
    durations[rows, columns] = timed["duration_ns"].to_numpy(dtype=float)
    common = ~np.isnan(durations).any(axis=0)
    if not common.any():
        return None
    firsts = np.unique(rows, return_index=True)[1]
    hosts = timed["host"].iloc[firsts].astype(str).tolist()
    order = node_order(hosts)
    if not common.all():
        durations = durations[:, common]
    return RankGrid(
        phase=phase,
        group=group,
        ranks=ranks[order],
        hosts=tuple(hosts[place] for place in order),
        blocks=times[common] // width,
        duration_ns=durations[order] if order != list(range(len(order))) else durations,
    )


def node_order(hosts: Sequence[str]) -> list[int]:
    """The places of ranks node by node, nodes in the order of their first rank."""
    numbers = {host: number for number, host in enumerate(dict.fromkeys(hosts))}
    return sorted(range(len(hosts)), key=lambda place: (numbers[hosts[place]], place))
