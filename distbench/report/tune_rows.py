"""What the report of a tuning shows: its settings, what their levels do, and the words beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

WINNER, BEST_SO_FAR = "WINNER", "BEST SO FAR"  # what became of the setting that leads


@dataclass(frozen=True)
class CandidateRow:
    """One setting: its rate, that against the winner's, its efficiency, and what became of it.

    NaN where there is none: a setting that failed has no rate, and one launch no interval.
    """

    label: str
    launches: int
    images_per_s: float
    images_per_s_low: float
    images_per_s_high: float
    ratio: float
    ratio_low: float
    ratio_high: float
    efficiency: float
    efficiency_low: float
    efficiency_high: float
    one_rank_images_per_s: float
    outcome: str
    is_winner: bool = False


@dataclass(frozen=True)
class EffectRow:
    """What one level makes of the default's rate, all else at the default."""

    setting: str
    level: str
    ratio: float
    low: float
    high: float
    note: str


@dataclass(frozen=True)
class TuneFindings:
    """Everything that the report of a tuning shows; `candidates` stand in the order of their rates."""

    name: str
    about: str  # network, devices, ranks, phase
    headline: str
    candidates: Sequence[CandidateRow]
    effects: Sequence[EffectRow]
    notes: Sequence[str]
    method: Sequence[str]
    command: str  # of the winner; empty where there is none
    toml: str


def best_first(rows: Iterable[CandidateRow]) -> list[CandidateRow]:
    """The winner, the others by their rates, then what was not measured."""
    return sorted(rows, key=lambda row: (not row.launches, not row.is_winner, -row.images_per_s))
