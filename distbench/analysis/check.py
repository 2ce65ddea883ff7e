"""One finding of the checks, and how grave it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

LEVELS = ("invalid", "suspect", "note")


class Check(NamedTuple):
    """One finding: `level` is 'invalid' (show no headline), 'suspect' or 'note'."""

    level: str
    text: str


def gravest_first(checks: Iterable[Check]) -> list[Check]:
    """Invalid ones first, then suspect ones, then notes; else in their order."""
    return sorted(checks, key=lambda check: LEVELS.index(check.level))
