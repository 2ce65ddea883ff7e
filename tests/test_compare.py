from __future__ import annotations

import math

import numpy as np
import pytest

from distbench.analysis.cell_pairs import Side
from distbench.analysis.comparability import Difference
from distbench.analysis.compare import (
    FASTER,
    HIGHER,
    LOWER,
    NO_DIFFERENCE,
    NOT_RESOLVED,
    SLOWER,
    compare,
    verdict,
)
from distbench.config import PHASES
from tests.compare_fakes import FACTS, STEADY, launch, side, times

NAN = float("nan")


@pytest.mark.parametrize(
    ("ratio", "low", "high", "p", "said"),
    [
        (1.05, 1.04, 1.06, 0.001, SLOWER),
        (
            1.05,
            1.01,
            1.09,
            0.001,
            SLOWER,
        ),  # the estimate is beyond the threshold, and it is no chance
        (1.05, 0.99, 1.11, 0.049, SLOWER),  # Holm decides where Bonferroni's interval is wider
        (1.05, 0.99, 1.11, 0.06, NOT_RESOLVED),
        (1.029, 1.028, 1.0299, 0.001, NO_DIFFERENCE),
        (1.02, 1.005, 1.035, 0.001, NOT_RESOLVED),  # there is a difference, but does it matter?
        (1.00, 0.98, 1.02, 0.9, NO_DIFFERENCE),
        (1.00, 0.96, 1.04, 0.9, NOT_RESOLVED),
        (1 / 1.05, 1 / 1.06, 1 / 1.04, 0.001, FASTER),
        (1 / 1.029, 1 / 1.0299, 1 / 1.028, 0.001, NO_DIFFERENCE),
        (1.05, NAN, NAN, NAN, NOT_RESOLVED),
    ],
)
def test_a_verdict_needs_a_change_that_matters_and_is_no_chance(
    ratio: float, low: float, high: float, p: float, said: str
) -> None:
    assert verdict((ratio, low, high), p, threshold=0.03) == said


def test_an_efficiency_is_lower_or_higher() -> None:
    assert verdict((0.9, 0.89, 0.91), 0.001, 0.03, is_efficiency=True) == LOWER
    assert verdict((1.1, 1.09, 1.11), 0.001, 0.03, is_efficiency=True) == HIGHER


def test_slower_steps_are_found_with_their_ratio() -> None:
    found = compare(side(launch(times(1))), side(launch(times(1.05))), threshold=0.03)
    (row,) = found.rows
    assert row.ratio == pytest.approx(1.05)
    assert row.low < 1.05 < row.high
    assert (row.low, row.high) == pytest.approx((row.together_low, row.together_high))
    assert row.verdict == SLOWER
    assert found.with_verdict(SLOWER) == [row]
    assert found.refusals == ()


def test_the_same_change_does_not_matter_to_a_larger_threshold() -> None:
    found = compare(side(launch(times(1))), side(launch(times(1.05))), threshold=0.10)
    assert found.rows[0].verdict == NO_DIFFERENCE


def test_many_comparisons_widen_the_intervals_and_raise_the_p_values() -> None:
    many = {(size, "train_step"): times(1) for size in (2, 4, 8, 16)}
    slower = {place: times(1.002) for place in many}
    (alone,) = compare(side(launch(times(1))), side(launch(times(1.002)))).rows
    found = compare(side(launch(many)), side(launch(slower)))
    first = found.rows[0]
    assert found.counted == 7  # three of them are efficiencies
    assert (first.low, first.high) == pytest.approx((alone.low, alone.high))
    assert first.together_low < alone.together_low < alone.together_high < first.together_high
    assert first.p_holm > alone.p_holm


