"""From the steps of all ranks to one row per phase.

A job step is as long as its slowest rank: per step the maximum over the ranks. Rates come from the
median of those, never from a mean of rates or from one rank times the size.
"""

from __future__ import annotations

import pandas as pd

from distbench.analysis.rank_blocks import job_blocks, rank_blocks, steps_of_jobs
from distbench.analysis.statistics import median_interval
from distbench.config import PHASES
from distbench.groups import ALONE, REDUCING

NAN = float("nan")
NANOSECONDS_PER_S = 1e9
HEADLINE_PHASES = ("train_step", "forward_backward_allreduce")
BASELINE = "alone"  # what all ranks that ran alone are called together


def job_steps(steps: pd.DataFrame) -> pd.DataFrame:
    """One row per timed step of the job that all ranks of its group have.

    Columns: phase, group, role, group_size, block, step; `step_s` (maximum over the ranks), `skew_s`
    (maximum minus minimum), `images` (sum over the ranks). Warm-up is left out.
    """
    blocks = rank_blocks(steps)
    keys, block_of_row = job_blocks(blocks.frame)
    found = steps_of_jobs(blocks, block_of_row, len(keys))
    is_whole = found.ranks == keys["group_size"].to_numpy()[found.block]
    jobs = keys.take(found.block[is_whole]).reset_index(drop=True)
    slowest, fastest = found.slowest_ns[is_whole], found.fastest_ns[is_whole]
    jobs["step"] = found.step[is_whole]
    jobs["step_s"] = slowest / NANOSECONDS_PER_S
    jobs["skew_s"] = (slowest - fastest) / NANOSECONDS_PER_S
    jobs["images"] = found.images[is_whole]
    return jobs


def measured_groups(jobs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The job steps of each group; those of all ranks that ran alone stand together as BASELINE."""
    names = jobs["group"].where(jobs["role"] != ALONE, BASELINE)
    return {str(name): group for name, group in jobs.groupby(names, sort=True)}


def main_group(jobs: pd.DataFrame) -> str | None:
    """The group that the headline is about: the largest that reduces, else the ranks alone."""
    groups = measured_groups(jobs)
    reducing = [name for name, group in groups.items() if group["role"].iloc[0] == REDUCING]
    if reducing:
        return max(reducing, key=lambda name: int(groups[name]["group_size"].iloc[0]))
    return BASELINE if BASELINE in groups else None


def summarise(steps: pd.DataFrame, jobs: pd.DataFrame, grad_bytes: int) -> pd.DataFrame:
    """One row per group and phase, in the ladder's order; `jobs` is what `job_steps` made of `steps`.

    `step_s` is the median job step. Its 95 % interval rests on the medians of the blocks, since the
    steps of one block are alike; `samples` says how many. `images_per_s` is images of the group's
    ranks ÷ `step_s`, `images_per_s_of_span` all images ÷ all time from the first start to the last
    end of each block on its slowest rank. `algbw` and `busbw` are those of nccl-tests, for
    `allreduce`.
    """
    spans = _span_s(steps)
    rows = [
        {"group": name, **_summary_row(phase, group[group["phase"] == phase], spans, grad_bytes)}
        for name, group in measured_groups(jobs).items()
        for phase in PHASES
        if (group["phase"] == phase).any()
    ]
    return pd.DataFrame(rows, columns=SUMMARY_COLUMNS)


SUMMARY_COLUMNS = [
    "group",
    "phase",
    "ranks",
    "blocks",
    "steps",
    "step_s",
    "step_s_low",
    "step_s_high",
    "samples",
    "step_s_mean",
    "step_s_sd",
    "skew_s",
    "images_per_step",
    "images_per_s",
    "images_per_s_low",
    "images_per_s_high",
    "images_per_s_per_rank",
    "images_per_s_of_span",
    "algbw_bytes_per_s",
    "busbw_bytes_per_s",
]


def _summary_row(
    phase: str, jobs: pd.DataFrame, spans: pd.Series, grad_bytes: int
) -> dict[str, object]:
    span_s = sum(spans.get((phase, group), NAN) for group in jobs["group"].unique())
    ranks = int(jobs["group_size"].iloc[0])
    images = int(jobs["images"].iloc[0])
    step_s = float(jobs["step_s"].median())
    interval = median_interval(block_medians(jobs).to_numpy())
    computes = images > 0
    algbw = grad_bytes / step_s if phase == "allreduce" and ranks > 1 else NAN
    return {
        "phase": phase,
        "ranks": ranks,
        "blocks": jobs["block"].nunique(),
        "steps": len(jobs),
        "step_s": step_s,
        "step_s_low": interval.low,
        "step_s_high": interval.high,
        "samples": interval.samples,
        "step_s_mean": float(jobs["step_s"].mean()),
        "step_s_sd": float(jobs["step_s"].std(ddof=1)),
        "skew_s": float(jobs["skew_s"].median()),
        "images_per_step": images,
        "images_per_s": images / step_s if computes else NAN,
        "images_per_s_low": images / interval.high if computes else NAN,
        "images_per_s_high": images / interval.low if computes else NAN,
        "images_per_s_per_rank": images / step_s / ranks if computes else NAN,
        "images_per_s_of_span": jobs["images"].sum() / span_s if computes else NAN,
        "algbw_bytes_per_s": algbw,
        "busbw_bytes_per_s": algbw * 2 * (ranks - 1) / ranks,
    }


def block_medians(jobs: pd.DataFrame) -> pd.Series:
    """The median job step of each block, in seconds, by block."""
    return jobs.groupby("block")["step_s"].median()


def _span_s(steps: pd.DataFrame) -> pd.Series:
    """By phase and group the sum over its timed blocks of first start to last end, on the slowest rank."""
    block = ["phase", "group", "block"]
    rows = rank_blocks(steps).frame.groupby([*block, "rank", "group_size"], observed=True)
    of_rank = rows.agg(first=("start_ns", "min"), last=("end_ns", "max")).reset_index()
    ranks = of_rank.groupby(block, observed=True)["rank"].transform("nunique")
    whole = of_rank[ranks == of_rank["group_size"]]
    spans = (whole["last"] - whole["first"]) / NANOSECONDS_PER_S
    longest = spans.groupby([whole[name] for name in block], observed=True).max()
    return longest.groupby(["phase", "group"], observed=True).sum()


def headline_phase(summary: pd.DataFrame) -> str | None:
    """train_step, else forward_backward_allreduce, else None."""
    measured = set(summary["phase"])
    return next((phase for phase in HEADLINE_PHASES if phase in measured), None)
