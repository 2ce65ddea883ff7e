"""What a tuning will do, in words: its settings, its method, and how many launches that may take."""

from __future__ import annotations

import math
from collections.abc import Sequence

from distbench.plain_text import aligned
from distbench.study.study_plan import duration
from distbench.tune.space import Choice, level_text
from distbench.tune.tune_file import Tuning

# As in `search` and `halving`, which need packages that a plan does without; a test holds them alike.
MOST_PRODUCT, SCREENING_ROUNDS, MOST_COMBINED = 24, 3, 10
HALVING_ROUNDS, LEAST_AFTER_HALVING = (4, 8, 16), 2


def in_stages(tuning: Tuning) -> bool:
    """Whether there are more combinations than are all launched."""
    return tuning.space.count > MOST_PRODUCT


def first_choices(tuning: Tuning) -> list[Choice]:
    """What takes part in the first round, the default first."""
    space = tuning.space
    if in_stages(tuning):
        return [space.default, *space.single_changes(space.default)]
    return space.product()


def method_lines(tuning: Tuning) -> list[str]:
    """How it is searched, one sentence a line."""
    halving = (
        "After each round what is clearly slower than the leader leaves, after rounds "
        f"{', '.join(map(str, HALVING_ROUNDS[:-1]))} and {HALVING_ROUNDS[-1]}, and once half of the "
        "budget is spent, the worse half; it "
        "ends when nothing that is left can be more than 1 % faster than the leader."
    )
    rounds = (
        "Each launch is a job of its own. A round is one launch of each setting that is left, in an "
        "order shuffled anew; a setting is judged by the medians of its launches, each set against "
        "the others of its round, with the spread pooled over all settings; a launch that lies far "
        "off counts little (Huber, Hampel). All intervals at all looks hold together with 95 %."
    )
    if not in_stages(tuning):
        return ["All combinations of the levels take part.", rounds, halving]
    stages = (
        f"Of {tuning.space.count} combinations not all are launched: first each level by itself, in "
        f"{SCREENING_ROUNDS} rounds; then the {MOST_COMBINED} combinations that promise the most, of "
        "the levels that were not clearly slower; then what differs from the leader in one level."
    )
    return [stages, rounds, halving]


def plan_lines(tuning: Tuning, budget_s: float) -> list[str]:
    """The plan for a person."""
    choices = first_choices(tuning)
    study, launches = tuning.study, least_launches(tuning)
    rows = [("setting", "steps of a launch")]
    for choice in choices:
        cell = tuning.cell(choice)
        steps = dict.fromkeys(str(cell.planned_steps(on_gpu)) for on_gpu in (True, False))
        rows.append((cell.label, " or ".join(steps)))
    axes = [
        f"{axis.name}: {', '.join(level_text(level, axis) for level in axis.levels)}"
        for axis in tuning.space.axes
    ]
    efficiency = (
        ["The efficiency comes from launches in which one rank alone is timed too."]
        if study.ranks > 1
        else ["One rank has no efficiency."]
    )
    return [
        f"Tuning {study.name!r}: images/s of {tuning.phase} at {study.ranks} rank(s) by "
        f"{study.launcher}, {len(choices)} settings to begin with, rounds shuffled with seed "
        f"{study.order_seed}",
        "levels, the default first:",
        *(f"  {line}" for line in axes),
        *aligned(rows),
        *method_lines(tuning),
        *efficiency,
        f"about {launches} launch(es) unless the leader is known sooner; their time is unknown until "
        f"the first one: the budget of {duration(budget_s)} holds them if each takes at most "
        f"{duration(budget_s / launches)}, and is kept in any case",
    ]


def least_launches(tuning: Tuning) -> int:
    """Launches until two settings are left by halving alone, and of the efficiency of both."""
    efficiency = 0 if tuning.study.ranks == 1 else LEAST_AFTER_HALVING + 1
    if in_stages(tuning):
        screened = SCREENING_ROUNDS * len(first_choices(tuning))
        return screened + _halved(MOST_COMBINED + 2) + efficiency
    return _halved(tuning.space.count) + efficiency


def _halved(left: int) -> int:
    launches, before = 0, 0
    for last in HALVING_ROUNDS:
        launches += left * (last - before)
        left, before = max(min(left, LEAST_AFTER_HALVING), math.ceil(left / 2)), last
        if left <= LEAST_AFTER_HALVING:
            break
    return launches


def settings_text(labels: Sequence[str], most: int = 4) -> str:
    """Some labels, and how many more there are."""
    shown = "; ".join(labels[:most])
    return shown + (f" (and {len(labels) - most} more)" if len(labels) > most else "")
