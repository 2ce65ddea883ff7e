from __future__ import annotations

import dataclasses

from distbench.report.tune_rows import best_first
from tests.test_tune_report import NAN, row


def test_the_winner_comes_first_and_what_was_not_measured_last() -> None:
    """A winner that is not decided need not have the highest rate of all."""
    lucky, winner, slow = row("lucky", 102.0), row("winner", 101.0, True), row("slow", 90.0)
    failed = dataclasses.replace(row("failed", NAN), launches=0)
    ordered = best_first([failed, slow, lucky, winner])
    assert [one.label for one in ordered] == ["winner", "lucky", "slow", "failed"]
