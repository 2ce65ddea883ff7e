from __future__ import annotations

import math

from distbench.tune import halving, search, tune_plan
from distbench.tune.tune_file import make_tuning
from distbench.tune.tune_plan import first_choices, in_stages, plan_lines, settings_text
from tests.tune_fakes import TWO_CORES, tuning_of


def test_the_plan_says_what_the_search_does() -> None:
    assert tune_plan.MOST_PRODUCT == search.MOST_PRODUCT
    assert tune_plan.SCREENING_ROUNDS == search.SCREENING_ROUNDS
    assert tune_plan.MOST_COMBINED == search.MOST_COMBINED
    assert tune_plan.HALVING_ROUNDS == halving.HALVING_ROUNDS
    assert tune_plan.LEAST_AFTER_HALVING == halving.LEAST_AFTER_HALVING


def test_few_combinations_are_all_shown() -> None:
    lines = plan_lines(tuning_of(), 600.0)
    assert lines[0] == (
        "Tuning 'small': images/s of train_step at 2 rank(s) by local, 2 settings to begin with, "
        "rounds shuffled with seed 0"
    )
    assert "  batch_size: 2, 4" in lines
    assert [line.split() for line in lines if line.startswith("batch_size")] == [
        ["batch_size", "2", "7"],
        ["batch_size", "4", "7"],
    ]
    assert "All combinations of the levels take part." in lines
    # 4 rounds of both and 3 of efficiency
    assert lines[-1].startswith("about 11 launch(es) unless the leader is known sooner")
    assert "10 min 0 s holds them if each takes at most 55 s" in lines[-1]


def test_many_combinations_begin_with_single_changes() -> None:
    tuning = make_tuning({}, "none", "2", TWO_CORES)
    assert in_stages(tuning)
    choices = first_choices(tuning)
    assert choices[0] == tuning.space.default
    assert all(sum(level > 0 for level in choice) == 1 for choice in choices[1:])
    lines = plan_lines(tuning, 600.0)
    combinations = math.prod(len(axis.levels) for axis in tuning.space.axes)
    told = f"Of {combinations} combinations not all are launched"
    assert any(line.startswith(told) for line in lines)
    assert "  threads_per_rank: cores shared out, 2" in lines


def test_one_rank_has_no_efficiency() -> None:
    assert "One rank has no efficiency." in plan_lines(tuning_of(ranks=1), 60.0)


def test_many_labels_are_shortened() -> None:
    assert settings_text(["a", "b"]) == "a; b"
    assert settings_text(["a", "b", "c"], most=2) == "a; b (and 1 more)"
