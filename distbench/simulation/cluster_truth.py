"""The true values of a simulated run: what a perfect reader of its records would find.

`without_noise` are the times of a cluster where nothing varies; slow ranks are slow, but there is no
noise, no drift and no thermal step. With noise a job step is longer, since it is as long as its
slowest rank: `with_noise` are the medians of many simulated steps, spread evenly over the timed part of
the run, with noise, drift and thermal step. What compares two phases or two sizes is, as in the
analysis, the median over slices of the run of each slice's own difference or ratio. Spikes and a rank's
death count in neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from distbench.config import Config
from distbench.groups import ALONE, INDEPENDENT, REDUCING, Group
from distbench.plan import phases_of
from distbench.simulation.cluster import Cluster
from distbench.simulation.cluster_steps import GroupModel, Noise

HEADLINE_PHASES = ("train_step", "forward_backward_allreduce")
# What the medians with noise rest on: ranks × steps, within these bounds of steps.
SAMPLES = 4_000_000
MOST_STEPS, LEAST_STEPS = 20_000, 1_000
SLICES = 50  # of the run, for what two phases or sizes are compared by
_AT_ONCE = 1_000_000  # of ranks × steps


class Medians(NamedTuple):
    """The median job step of one phase, in seconds: of the whole run, and float64 of each slice."""

    whole_s: float
    slices_s: Any


MediansByPhase = dict[str, Medians]


def true_values(cluster: Cluster, config: Config, groups: Sequence[Group]) -> dict[str, Any]:
    """Both kinds of true values as JSON, by size ascending; times in seconds.

    Efficiency and speed-up are against the smallest size b of the run, (X_p / p) / (X_b / b) with X
    images/s; None where one size was measured, and not 1. Size 1 is the median over all ranks that
    ran alone.
    """
    phase = next((phase for phase in HEADLINE_PHASES if phase in config.phases), None)
    quiet = cluster.without_disturbance()
    steady = _typical(quiet, config, groups, steps=2)
    disturbed = steady if cluster == quiet else _typical(cluster, config, groups, steps=None)
    return {
        "about": "without_noise: nothing varies; with_noise: medians of many simulated steps with "
        "noise, drift and thermal step, differences and ratios those of slices of the run; spikes and "
        "deaths count in neither",
        "phase": phase,
        "without_noise": _rows(cluster, config, steady, phase),
        "with_noise": _rows(cluster, config, disturbed, phase),
        "independent_step_s": {
            "without_noise": _independent(steady, phase),
            "with_noise": _independent(disturbed, phase),
        },
    }


def _typical(
    cluster: Cluster, config: Config, groups: Sequence[Group], steps: int | None
) -> list[tuple[Group, MediansByPhase]]:
    """The median job steps of each phase, by group; all turns of ranks that are alone are one."""
    found = [
        (group, _medians(cluster, config, group, steps)) for group in groups if group.role != ALONE
    ]
    alone = sorted(rank for group in groups if group.role == ALONE for rank in group.ranks)
    if alone:
        together = Group(ALONE, tuple(alone), ALONE)
        found.append((together, _medians(cluster, config, together, steps)))
    return found


def _medians(cluster: Cluster, config: Config, group: Group, steps: int | None) -> MediansByPhase:
    import numpy as np

    count = steps or min(max(SAMPLES // len(group.ranks), LEAST_STEPS), MOST_STEPS)
    noise = Noise(cluster, (config.seed, 1, group.size))
    model = GroupModel.of(cluster, config, group)
    jobs: dict[str, list[Any]] = {phase: [] for phase in phases_of(config, group)}
    chunks = -(-count * len(group.ranks) // _AT_ONCE)
    for moments in np.array_split(_timed_moments(config, count), chunks):
        factors = noise.factors(group.ranks, moments)
        for phase, found in jobs.items():
            durations = model.durations_ns(phase, factors)
            found.append(durations if group.role == ALONE else durations.max(axis=1))
    return {phase: _medians_of(np.concatenate(found) / 1e9) for phase, found in jobs.items()}


def _timed_moments(config: Config, count: int) -> Any:
    """`count` moments of the run, evenly from the end of its warm-up on."""
    import numpy as np

    begin = config.warmup_steps / (config.warmup_steps + config.steps)
    return begin + (1 - begin) * np.arange(count) / count


def _medians_of(job_s: Any) -> Medians:
    """`job_s` are seconds by moment, in a column for each rank where ranks are alone."""
    import numpy as np

    slices = np.array_split(job_s, min(SLICES, len(job_s)))
    return Medians(float(np.median(job_s)), np.array([np.median(one) for one in slices]))


def _rows(
    cluster: Cluster,
    config: Config,
    typical: Sequence[tuple[Group, MediansByPhase]],
    phase: str | None,
) -> list[dict[str, Any]]:
    import numpy as np

    if phase is None:
        return []
    points = [(group, medians) for group, medians in typical if group.role in (ALONE, REDUCING)]
    points.sort(key=lambda point: point[0].size)
    rows = [_row(cluster, config, group, medians, phase) for group, medians in points]
    base = rows[0]
    has_baseline = len(rows) > 1 or base["size"] == 1
    for row, (_, medians) in zip(rows, points):
        images = row["size"] * row["batch_per_rank"] / (base["size"] * base["batch_per_rank"])
        ratios = images * points[0][1][phase].slices_s / medians[phase].slices_s
        speed_up = float(np.median(ratios))
        row["baseline_size"] = base["size"] if has_baseline else None
        row["speed_up"] = speed_up if has_baseline else None
        row["efficiency"] = speed_up * base["size"] / row["size"] if has_baseline else None
    return rows


def _row(
    cluster: Cluster, config: Config, group: Group, medians: MediansByPhase, phase: str
) -> dict[str, Any]:
    import numpy as np

    batch, step_s = config.batch_of(group.size), medians[phase].whole_s
    row = {
        "size": group.size,
        "nodes": 1 if group.role == ALONE else len({cluster.node_of(rank) for rank in group.ranks}),
        "batch_per_rank": batch,
        "step_s": step_s,
        "images_per_s": group.size * batch / step_s,
        "allreduce_s": None,
        "exposed_s": None,
    }
    if group.reduces and "allreduce" in medians:
        row["allreduce_s"] = medians["allreduce"].whole_s
    needed = ("forward_backward", "forward_backward_allreduce")
    if group.reduces and all(name in medians for name in needed):
        computed, combined = (medians[name].slices_s for name in needed)
        row["exposed_s"] = float(np.median(combined - computed))
    return row


def _independent(
    typical: Sequence[tuple[Group, MediansByPhase]], phase: str | None
) -> float | None:
    """The step of all ranks at once without communication; None where it is not measured."""
    for group, medians in typical:
        if group.role == INDEPENDENT and phase in medians:
            return medians[phase].whole_s
    return None
