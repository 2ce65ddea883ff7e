"""What a comparison takes from one launch: its times by size and phase, and the facts about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from distbench.analysis.checks import check_run
from distbench.analysis.collect import load_run
from distbench.analysis.comparability import facts_of
from distbench.analysis.limits import find_limits
from distbench.analysis.scaling import curve_phase, curve_points, scaling_frame
from distbench.analysis.studies import FinishedLaunch
from distbench.analysis.summary import block_medians, job_steps, main_group, summarise
from distbench.config import PHASES
from distbench.errors import RecordsError
from distbench.knobs import work_label

Place = tuple[int, str]  # how many ranks, and the phase


class Timing(NamedTuple):
    """The job steps of one size and phase of one launch.

    `step_s` is their median, `rounds_s` the median of each round (block), `images` those of all ranks
    in one step.
    """

    step_s: float
    rounds_s: Mapping[int, float]
    images: int


@dataclass(frozen=True)
class ComparedLaunch:
    """One launch of a side: where it stands in its study, its times, and what must be alike.

    `varied` are the axes of its study, without the size. `curve_phase` is the phase that efficiency
    is of, None where none computes. `obstacles` are the reasons why it may not be trusted.
    """

    name: str
    run_id: str
    network: str
    batch: str
    devices: str
    varied: Mapping[str, str]
    facts: Mapping[str, str]
    curve_phase: str | None
    measures_sizes_together: bool
    timings: Mapping[Place, Timing]
    obstacles: tuple[str, ...]
    warnings: tuple[str, ...]


def read_compared(launch: FinishedLaunch) -> ComparedLaunch:
    """Reads one run directory. Raises RecordsError where no step of it is whole."""
    run = load_run(launch.directory)
    jobs = job_steps(run.steps)
    main = main_group(jobs)
    if main is None:
        why = f": {run.incomplete[0]}" if run.incomplete else ""
        raise RecordsError(
            f"{run.layout.raw} holds no timed step that all ranks of a group have{why}; "
            "there is nothing to compare; run again"
        )
    groups = summarise(run.steps, jobs, run.grad_bytes)
    summary = groups[groups["group"] == main].reset_index(drop=True)
    scaling = scaling_frame(run, jobs) if run.config.sizes else None
    checks = check_run(run, jobs, summary, scaling, find_limits(run, jobs, groups, scaling))
    simulated = "SIMULATED: " if run.is_simulated else ""
    return ComparedLaunch(
        name=f"{launch.cell}, launch {launch.attempt}" if launch.cell else "",
        run_id=run.run_id,
        network=f"{simulated}{work_label(run.config)}",
        batch=run.config.batch_label,
        devices=f"{run.device_kind}s",
        varied={name: value for name, value in launch.varied.items() if name != "size"},
        facts=facts_of(run, launch.launcher),
        curve_phase=curve_phase(run.config),
        measures_sizes_together=bool(run.config.sizes),
        timings=_timings(jobs),
        obstacles=tuple(check.text for check in checks if check.level == "invalid"),
        warnings=tuple(check.text for check in checks if check.level == "suspect"),
    )


def _timings(jobs: pd.DataFrame) -> dict[Place, Timing]:
    """By size ascending, phases in the ladder's order.

    Controls are no part of a comparison, nor is the allreduce of one rank, which does nothing.
    """
    return {
        (point.size, phase): _timing(point.jobs[point.jobs["phase"] == phase])
        for point in curve_points(jobs)
        for phase in PHASES
        if (point.jobs["phase"] == phase).any() and (point.size, phase) != (1, "allreduce")
    }


def _timing(jobs: pd.DataFrame) -> Timing:
    rounds = block_medians(jobs)
    return Timing(
        step_s=float(jobs["step_s"].median()),
        rounds_s={int(block): float(median) for block, median in rounds.items()},
        images=int(jobs["images"].iloc[0]),
    )
