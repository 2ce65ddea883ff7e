"""How often the 95 % intervals hold the truth: step time, throughput, efficiency, exposed communication.

Every run is a simulated study of its own, with 1 % of noise and sizes 1 and 8, of train_step; exposed
communication is from a run of its own, of two phases. The truth is the simulator's, the mean of what it
says for TRUTHS seeds. n is the number of rounds, and so of the samples of each interval. Of the last
runs a single phase was timed, in blocks without anything between them: where these are short, intervals
are too narrow under autocorrelation, and 'low confidence' must be said.

    python benchmarks/interval_coverage.py [--runs 1000]

1,000 runs of each cell take a quarter of an hour on one core, 200 take three minutes.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections import Counter
from collections.abc import Iterator
from statistics import fmean
from typing import Any

from in_memory_runs import check_against_files, simulated_run
from interleaved import save

from distbench.analysis.communication import communication
from distbench.analysis.sampling_checks import sampling_checks
from distbench.analysis.scaling import scaling_frame
from distbench.analysis.summary import job_steps, summarise
from distbench.config import Config
from distbench.groups import plan_groups
from distbench.resolving import resolve
from distbench.simulation.cluster import Cluster
from distbench.simulation.cluster_truth import true_values

ROUNDS = (6, 10, 20, 50)
AUTOCORRELATIONS = (0.0, 0.6)
RANKS, STEPS_PER_BLOCK = 8, 5
SHORT_BLOCKS = ((20, 1), (20, 2), (10, 10))  # n and steps of a block
TRUTHS = 5
QUANTITIES = ("step_s", "images_per_s", "efficiency", "exposed_s")
NAMES = ("step time", "throughput", "efficiency", "exposed")
HEAD = f"{'autocorrelation':>15} {'n':>3} {'ranks':>5} " + " ".join(f"{name:>12}" for name in NAMES)
SHORT_HEAD = (
    f"{'autocorrelation':>15} {'n':>3} {'steps':>5} {'step time':>12} {'low confidence said':>20}"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    runs = parser.parse_args().runs
    began = time.perf_counter()
    check_against_files(_cluster(0.6), _study(10, seed=0))
    lines = ["in memory as by files: the same frames", f"% of {runs} runs, seeds from 0 on", HEAD]
    print("\n".join(lines), flush=True)
    cells = []
    for line, cell in _studies(runs):
        lines.append(line)
        cells.append(cell)
        print(line, flush=True)
    lines += [f"one phase of {RANKS} ranks, blocks without a gap:", SHORT_HEAD]
    short = []
    for line, cell in _short_blocks(runs):
        lines.append(line)
        short.append(cell)
        print(line, flush=True)
    print(f"[{time.perf_counter() - began:.0f} s]")
    save("interval_coverage", lines, {"runs": runs, "studies": cells, "short_blocks": short})


def _cluster(autocorrelation: float) -> Cluster:
    return Cluster(
        ranks=RANKS, ranks_per_node=1, inter_gb_per_s=4.0, autocorrelation=autocorrelation
    )


def _study(rounds: int, seed: int) -> Config:
    return _config(
        seed, rounds * STEPS_PER_BLOCK, sizes=(1, RANKS), rounds=rounds, phases=("train_step",)
    )


def _two_phases(rounds: int, seed: int) -> Config:
    phases = ("forward_backward", "forward_backward_allreduce")
    return _config(seed, rounds * STEPS_PER_BLOCK, blocks=rounds, phases=phases)


def _one_phase(blocks: int, steps_of_each: int, seed: int) -> Config:
    return _config(seed, blocks * steps_of_each, blocks=blocks, phases=("train_step",))


def _config(seed: int, steps: int, **settings: Any) -> Config:
    common = {"steps": steps, "warmup_steps": 1, "seed": seed}
    return resolve({**common, **settings}, on_gpu=True, world_size=RANKS)


def _truth(cluster: Cluster, config: Config) -> list[dict[str, Any]]:
    """One row for each size: the simulator's, the mean over seeds that no run has."""
    found = [
        true_values(
            cluster,
            dataclasses.replace(config, seed=10**6 + index),
            plan_groups(config, cluster.nodes),
        )["with_noise"]
        for index in range(TRUTHS)
    ]
    return [
        {name: row[name] and fmean(rows[place][name] for rows in found) for name in QUANTITIES}
        for place, row in enumerate(found[0])
    ]


def _studies(runs: int) -> Iterator[tuple[str, dict[str, Any]]]:
    for autocorrelation in AUTOCORRELATIONS:
        cluster = _cluster(autocorrelation)
        one, all_ranks = _truth(cluster, _study(ROUNDS[0], seed=0))
        (exposing,) = _truth(cluster, _two_phases(ROUNDS[0], seed=0))
        truth = {1: one, RANKS: {**all_ranks, "exposed_s": exposing["exposed_s"]}}
        for rounds in ROUNDS:
            held = _held(cluster, rounds, truth, runs)
            for size in truth:
                counts = {name: held[size, name] for name in QUANTITIES if (size, name) in held}
                cell = {"autocorrelation": autocorrelation, "n": rounds, "ranks": size}
                shares = [
                    100 * counts[name] / runs if name in counts else None for name in QUANTITIES
                ]
                texts = ["-" if share is None else f"{share:.1f}" for share in shares]
                line = f"{autocorrelation:15.1f} {rounds:3} {size:5} "
                yield line + " ".join(f"{text:>12}" for text in texts), {**cell, "held": counts}


def _held(
    cluster: Cluster, rounds: int, truth: dict[int, dict[str, Any]], runs: int
) -> Counter[tuple[int, str]]:
    """By size and quantity, in how many runs the interval holds the truth.

    The efficiency of the baseline is 1 by definition and not counted.
    """
    held: Counter[tuple[int, str]] = Counter()
    for seed in range(runs):
        run = simulated_run(cluster, _study(rounds, seed))
        curve = scaling_frame(run, job_steps(run.steps))
        assert curve is not None
        for row in curve.to_dict("records"):
            size = row["size"]
            for name in QUANTITIES[: 2 if size == 1 else 3]:
                low, high = row[f"{name}_low"], row[f"{name}_high"]
                held[size, name] += low <= truth[size][name] <= high
        run = simulated_run(cluster, _two_phases(rounds, seed))
        low, high, _ = communication(job_steps(run.steps)).exposed_interval_s
        held[RANKS, "exposed_s"] += low <= truth[RANKS]["exposed_s"] <= high
    return held


def _short_blocks(runs: int) -> Iterator[tuple[str, dict[str, Any]]]:
    for autocorrelation in AUTOCORRELATIONS:
        cluster = _cluster(autocorrelation)
        (truth,) = _truth(cluster, _one_phase(20, 5, seed=0))
        for rounds, steps in SHORT_BLOCKS:
            held = said = 0
            for seed in range(runs):
                run = simulated_run(cluster, _one_phase(rounds, steps, seed))
                jobs = job_steps(run.steps)
                summary = summarise(run.steps, jobs, run.grad_bytes)
                row = summary.iloc[0]
                held += bool(row["step_s_low"] <= truth["step_s"] <= row["step_s_high"])
                checks = sampling_checks(run, jobs, summary)
                said += any("low confidence" in check.text for check in checks)
            line = f"{autocorrelation:15.1f} {rounds:3} {steps:5} {100 * held / runs:12.1f}"
            cell = {"autocorrelation": autocorrelation, "n": rounds, "steps_of_a_block": steps}
            yield f"{line} {100 * said / runs:20.1f}", {**cell, "held": held, "said": said}


if __name__ == "__main__":
    main()
