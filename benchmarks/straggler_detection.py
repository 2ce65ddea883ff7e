"""How often the analysis names a slow rank, and how often it names one where there is none.

Every run is a simulated cluster of its own, with 2 % of noise and 100 steps a rank, in memory. The seeds
are drawn afresh each time, and the first one is printed; nothing in the analysis is seeded.
Also: whether the 95 % interval of a slow rank's lag holds the truth, several slow ranks, ranks that
became slow, and devices that are uneven by nature, where nobody should be named.

    python benchmarks/straggler_detection.py [--runs 100] [--seed N]
"""

from __future__ import annotations

import argparse
import random
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from interleaved import save

from distbench.analysis.collect import Run
from distbench.analysis.stragglers import Stragglers, find_stragglers
from distbench.config import Config
from distbench.groups import plan_groups
from distbench.layout import RunLayout
from distbench.plan import plan_blocks
from distbench.simulation.cluster import Cluster, SlowRank
from distbench.simulation.cluster_steps import SimulatedBlock, run_plan

RANKS = (8, 64, 256, 1024)
AUTOCORRELATIONS = (0.0, 0.6)
BLOCKS = (10, 1)
NOISE, FACTOR = 0.02, 1.05
PHASES = ("forward", "forward_backward")  # what needs no other rank, and stands apart in its blocks


@dataclass(frozen=True)
class Case:
    """One kind of cluster; `slow` draws the slow ranks and their factors."""

    name: str
    ranks: int
    ranks_per_node: int
    autocorrelation: float
    blocks: int
    slow: Callable[[random.Random], dict[int, float]]
    late: float = 0.0  # from which fraction of the run on they are slow


@dataclass(frozen=True)
class Outcome:
    """What became of one run.

    `found`: the slow ranks and nobody else were named. `accused`: somebody was named who is not slow.
    `covered`: the share of the slow ranks whose interval holds the truth; NaN where there are none.
    """

    found: bool
    accused: bool
    covered: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=None)
    arguments = parser.parse_args()
    seed = secrets.randbits(32) if arguments.seed is None else arguments.seed
    lines = [f"{arguments.runs} runs of each case, seed {seed} and following"]
    print(lines[0], flush=True)
    document: dict[str, Any] = {"seed": seed, "runs": arguments.runs, "cases": {}}
    for case in _cases():
        began = time.perf_counter()
        outcomes = [_outcome(case, seed + index) for index in range(arguments.runs)]
        seed += arguments.runs
        counts = _counts(outcomes)
        document["cases"][case.name] = counts
        lines.append(_line(case.name, counts, arguments.runs))
        print(f"{lines[-1]}  [{time.perf_counter() - began:.0f} s]", flush=True)
    save("straggler_detection", lines, document)


def _cases() -> Iterator[Case]:
    for ranks in RANKS:
        for autocorrelation in AUTOCORRELATIONS:
            for blocks in BLOCKS:
                name = f"{ranks} ranks, autocorrelation {autocorrelation:g}, blocks {blocks}"
                shape = (ranks, 8, autocorrelation, blocks)
                yield Case(f"{name}: nobody slow", *shape, slow=_nobody)
                yield Case(f"{name}: one slower by 5 %", *shape, slow=_some(1, ranks))
    for blocks in BLOCKS:
        end = f"autocorrelation 0.6, blocks {blocks}"
        yield Case(f"64 ranks, two slower by 5 %, {end}", 64, 8, 0.6, blocks, _some(2, 64))
        yield Case(f"16 ranks, one node of 4 slower by 5 %, {end}", 16, 4, 0.6, blocks, _node(4))
        yield Case(f"64 ranks, one node of 8 slower by 5 %, {end}", 64, 8, 0.6, blocks, _node(8))
        yield Case(f"3 ranks, one slower by 5 %, {end}", 3, 8, 0.6, blocks, _some(1, 3))
        name = f"64 ranks, one slower by 8 % in the second half, {end}"
        yield Case(name, 64, 8, 0.6, blocks, _some(1, 64, 1.08), late=0.5)
        for ranks in (8, 64):
            name = f"{ranks} uneven ranks (sd 2 %), {end}"
            yield Case(name, ranks, 8, 0.6, blocks, _uneven(ranks))


def _nobody(source: random.Random) -> dict[int, float]:
    return {}


def _some(count: int, ranks: int, factor: float = FACTOR) -> Callable[[random.Random], Any]:
    return lambda source: dict.fromkeys(source.sample(range(ranks), count), factor)


def _node(size: int) -> Callable[[random.Random], dict[int, float]]:
    def slow(source: random.Random) -> dict[int, float]:
        first = size * source.randrange(4)
        return dict.fromkeys(range(first, first + size), FACTOR)

    return slow


