"""Job steps far from their neighbours: flagged and counted, never left out (METHOD M16)."""

from __future__ import annotations

import pandas as pd

MOST_DEVIATIONS = 14.826  # median absolute deviations, which are ten standard deviations
LEAST_EXCESS = 0.03  # of the usual step; where all steps are alike, less is no outlier
LEAST_STEPS = 3  # of a block whose own median is what a step is held against


def outliers(jobs: pd.DataFrame) -> pd.DataFrame:
    """The outliers among the job steps of all groups, the worst first.

    Columns: phase, group, group_size, block, step, `step_s`, and `times`: step_s ÷ what is usual, the
    median of the step's block, or of its phase where blocks are short, so that no drift makes
    outliers. The limit is by the modified z of Iglewicz & Hoaglin (1993), over the group and phase.
    """
    of_phase = [jobs["phase"], jobs["group"]]
    steps = jobs["step_s"]
    usual = steps.groupby(of_phase, observed=True).transform("median")
    in_block = steps.groupby([*of_phase, jobs["block"]], observed=True)
    is_long = in_block.transform("size") >= LEAST_STEPS
    usual = in_block.transform("median").where(is_long, usual)
    distance = (steps - usual).abs()
    typical = distance.groupby(of_phase, observed=True).transform("median")
    is_far = (distance > MOST_DEVIATIONS * typical) & (distance > LEAST_EXCESS * usual)
    found = jobs.loc[is_far, ["phase", "group", "group_size", "block", "step", "step_s"]]
    found = found.assign(times=steps[is_far] / usual[is_far])
    return found.sort_values("times", ascending=False, kind="stable").reset_index(drop=True)
