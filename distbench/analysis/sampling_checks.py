"""Whether there are enough samples, alike enough and unlike enough, for what a report says of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from distbench import units
from distbench.analysis.check import Check
from distbench.analysis.collect import Run
from distbench.analysis.outliers import outliers
from distbench.analysis.statistics import LEAST_SAMPLES
from distbench.analysis.steadiness import (
    SLOWDOWN,
    UNSTEADY,
    WARMUP,
    Steadiness,
    steadiness,
)

# With this correlation of neighbouring blocks a 95 % interval holds the truth in 90 % of runs:
# (1 + r) ÷ (1 − r) = (1.960 ÷ 1.645)², by the quantiles of the normal distribution.
MOST_BLOCK_CORRELATION = 0.17
STRONG_CORRELATION = 0.5  # of neighbouring steps
LEAST_STEP_S = 1e-3  # METHOD M6
LEAST_RESOLUTIONS = 100  # of the clock, in a step
ENOUGH_LAUNCHES = 5
ADVICE = {
    WARMUP: "give more --warmup-steps",
    SLOWDOWN: "see whether clocks fell (blocks.csv) or another job came, and run again",
    UNSTEADY: "give the machine to this job alone, let it warm up for longer, and run again",
}


def sampling_checks(run: Run, jobs: pd.DataFrame, summary: pd.DataFrame) -> Iterator[Check]:
    """Every finding about the number of samples and how they hang together.

    `jobs` are the job steps of all groups, `summary` the phases of the main group.
    """
    states = steadiness(run, jobs)
    yield from _blocks(run, summary)
    yield from _steady(states)
    yield from _confidence(run, states, summary)
    yield from _correlation(states)
    yield from _timer(run, summary)
    yield from _outliers(jobs)
    yield from _launches(run, summary)


def _blocks(run: Run, summary: pd.DataFrame) -> Iterator[Check]:
    few = summary[summary["samples"] < LEAST_SAMPLES]
    if few.empty:
        return
    flag = "rounds" if run.config.sizes else "blocks"
    text = f"no 95 % interval for {', '.join(few['phase'])}: fewer than {LEAST_SAMPLES} blocks"
    if run.config.blocks == 1:
        text += ", and phases that ran one after the other differ by any drift too"
    yield Check("note", f"{text}; run with --{flag} {LEAST_SAMPLES} or more")


def _steady(states: Sequence[Steadiness]) -> Iterator[Check]:
    for verdict, advice in ADVICE.items():
        found = [state for state in states if state.verdict == verdict]
        if found:
            changes = ", ".join(_change(state) for state in found)
            yield Check(
                "suspect",
                f"no steady state ({verdict}): {changes}. The median depends on when it was taken; "
                f"what is compared inside a round suffers less. To do: {advice}",
            )


def _change(state: Steadiness) -> str:
    """'train_step slower by 9.8 % after 45 % of its blocks'."""
    change = state.trend if state.verdict == UNSTEADY else state.shift
    text = f"{state.phase} {'slower' if change > 0 else 'faster'} by {units.percent(abs(change))}"
    if state.verdict == UNSTEADY:
        return f"{text} from its first block to its last"
    return f"{text} after {units.percent(state.shift_at)} of its blocks"


def _confidence(run: Run, states: Sequence[Steadiness], summary: pd.DataFrame) -> Iterator[Check]:
    """Of intervals that may hold the truth in fewer than 90 % of runs."""
    with_interval = set(summary.loc[summary["samples"] >= LEAST_SAMPLES, "phase"])
    found = [
        state
        for state in states
        if state.block_correlation > MOST_BLOCK_CORRELATION and state.phase in with_interval
    ]
    if found:
        worst = max(state.block_correlation for state in found)
        flag = "rounds" if run.config.sizes else "blocks"
        yield Check(
            "note",
            f"low confidence: the 95 % interval of {', '.join(state.phase for state in found)} may be "
            f"too narrow, since neighbouring blocks may be alike (correlation up to {worst:.2f}); "
            f"give more --steps for the same --{flag}, or more phases between them",
        )


def _correlation(states: Sequence[Steadiness]) -> Iterator[Check]:
    """Where there is a steady state: else what changes makes neighbours alike."""
    found = [state for state in states if state.step_correlation >= STRONG_CORRELATION]
    if found and all(state.is_steady for state in states):
        worst = max(found, key=lambda state: state.step_correlation)
        rho = worst.step_correlation
        alike = round(worst.steps * (1 - rho) / (1 + rho))
        yield Check(
            "note",
            f"neighbouring steps are alike: autocorrelation {rho:.2f} in {worst.phase}"
            f"{_and_others(len(found) - 1)}, so that its {worst.steps} steps tell as much as "
            f"{alike} independent ones; intervals rest on whole blocks for that reason; more --steps "
            "make them narrower",
        )


def _and_others(count: int) -> str:
    return f" (and less in {count} other phase(s))" if count else ""


def _timer(run: Run, summary: pd.DataFrame) -> Iterator[Check]:
    is_timed = (summary["phase"] != "allreduce") | (summary["ranks"] > 1)
    short = summary[is_timed & (summary["step_s"] < LEAST_STEP_S)]
    coarse = summary[is_timed & (summary["step_s"] < LEAST_RESOLUTIONS * _resolution_s(run))]
    if len(coarse):
        yield Check(
            "suspect",
            f"timer too coarse: {_phases_and_steps(coarse)}, and the clock counts in units of "
            f"{units.seconds(_resolution_s(run))}; give a larger --batch-size",
        )
    elif len(short):
        yield Check(
            "note",
            f"steps of less than {units.seconds(LEAST_STEP_S)}: {_phases_and_steps(short)}; starting "
            "a step and reading the clock take a part of that; give a larger --batch-size",
        )


def _resolution_s(run: Run) -> float:
    """The coarsest clock of all ranks; 0 where no rank says."""
    headers = [records.header for records in run.ranks if records.header is not None]
    return max((header.get("clock_resolution_ns", 0) for header in headers), default=0) / 1e9


def _phases_and_steps(rows: pd.DataFrame) -> str:
    return ", ".join(f"{row.phase} takes {units.seconds(row.step_s)}" for row in rows.itertuples())


def _outliers(jobs: pd.DataFrame) -> Iterator[Check]:
    found = outliers(jobs)
    if len(found):
        worst = found.iloc[0]
        yield Check(
            "note",
            f"{len(found)} of {len(jobs)} job steps are outliers, which are kept (worst: "
            f"{worst['phase']} of {worst['group']}, block {worst['block']}, step {worst['step']}: "
            f"{worst['times']:.3g} × its usual time); medians hardly feel them, means and the whole "
            "span do; see what else ran then",
        )


def _launches(run: Run, summary: pd.DataFrame) -> Iterator[Check]:
    has_interval = (summary["samples"] >= LEAST_SAMPLES).any()
    if has_interval and not run.is_simulated:
        yield Check(
            "note",
            "one launch: what differs between launches (placement, memory layout, other jobs) is in "
            f"no interval here; a study with repeat = {ENOUGH_LAUNCHES} shows it",
        )