def _uneven(ranks: int) -> Callable[[random.Random], dict[int, float]]:
    return lambda source: {rank: source.lognormvariate(0, 0.02) for rank in range(ranks)}


def _outcome(case: Case, seed: int) -> Outcome:
    slow = case.slow(random.Random(seed))
    cluster = Cluster(
        ranks=case.ranks,
        ranks_per_node=case.ranks_per_node,
        noise=NOISE,
        autocorrelation=case.autocorrelation,
        slow_rank=() if case.late else tuple(SlowRank(*item) for item in slow.items()),
    )
    config = Config(phases=PHASES, steps=100, blocks=case.blocks, seed=seed)
    found = find_stragglers(simulated_run(cluster, config, slow if case.late else {}, case.late))
    assert found is not None
    uneven = len(slow) == case.ranks
    named = {straggler.rank for straggler in found.named}
    return Outcome(
        found=named == set(slow) and not uneven,
        accused=bool(named if uneven else named - set(slow)),
        covered=float("nan") if uneven or case.late else _covered(found, slow),
    )


def _covered(found: Stragglers, slow: dict[int, float]) -> float:
    scores = found.scores[found.scores["rank"].isin(slow)]
    truth = scores["rank"].map(slow) - 1
    inside = (scores["relative_lag_low"] <= truth) & (truth <= scores["relative_lag_high"])
    return float(inside.mean())


def simulated_run(
    cluster: Cluster, config: Config, late_slow: dict[int, float], late: float
) -> Run:
    """What load_run would read of this cluster's records, without the files.

    The ranks of `late_slow` are slow from the fraction `late` of each phase's steps on.
    """
    plan = plan_blocks(config, plan_groups(config, cluster.nodes))
    hosts = np.array([f"node-{node}" for node in cluster.nodes])
    steps, blocks, done = [], [], dict.fromkeys(config.phases, 0)
    for block in run_plan(cluster, config, plan):
        durations = block.duration_ns.copy()
        if not block.planned.warmup:
            moments = done[block.planned.phase] + np.arange(block.planned.steps)
            done[block.planned.phase] += block.planned.steps
            for rank, factor in late_slow.items():
                own = durations[rank]
                own[:] = np.where(moments >= late * config.steps, own * factor, own)
        steps.append(_steps(block, durations, hosts))
        blocks.append(_block(block, durations, hosts))
    return Run(
        layout=RunLayout(Path()),
        config=config,
        manifest={},
        ranks=(),
        steps=pd.concat(steps, ignore_index=True),
        blocks=pd.concat(blocks, ignore_index=True),
        waits=pd.DataFrame(),
        problems=(),
        incomplete=(),
    )


def _common(block: SimulatedBlock) -> dict[str, Any]:
    planned = block.planned
    return {
        "phase": planned.phase,
        "group": planned.group.name,
        "block": planned.block,
        "warmup": planned.warmup,
    }


def _steps(block: SimulatedBlock, durations: Any, hosts: Any) -> pd.DataFrame:
    ranks, steps = durations.shape
    return pd.DataFrame(
        {
            "rank": np.repeat(np.arange(ranks), steps),
            "host": np.repeat(hosts, steps),
            **_common(block),
            "role": block.planned.group.role,
            "group_size": ranks,
            "step": np.tile(np.arange(steps), ranks),
            "duration_ns": durations.ravel(),
        }
    )


def _block(block: SimulatedBlock, durations: Any, hosts: Any) -> pd.DataFrame:
    ends = block.start_ns + durations.sum(axis=1)
    clocks = 10**12 * (1 + np.arange(len(durations)))  # nothing relates those of two ranks
    return pd.DataFrame(
        {
            "rank": np.arange(len(durations)),
            "host": hosts,
            **_common(block),
            "start_ns": block.start_ns + clocks,
            "end_ns": ends + clocks,
        }
    )


def _counts(outcomes: list[Outcome]) -> dict[str, Any]:
    covered = [one.covered for one in outcomes if not np.isnan(one.covered)]
    return {
        "found": sum(one.found for one in outcomes),
        "accused": sum(one.accused for one in outcomes),
        "covered": float(np.mean(covered)) if covered else None,
    }


def _line(name: str, counts: dict[str, Any], runs: int) -> str:
    if "nobody" in name or "uneven" in name:
        return f"{name}: somebody accused in {counts['accused']} of {runs}"
    covered = counts["covered"]
    truth = "" if covered is None else f", interval holds the truth in {100 * covered:.0f} %"
    return (
        f"{name}: found, and nobody else, in {counts['found']} of {runs}; somebody else accused in "
        f"{counts['accused']}{truth}"
    )


if __name__ == "__main__":
    main()
