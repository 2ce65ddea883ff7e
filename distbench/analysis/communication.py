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

    Each value is the median over the rounds of the rounds' own values, which are worked out from the
    medians of a round's blocks: exposed = forward_backward_allreduce − forward_backward, hidden =
    allreduce − exposed. A round holds one block of every phase, so that drift and thermal steps cancel
    inside it; between the medians of whole phases they would not. Negative values are kept: there the
    two phases disturb each other or noise is larger than the difference. The interval is that of the
    median over the rounds.
    """

    exposed_s: float
    exposed_interval_s: Interval
    hidden_s: float
    overlap: float  # hidden ÷ allreduce
    share_of_step: float  # exposed ÷ forward_backward_allreduce


def communication(jobs: pd.DataFrame) -> Communication:
    """Exposed and hidden communication of a group, from its job steps."""
    combined = _rounds(jobs, "forward_backward_allreduce")
    alone = _rounds(jobs, "allreduce")
    exposed = (combined - _rounds(jobs, "forward_backward")).dropna()
    hidden = (alone - exposed).dropna()
    return Communication(
        exposed_s=float(exposed.median()),
        exposed_interval_s=median_interval(exposed.to_numpy()),
        hidden_s=float(hidden.median()),
        overlap=float((hidden / alone).median()),
        share_of_step=float((exposed / combined).median()),
    )


def _rounds(jobs: pd.DataFrame, phase: str) -> pd.Series:
    """The median job step of a phase in each round, in seconds, by round."""
    return block_medians(jobs[jobs["phase"] == phase])


def _median(jobs: pd.DataFrame, phase: str) -> float:
    return float(jobs.loc[jobs["phase"] == phase, "step_s"].median())


def step_parts(jobs: pd.DataFrame) -> dict[str, float]:
    """The step's time by part, in seconds: differences of neighbouring phases' medians.

    Keys: forward, backward, exposed communication, optimizer, up to the first whose phase was not
    run. They add up to the median of the last phase, as a stack of bars must; `communication`, which
    works inside the rounds, may differ from them by noise. Ranks that ran alone expose no
    communication.
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
