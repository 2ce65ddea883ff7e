"""The true values of a simulated run: what a perfect reader of its records would find.

`without_noise` are the times of a cluster where nothing varies; slow ranks are slow, but there is no
noise, no drift and no thermal step. With noise a job step is longer, since it is as long as its
slowest rank: `with_noise` are the medians of many simulated steps, spread evenly over the run, with
noise, drift and thermal step. Spikes and a rank's death count in neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distbench.config import Config
from distbench.groups import ALONE, INDEPENDENT, Group
from distbench.plan import phases_of
from distbench.simulation.cluster import Cluster
from distbench.simulation.cluster_steps import GroupModel, Noise

HEADLINE_PHASES = ("train_step", "forward_backward_allreduce")
# What the medians with noise rest on: ranks × steps, within these bounds of steps.
SAMPLES = 4_000_000
MOST_STEPS, LEAST_STEPS = 20_000, 1_000
_AT_ONCE = 1_000_000  # of ranks × steps

Medians = dict[str, float]  # seconds, by phase


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
        "noise, drift and thermal step; spikes and deaths count in neither",
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
) -> list[tuple[Group, Medians]]:
    """The median job step of each phase, by group; all turns of ranks that are alone are one."""
    found = [
        (group, _medians_s(cluster, config, group, steps))
        for group in groups
        if group.role != ALONE
    ]
    alone = sorted(rank for group in groups if group.role == ALONE for rank in group.ranks)
    if alone:
        together = Group(ALONE, tuple(alone), ALONE)
        found.append((together, _medians_s(cluster, config, together, steps)))
    return found


def _medians_s(cluster: Cluster, config: Config, group: Group, steps: int | None) -> Medians:
    import numpy as np

    count = steps or min(max(SAMPLES // len(group.ranks), LEAST_STEPS), MOST_STEPS)
    noise = Noise(cluster, (config.seed, 1, group.size))
    model = GroupModel.of(cluster, config, group)
    jobs: dict[str, list[Any]] = {phase: [] for phase in phases_of(config, group)}
    chunks = -(-count * len(group.ranks) // _AT_ONCE)
    for moments in np.array_split(np.arange(count) / count, chunks):
        factors = noise.factors(group.ranks, moments)
        for phase, found in jobs.items():
            durations = model.durations_ns(phase, factors)
            found.append(durations.ravel() if group.role == ALONE else durations.max(axis=1))
    return {phase: float(np.median(np.concatenate(found))) / 1e9 for phase, found in jobs.items()}


def _rows(
    cluster: Cluster,
    config: Config,
    typical: Sequence[tuple[Group, Medians]],
    phase: str | None,
) -> list[dict[str, Any]]:
    if phase is None:
        return []
    points = [(group, medians) for group, medians in typical if group.role != INDEPENDENT]
    points.sort(key=lambda point: point[0].size)
    rows = [_row(cluster, config, group, medians, phase) for group, medians in points]
    base = rows[0]
    has_baseline = len(rows) > 1 or base["size"] == 1
    for row in rows:
        speed_up = row["images_per_s"] / base["images_per_s"]
        row["baseline_size"] = base["size"] if has_baseline else None
        row["speed_up"] = speed_up if has_baseline else None
        row["efficiency"] = speed_up * base["size"] / row["size"] if has_baseline else None
    return rows


def _row(
    cluster: Cluster, config: Config, group: Group, medians: Medians, phase: str
) -> dict[str, Any]:
    batch, step_s = config.batch_of(group.size), medians[phase]
    row = {
        "size": group.size,
        "nodes": 1 if group.role == ALONE else len({cluster.node_of(rank) for rank in group.ranks}),
        "batch_per_rank": batch,
        "step_s": step_s,
        "images_per_s": group.size * batch / step_s,
        "allreduce_s": medians.get("allreduce") if group.reduces else None,
        "exposed_s": None,
    }
    needed = ("forward_backward", "forward_backward_allreduce")
    if group.reduces and all(name in medians for name in needed):
        row["exposed_s"] = medians[needed[1]] - medians[needed[0]]
    return row


def _independent(typical: Sequence[tuple[Group, Medians]], phase: str | None) -> float | None:
    """The step of all ranks at once without communication; None where it is not measured."""
    return next(
        (medians.get(phase or "") for group, medians in typical if group.role == INDEPENDENT), None
    )
