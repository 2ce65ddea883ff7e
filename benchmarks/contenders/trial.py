"""A contender tried out before the first round: how long its steps are, and whether it does its work."""

from __future__ import annotations

import math
import statistics

from contenders import proof
from contenders.job import ContenderFailedError, Job
from contenders.task import COMPUTING

LEAST_STEPS, MOST_STEPS = 2, 50


def tried(job: Job, block_s: float) -> dict[str, int]:
    """How many steps of each phase fill a block.

    Raises ContenderFailedError where the contender does not do what it is timed for.
    """
    seconds = {phase: _steps_s(job, phase, block_s) for phase in job.phases}
    try:
        _check(job, seconds)
    except proof.NotProvenError as error:
        raise ContenderFailedError(f"{job.name}: {error}") from error
    return {
        phase: steps_that_fill(block_s, statistics.median(of_phase), least=1)
        for phase, of_phase in seconds.items()
    }


def steps_that_fill(block_s: float, step_s: float, least: int) -> int:
    """At most MOST_STEPS."""
    return min(MOST_STEPS, max(least, math.ceil(block_s / step_s)))


def _steps_s(job: Job, phase: str, block_s: float) -> list[float]:
    first_s = job.run(phase, 1)[0]
    return job.run(phase, steps_that_fill(block_s, first_s, LEAST_STEPS))


def _check(job: Job, seconds: dict[str, list[float]]) -> None:
    """The shortest steps are those that other programs have disturbed least."""
    if set(COMPUTING) <= set(seconds):
        proof.check_backward_runs(*(min(seconds[phase]) for phase in COMPUTING))
    if "reduced_sum" in job.ready[0]:
        proof.check_reduced(
            [one["local_sum"] for one in job.ready], [one["reduced_sum"] for one in job.ready]
        )
