from __future__ import annotations

import math
import re

import pytest

from distbench.analysis.compare import compare
from distbench.analysis.compared_launches import ComparedLaunch
from distbench.report.compare_words import (
    change_size,
    headline,
    pair_text,
    side_text,
    signed_change,
    threshold_text,
)
from tests.compare_fakes import FORWARD, STEADY, compared, launch, side


@pytest.mark.parametrize(
    ("ratio", "size", "signed"),
    [
        (1.05, "5.0 %", "+5.0 %"),
        (1 / 1.05, "5.0 %", "−5.0 %"),
        (1.0025, "0.25 %", "+0.25 %"),
        (1.00994, "0.99 %", "+0.99 %"),
        (1.00996, "1.0 %", "+1.0 %"),
        (1.0, "0.00 %", "+0.00 %"),
        (12.0, "over 1000 %", "+over 1000 %"),
        (0.0, "over 1000 %", "−over 1000 %"),
        (math.inf, "over 1000 %", "+over 1000 %"),
        (math.nan, "n/a", "n/a"),
    ],
)
def test_a_change_reads_alike_in_both_directions(ratio: float, size: str, signed: str) -> None:
    assert change_size(ratio) == size
    assert signed_change(ratio) == signed


def test_thresholds_are_shown_as_they_were_given() -> None:
    assert [threshold_text(value) for value in (0.03, 0.005, 0.1)] == ["3 %", "0.5 %", "10 %"]


def test_the_answer_is_the_largest_training_step_and_then_all_steps() -> None:
    text = headline(compared())
    first = re.fullmatch(
        r"train_step of 2 ranks: B is 5\.0 % slower \(\+4\.\d % to \+5\.\d %\): slower\. (.*)", text
    )
    assert first is not None, text
    assert first[1] == (
        "B is slower than A in 1 of 2 steps, most in train_step of 2 ranks, by 5.0 %; "
        "no difference that matters (over 3 %) in 1 of 2 steps."
    )
    assert headline(compared(step=0.9, forward=0.95)).endswith(
        "B is faster than A in 2 of 2 steps, most in train_step of 2 ranks, by 11.1 %."
    )
    same = headline(compared(step=1.0))
    assert same.startswith("train_step of 2 ranks: B is as fast (−0.")
    assert same.endswith("No difference that matters (over 3 %) in any of 2 steps.")
    assert headline(compared(threshold=0.0001)).endswith("; 1 of 2 steps are not resolved.")


def test_the_answer_about_computing_alone_or_about_several_cells_is_of_all_steps() -> None:
    def forward(run_id: str, cell: str) -> ComparedLaunch:
        return launch({FORWARD: STEADY}, run_id=run_id, varied={"config": cell})

    found = compare(side(forward("a", "A")), side(forward("b", "A")))
    assert headline(found).startswith("No difference that matters")
    cells = [
        side(*(launch(STEADY, run_id=run_id, varied={"config": cell}) for cell in "AD"))
        for run_id in ("a", "b")
    ]
    assert headline(compare(*cells)).startswith("No difference that matters")


def test_a_side_says_what_was_run_and_how_often() -> None:
    one = launch(STEADY, run_id="run-7")
    assert side_text(side(one, name="results/a")) == (
        "results/a (VGG-D, 224×224, batch 4 per rank, on CPUs; run run-7)"
    )
    several = side(one, launch(STEADY, network="VGG-A", batch="batch 8 per rank"), name="study")
    assert side_text(several) == (
        "study (VGG-D, 224×224 and VGG-A, several batches, on CPUs; 2 launches)"
    )


def test_what_differs_between_the_sides_is_told_of_both() -> None:
    (alike,) = compared().pairs
    assert pair_text(alike) == "VGG-D, 224×224, batch 4 per rank, on CPUs"
    (apart,) = compared(devices="GPUs").pairs
    assert pair_text(apart) == (
        "A VGG-D, 224×224, batch 4 per rank, on CPUs; B VGG-D, 224×224, batch 4 per rank, on GPUs"
    )
