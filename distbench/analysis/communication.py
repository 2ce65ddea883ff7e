"""What communication costs a step, and a step's time by part: differences between phases."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from distbench.analysis.statistics import Interval, median_interval
from distbench.analysis.summary import block_medians
from distbench.config import PHASES
from distbench.groups import ALONE


class Communication(NamedTuple):
    """What communication costs a step, in seconds; NaN where a phase was not run.

    exposed = forward_backward_allreduce − forward_backward, of the median job steps. Negative values
    are kept: there the two phases disturb each other or noise is larger than the difference.
    hidden = allreduce − exposed. The interval rests on the rounds' own differences.
    """

    exposed_s: float
    exposed_interval_s: Interval
    hidden_s: float
    overlap: float  # 1 − exposed ÷ allreduce
    share_of_step: float  # exposed ÷ forward_backward_allreduce


def communication(jobs: pd.DataFrame) -> Communication:
    """Exposed and hidden communication of a run, from its job steps."""
    combined = _median(jobs, "forward_backward_allreduce")
    exposed = combined - _median(jobs, "forward_backward")
    alone = _median(jobs, "allreduce")
    return Communication(
        exposed_s=exposed,
        exposed_interval_s=_difference_interval(jobs, exposed),
        hidden_s=alone - exposed,
        overlap=1 - exposed / alone,
        share_of_step=exposed / combined,
    )


def _median(jobs: pd.DataFrame, phase: str) -> float:
    return float(jobs.loc[jobs["phase"] == phase, "step_s"].median())


def _difference_interval(jobs: pd.DataFrame, difference: float) -> Interval:
    """95 % interval over the rounds; widened to hold `difference`, which is one of medians."""
    combined = block_medians(jobs[jobs["phase"] == "forward_backward_allreduce"])
    computed = block_medians(jobs[jobs["phase"] == "forward_backward"])
    low, high, samples = median_interval((combined - computed).dropna().to_numpy())
    return Interval(min(low, difference), max(high, difference), samples)


def step_parts(jobs: pd.DataFrame) -> dict[str, float]:
    """The step's time by part, in seconds: differences of neighbouring phases' medians.

    Keys: forward, backward, exposed communication, optimizer, up to the first whose phase was not
    run. They add up to the median of the last phase. Ranks that ran alone expose no communication.
    """
    medians = {phase: _median(jobs, phase) for phase in PHASES if phase in set(jobs["phase"])}
    ladder: tuple[tuple[str, str, str | None], ...] = (
        ("forward", "forward", None),
        ("backward", "forward_backward", "forward"),
        ("exposed communication", "forward_backward_allreduce", "forward_backward"),
        ("optimizer", "train_step", "forward_backward_allreduce"),
    )
    if not jobs.empty and jobs["role"].iloc[0] == ALONE:
        ladder = (*ladder[:2], ("optimizer", "train_step", "forward_backward"))
    parts: dict[str, float] = {}
    for part, phase, below in ladder:
        if phase not in medians:
            break  # what is above cannot be told from what is missing
        parts[part] = medians[phase] - (medians[below] if below else 0.0)
    return parts