def test_what_is_alike_is_rarely_told_apart_by_any_of_many_comparisons() -> None:
    """At most 5 of 100 pairs, where each comparison by itself would err in half of the pairs."""
    source = np.random.default_rng(4)
    places = [(size, phase) for size in (2, 4, 8) for phase in PHASES]

    def noisy(run_id: str) -> Side:
        rounds = 10 * np.exp(source.normal(0, 0.01, (len(places), 6)))
        times = {place: own.tolist() for place, own in zip(places, rounds)}
        return side(launch(times, run_id=run_id, curve_phase=None))

    corrected = uncorrected = 0
    for _ in range(100):
        rows = compare(noisy("a"), noisy("b"), threshold=1e-9).rows
        corrected += any(row.verdict != NOT_RESOLVED for row in rows)
        uncorrected += any(not row.low <= 1 <= row.high for row in rows)
    assert corrected <= 5
    assert uncorrected > 35


def test_comparisons_without_an_interval_are_not_counted_and_not_resolved() -> None:
    places = {(2, "train_step"): times(1), (4, "train_step"): [10.0]}
    found = compare(side(launch(places)), side(launch(places, run_id="run-2")))
    by_place = {(row.size, row.quantity): row for row in found.rows}
    assert by_place[4, "train_step"].verdict == NOT_RESOLVED
    assert math.isnan(by_place[4, "train_step"].together_low)
    assert found.counted == 1


def test_the_largest_change_comes_first() -> None:
    a = {(2, "forward"): times(1), (2, "train_step"): times(1)}
    b = {(2, "forward"): times(1.1), (2, "train_step"): times(1.2)}
    found = compare(side(launch(a)), side(launch(b)))
    assert [row.quantity for row in found.with_verdict(SLOWER)] == ["train_step", "forward"]


def test_what_cannot_be_compared_is_refused_with_both_values() -> None:
    a = side(launch(STEADY))
    b = side(launch(STEADY, facts={**FACTS, "device": "GPU: y", "seed": "1"}))
    found = compare(a, b)
    assert found.refusals == ("device (A: CPU: x, B: GPU: y)",)
    assert found.differences[1] == (Difference("seed", "0", "1", refuses=False), ())


def test_a_run_that_is_not_valid_is_refused_with_its_cause() -> None:
    one = launch(STEADY, obstacles=("rank 1 has no end line",))
    other = launch(STEADY, name="config D, launch 2", obstacles=("a", "b", "c"))
    assert compare(side(one), side(other)).refusals == (
        "A is not valid: rank 1 has no end line",
        "B is not valid (config D, launch 2): a (and 2 more)",
    )


def test_a_reader_is_told_what_the_intervals_rest_on() -> None:
    one, other = launch(STEADY), launch(STEADY, run_id="run-2")
    several = [launch([ms], run_id=f"run-{ms}") for ms in STEADY]
    assert any("low confidence" in note for note in compare(side(one), side(other)).notes)
    lent = compare(side(*several), side(other)).notes
    assert any("one side has a single launch" in note for note in lent)
    assert not any("low confidence" in note for note in lent)
    assert (
        compare(side(*several), side(*several[:3], other, other))
        .notes[0]
        .startswith("note: A and B share the run")
    )


def test_a_run_does_not_differ_from_itself() -> None:
    noisy = side(launch([10.0, 14.0, 9.0]))
    (row,) = compare(noisy, noisy).rows
    assert (row.together_low, row.ratio, row.together_high) == (1, 1, 1)
    assert row.verdict == NO_DIFFERENCE
    again = compare(noisy, side(launch([10.0, 14.0, 9.0], run_id="run-2")))
    assert again.rows[0].verdict == NOT_RESOLVED


def test_warnings_and_what_a_study_lacks_are_told_once() -> None:
    suspect = launch(STEADY, warnings=("8 threads on 2 cores",))
    b = side(launch(STEADY, run_id="run-2"))
    found = compare(side(suspect, suspect), b)
    assert found.is_suspect
    assert [note for note in found.notes if note.startswith("suspect")] == [
        "suspect: A: 8 threads on 2 cores"
    ]


def test_the_same_launches_give_the_same_comparison() -> None:
    a, b = side(launch(times(1))), side(launch(times(1.05)))
    assert compare(a, b) == compare(a, b)
