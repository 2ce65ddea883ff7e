"""Which rank holds the others up: found in the time that each computes, beside who comes last."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from distbench.analysis.collect import Run
from distbench.analysis.rank_grid import computing_grid
from distbench.analysis.straggler_scores import Comparison, compare_ranks
from distbench.analysis.straggler_words import details, evidence, notes, verdict


@dataclass(frozen=True)
class Straggler:
    """A rank that holds the others up; lags are relative to the other ranks (0.05: 5 % slower).

    `since_block` is the block from which on it was slow, None where it was all along. `alone_lag` is
    NaN where no rank ran alone. `median_wait_s` is how long the others waited for it where it came
    last. `evidence` says why it is named, in a sentence; `details` what else is known, or nothing.
    """

    rank: int
    host: str
    device: str
    relative_lag: float
    relative_lag_low: float
    relative_lag_high: float
    z: float
    since_block: int | None
    alone_lag: float
    meetings: int
    last_arrivals: int
    median_wait_s: float
    evidence: str
    details: str


@dataclass(frozen=True)
class Stragglers(Comparison):
    """The comparison of the ranks, who is named (the slowest first), and what it says in words."""

    named: tuple[Straggler, ...]
    verdict: str
    notes: tuple[str, ...]


def find_stragglers(run: Run) -> Stragglers | None:
    """Compares the ranks of the main group; None where there are not two, or no phase that computes."""
    grid = computing_grid(run.steps)
    if grid is None:
        return None
    found = compare_ranks(run, grid)
    slow = found.scores[found.scores["is_straggler"]]
    ordered = slow.sort_values("relative_lag", ascending=False, kind="stable")
    return Stragglers(
        **{item.name: getattr(found, item.name) for item in dataclasses.fields(found)},
        named=tuple(_straggler(row, found) for _, row in ordered.iterrows()),
        verdict=verdict(found),
        notes=notes(found),
    )


def _straggler(row: Any, found: Comparison) -> Straggler:
    return Straggler(
        rank=int(row["rank"]),
        host=str(row["host"]),
        device=str(row["device"]),
        relative_lag=float(row["relative_lag"]),
        relative_lag_low=float(row["relative_lag_low"]),
        relative_lag_high=float(row["relative_lag_high"]),
        z=float(row["z"]),
        since_block=int(row["own_change_block"]) if row["became_slow"] else None,
        alone_lag=float(row["alone_lag"]),
        meetings=int(row["meetings"]),
        last_arrivals=int(row["last_arrivals"]),
        median_wait_s=float(row["median_wait_s"]),
        evidence=evidence(row, found),
        details=details(row),
    )
