"""Do the intervals of the loss budget hold the truth? Prints one row per cluster, size and part.

    python benchmarks/loss_coverage.py [runs]

Each run is a simulated study of 1, 4 and 8 ranks with one slow rank, 100 steps in 6 rounds. The truth
of a part is the difference of the medians of 20,000 steps of the same cluster. A run's interval rests
on the six rounds and promises 95 %.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from interleaved import save

from distbench.analysis.collect import load_run
from distbench.analysis.limits import links_of, wire_bound_s
from distbench.analysis.loss import LossBudget, loss_budgets
from distbench.analysis.scaling import scaling_frame
from distbench.analysis.summary import job_steps
from distbench.config import SELF_ALLREDUCE, Config
from distbench.groups import ALONE, WITH_ITSELF, Group
from distbench.resolving import resolve
from distbench.simulation.cluster import Cluster, SlowRank
from distbench.simulation.cluster_steps import GroupModel, Noise
from distbench.simulation.simulate import simulate

RUNS = 200
STEPS = 20_000
SIZES = (1, 4, 8)
HEAD = f"{'cluster':31} {'ranks':>5} {'part':10} {'true ms':>9} {'mean error':>11} {'held':>9}"
CLUSTERS: dict[str, dict[str, Any]] = {
    "1 % noise": {"noise": 0.01},
    "2 % noise": {"noise": 0.02},
    "2 % noise, autocorrelation 0.6": {"noise": 0.02, "autocorrelation": 0.6},
}


def durations_s(cluster: Cluster, config: Config, group: Group, phase: str) -> Any:
    """Many steps × ranks of one phase; of one column where all ranks measure the same."""
    noise = Noise(cluster, (12345, group.size, len(group.role)))
    model = GroupModel.of(cluster, config, group)
    factors = noise.factors(group.ranks, np.arange(STEPS) / STEPS)
    return model.durations_ns(phase, factors) / 1e9


def true_parts(cluster: Cluster, config: Config, size: int, links: Any) -> dict[str, float]:
    """Every part but the residual, which is 0, in seconds."""

    def job(phase: str) -> float:
        group = Group("g", tuple(range(size)))
        return float(np.median(durations_s(cluster, config, group, phase).max(axis=1)))

    def alone(phase: str, ranks: int = cluster.ranks) -> float:
        """The baseline is every rank alone."""
        group = Group("a", tuple(range(ranks)), ALONE)
        return float(np.median(durations_s(cluster, config, group, phase)))

    itself = Group("s", (0,), WITH_ITSELF)
    overhead = float(np.median(durations_s(cluster, config, itself, SELF_ALLREDUCE)))
    overhead -= alone("forward_backward", ranks=1)
    of_ranks = durations_s(cluster, config, Group("g", tuple(range(size))), "forward_backward")
    typical = float(np.median(np.median(of_ranks, axis=0)))
    computed, reduced = job("forward_backward"), job("forward_backward_allreduce")
    bound = wire_bound_s(config.network().grad_bytes, [4] * (size // 4), links)
    wire = max(0.0, bound - (computed - job("forward")))
    optimizer = job("train_step") - reduced
    return {
        "computing": typical - alone("forward_backward"),
        "waiting": computed - typical,
        "overhead": overhead,
        "wire": wire,
        "beyond": reduced - computed - overhead - wire,
        "optimizer": optimizer - (alone("train_step") - alone("forward_backward")),
        "residual": 0.0,
        "loss": job("train_step") - alone("train_step"),
    }


def found_budgets(cluster: Cluster, seed: int) -> tuple[Config, tuple[LossBudget, ...], Any]:
    with tempfile.TemporaryDirectory() as place:
        output = str(Path(place) / "run")
        given = {"sizes": SIZES, "steps": 100, "warmup_steps": 1, "seed": seed, "output": output}
        config = resolve(given, on_gpu=True, world_size=8)
        simulate(cluster, config)
        run = load_run(output)
        jobs = job_steps(run.steps)
        links = links_of(run, jobs)
        return config, loss_budgets(run, jobs, scaling_frame(run, jobs), links), links


def coverage(name: str, cluster: Cluster, runs: int) -> list[dict[str, Any]]:
    """One row per size and part."""
    held: dict[tuple[int, str], list[bool]] = {}
    errors: dict[tuple[int, str], list[float]] = {}
    truth: dict[int, dict[str, float]] = {}
    for seed in range(runs):
        config, budgets, links = found_budgets(cluster, seed)
        for budget in budgets:
            if budget.size not in truth:
                truth[budget.size] = true_parts(cluster, config, budget.size, links)
            ends = [(part.low_s, part.loss_s, part.high_s) for part in budget.parts]
            ends.append((budget.loss_low_s, budget.loss_s, budget.loss_high_s))
            for (part, true_s), (low, value, high) in zip(truth[budget.size].items(), ends):
                key = (budget.size, part)
                held.setdefault(key, []).append(low - 1e-9 <= true_s <= high + 1e-9)
                errors.setdefault(key, []).append(value - true_s)
    return [
        {
            "cluster": name,
            "ranks": size,
            "part": part,
            "true_s": truth[size][part],
            "mean_error_s": fmean(errors[size, part]),
            "held": fmean(hits),
            "runs": runs,
        }
        for (size, part), hits in held.items()
    ]


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    rows, lines = [], [HEAD]
    for name, parameters in CLUSTERS.items():
        cluster = Cluster(ranks=8, ranks_per_node=4, slow_rank=(SlowRank(2, 1.05),), **parameters)
        for row in coverage(name, cluster, runs):
            rows.append(row)
            lines.append(
                f"{row['cluster']:31} {row['ranks']:5} {row['part']:10} {1e3 * row['true_s']:9.3f} "
                f"{1e3 * row['mean_error_s']:+11.3f} {100 * row['held']:7.1f} %"
            )
    save("loss_coverage", lines, {"rows": rows})


if __name__ == "__main__":
    main()
