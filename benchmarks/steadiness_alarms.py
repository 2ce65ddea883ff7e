"""How often the checks of sampling call out a clean simulated cluster, and each known disturbance.

Every run is a simulated cluster of its own, in memory, with all five phases at eight sizes (1 to 128
ranks), and its report is clean where `sampling_checks` says nothing at all. A disturbance is found where
its own check names it.

    python benchmarks/steadiness_alarms.py [--runs 300]
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from typing import Any

from in_memory_runs import check_against_files, simulated_run
from interleaved import save

from distbench.analysis.sampling_checks import sampling_checks
from distbench.analysis.summary import job_steps, main_group, summarise
from distbench.config import Config
from distbench.resolving import resolve
from distbench.simulation.cluster import Cluster, Spike, ThermalStep

RANKS = 128
SIZES = tuple(2**power for power in range(8))
CLEAN: dict[str, dict[str, Any]] = {
    "clean, 1 % noise": {},
    "clean, 5 % noise": {"noise": 0.05},
    "clean, autocorrelation 0.3": {"autocorrelation": 0.3},
    "clean, slow links": {"inter_gb_per_s": 0.2, "network_noise": 0.05},
}
DISTURBED: dict[str, tuple[dict[str, Any], str]] = {
    "--drift 0.05": ({"drift": 0.05}, "no steady state"),
    "--thermal-step 0.5:1.1": ({"thermal_step": ThermalStep(0.5, 1.1)}, "no steady state"),
    "--spike 3:0.5:10": ({"spike": (Spike(3, 0.5, 10.0),)}, "outliers"),
    "--autocorrelation 0.9": ({"autocorrelation": 0.9}, "autocorrelation"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=300)
    runs = parser.parse_args().runs
    check_against_files(_cluster({}), _config(0))
    lines = [
        "in memory as by files: the same frames",
        f"{runs} runs of each cluster, seeds from 0 on",
    ]
    print("\n".join(lines), flush=True)
    document: dict[str, Any] = {"runs": runs, "clusters": {}}
    for name, parameters in CLEAN.items():
        count = _count(parameters, runs, "")
        document["clusters"][name] = {"something_said": count}
        lines.append(f"{name}: something said in {count} of {runs} ({100 * count / runs:.1f} %)")
    for name, (parameters, words) in DISTURBED.items():
        count = _count(parameters, runs, words)
        document["clusters"][name] = {"found": count, "by": words}
        lines.append(f"{name}: '{words}' said in {count} of {runs} ({100 * count / runs:.1f} %)")
    save("steadiness_alarms", lines, document)


def _count(parameters: dict[str, Any], runs: int, words: str) -> int:
    """In how many runs a check holds these words."""
    began = time.perf_counter()
    count = 0
    for seed in range(runs):
        texts = _said(parameters, seed)
        count += any(words in text for text in texts)
    print(f"{parameters} {words!r}: {count} [{time.perf_counter() - began:.0f} s]", flush=True)
    return count


def _said(parameters: dict[str, Any], seed: int) -> list[str]:
    run = simulated_run(_cluster(parameters), _config(seed))
    jobs = job_steps(run.steps)
    groups = summarise(run.steps, jobs, run.grad_bytes)
    summary = groups[groups["group"] == main_group(jobs)]
    return [check.text for check in sampling_checks(run, jobs, summary)]


def _cluster(parameters: dict[str, Any]) -> Cluster:
    return dataclasses.replace(Cluster(ranks=RANKS), **parameters)


def _config(seed: int) -> Config:
    return resolve({"sizes": SIZES, "seed": seed}, on_gpu=True, world_size=RANKS)


if __name__ == "__main__":
    main()
