"""The curve: images per second, speed-up and parallel efficiency by the number of ranks.

Weak and strong scaling have one formula each in the literature and the same one here: with X(p) the
images per second of p ranks and b the baseline's size, speed-up = X(p) ÷ X(b) and efficiency =
(X(p) ÷ p) ÷ (X(b) ÷ b). With the batch per rank fixed this is T(b) ÷ T(p), with the global batch
fixed T(b) · b ÷ (T(p) · p), of the job steps T.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd

from distbench.analysis.collect import Run
from distbench.analysis.communication import communication
from distbench.analysis.statistics import Interval, median_interval
from distbench.analysis.summary import (
    BASELINE,
    HEADLINE_PHASES,
    block_medians,
    measured_groups,
)
from distbench.config import Config
from distbench.groups import INDEPENDENT, REDUCING, WORLD

NAN = float("nan")
NO_INTERVAL = Interval(NAN, NAN, 0)


class Point(NamedTuple):
    """One size of the curve: the job steps of all phases of its group."""

    size: int
    group: str
    jobs: pd.DataFrame


def curve_points(jobs: pd.DataFrame) -> list[Point]:
    """The sizes that were measured, ascending; size 1 is every rank alone where there are more."""
    points = [
        Point(int(group["group_size"].iloc[0]), name, group)
        for name, group in measured_groups(jobs).items()
        if name == BASELINE or group["role"].iloc[0] == REDUCING
    ]
    return sorted(points, key=lambda point: point.size)


def scaling_frame(run: Run, jobs: pd.DataFrame) -> pd.DataFrame | None:
    """One row per size, ascending; None where no size ran a phase that computes.

    `jobs` is what `job_steps` made of the run's steps. Intervals rest on the rounds: each round holds
    every size, so that its own ratio of two sizes is free of the drift between rounds.
    """
    phase = curve_phase(run.config)
    if phase is None:
        return None
    measured = [point for point in curve_points(jobs) if (point.jobs["phase"] == phase).any()]
    base, why_not = _baseline(run, measured)
    rows = [_row(run, jobs, point, base, why_not, phase) for point in measured]
    return pd.DataFrame(rows) if rows else None


def curve_phase(config: Config) -> str | None:
    """The phase that the curve is of: the headline's, else what was asked for of computing alone.

    It follows from the configuration, so that a run which lost records is never of another phase.
    """
    candidates = (*HEADLINE_PHASES, "forward_backward", "forward")
    return next((phase for phase in candidates if phase in config.phases), None)


def _baseline(run: Run, measured: list[Point]) -> tuple[Point | None, str]:
    """The smallest size that was asked for, or None and why there is none: never another one."""
    sizes = run.config.sizes or (run.size,)
    if sizes == sizes[:1] and sizes[0] > 1:
        return None, "none: one size was measured"
    base = next((point for point in measured if point.size == sizes[0]), None)
    return base, "" if base else f"none: size {sizes[0]} is incomplete"


def _row(
    run: Run, jobs: pd.DataFrame, point: Point, base: Point | None, why_not: str, phase: str
) -> dict[str, Any]:
    own = point.jobs[point.jobs["phase"] == phase]
    step_s, images = float(own["step_s"].median()), int(own["images"].iloc[0])
    steps = median_interval(block_medians(own).to_numpy())
    return {
        "size": point.size,
        "nodes": _nodes(run, point),
        "group": point.group,
        "phase": phase,
        "batch_per_rank": images // point.size,
        "images_per_step": images,
        "rounds": own["block"].nunique(),
        "step_s": step_s,
        "step_s_low": steps.low,
        "step_s_high": steps.high,
        "images_per_s": images / step_s,
        "images_per_s_low": images / steps.high,
        "images_per_s_high": images / steps.low,
        **_against_baseline(point, base, why_not, phase),
        **_communication(run, point),
        **_against_independent(jobs, point, phase),
    }


def _nodes(run: Run, point: Point) -> int:
    """How many nodes the ranks of a group stand on; a lone rank on one, however many take turns."""
    if point.size == 1:
        return 1
    return int(run.blocks.loc[run.blocks["group"] == point.group, "host"].nunique())


def _against_baseline(point: Point, base: Point | None, why_not: str, phase: str) -> dict[str, Any]:
    if base is None:
        speed_up, interval, name, size = NAN, NO_INTERVAL, why_not, 0
    else:
        speed_up, interval = _throughput_ratio(point.jobs, base.jobs, phase)
        name, size = baseline_name(base), base.size
    return ratio_columns(speed_up, interval, name, size, point.size)


def ratio_columns(
    speed_up: float, interval: Interval, baseline: str, base_size: int, size: int
) -> dict[str, Any]:
    """Speed-up and efficiency of `size` ranks with their intervals; `base_size` 0: no baseline."""
    per_rank = base_size / size if base_size else NAN
    return {
        "baseline": baseline,
        "baseline_size": base_size,
        "speed_up": speed_up,
        "speed_up_low": interval.low,
        "speed_up_high": interval.high,
        "efficiency": speed_up * per_rank,
        "efficiency_low": interval.low * per_rank,
        "efficiency_high": interval.high * per_rank,
    }


def baseline_name(base: Point) -> str:
    """What a table says of the baseline."""
    if base.group != BASELINE:
        return f"size {base.size}" + (" (no communication)" if base.size == 1 else "")
    ranks = base.jobs["group"].nunique()
    return f"size 1, no communication: median step of {ranks} ranks, each alone on its node"


def _throughput_ratio(
    jobs: pd.DataFrame, base_jobs: pd.DataFrame, phase: str
) -> tuple[float, Interval]:
    """Images per second over the baseline's: the median of the rounds' own ratios, and its interval.

    A ratio of the medians of whole phases would be spoilt by a drift or a thermal step, which meets
    the two sizes in one round alike.
    """
    own, base = jobs[jobs["phase"] == phase], base_jobs[base_jobs["phase"] == phase]
    if jobs is base_jobs:
        return 1.0, Interval(1.0, 1.0, own["block"].nunique())
    images = float(own["images"].iloc[0]) / float(base["images"].iloc[0])
    rounds = (images * block_medians(base) / block_medians(own)).dropna()
    return float(rounds.median()), median_interval(rounds.to_numpy())


def widened(interval: Interval, value: float) -> Interval:
    """The interval, grown where it must to hold a `value` that is no median of the same rounds."""
    return Interval(min(interval.low, value), max(interval.high, value), interval.samples)


def _communication(run: Run, point: Point) -> dict[str, float]:
    cost = communication(point.jobs)
    alone = float(point.jobs.loc[point.jobs["phase"] == "allreduce", "step_s"].median())
    if point.size == 1:
        return dict.fromkeys(COMMUNICATION_COLUMNS, NAN)
    algbw = run.grad_bytes / alone
    values = (
        cost.exposed_s,
        cost.exposed_interval_s.low,
        cost.exposed_interval_s.high,
        alone,
        algbw * 2 * (point.size - 1) / point.size,
    )
    return dict(zip(COMMUNICATION_COLUMNS, values))


COMMUNICATION_COLUMNS = (
    "exposed_s",
    "exposed_s_low",
    "exposed_s_high",
    "allreduce_s",
    "busbw_bytes_per_s",
)


def _against_independent(jobs: pd.DataFrame, point: Point, phase: str) -> dict[str, float]:
    """The second control: all ranks at once without communication, for the world's own row."""
    control = jobs[(jobs["role"] == INDEPENDENT) & (jobs["phase"] == phase)]
    if point.group != WORLD or control.empty:
        return {"independent_step_s": NAN, "efficiency_against_independent": NAN}
    ratio, _ = _throughput_ratio(point.jobs, control, phase)
    return {
        "independent_step_s": float(control["step_s"].median()),
        "efficiency_against_independent": ratio,
    }


class Device(NamedTuple):
    """One rank's own baseline: its median images per second while it ran alone."""

    rank: int
    host: str
    images_per_s: float


def baseline_devices(run: Run, jobs: pd.DataFrame, phase: str) -> list[Device]:
    """Every rank that ran alone, by rank: the baseline is a distribution over devices."""
    alone = measured_groups(jobs).get(BASELINE)
    if alone is None:
        return []
    own = alone[alone["phase"] == phase]
    hosts = run.blocks.drop_duplicates("group").set_index("group")[["rank", "host"]]
    return sorted(
        Device(
            int(hosts.loc[group, "rank"]),
            str(hosts.loc[group, "host"]),
            float(steps["images"].iloc[0]) / float(steps["step_s"].median()),
        )
        for group, steps in own.groupby("group")
    )
