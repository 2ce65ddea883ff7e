"""How often `distbench compare` tells a difference where there is none, and finds one that there is.

Every pair is two sides of simulated launches of 1, 2 and 4 ranks in six rounds: 13 steps and 2
efficiencies are compared, and a single one that is told to differ counts as a false alarm. No seed is
fixed but that of each launch, which is its number.

    python benchmarks/compare_false_alarms.py [--pairs 200]
"""

from __future__ import annotations

import argparse
import math
import random
import tempfile
from collections.abc import Sequence
from typing import Any

from interleaved import save

from distbench.analysis.cell_pairs import Side
from distbench.analysis.compare import (
    DEFAULT_THRESHOLD,
    NO_DIFFERENCE,
    NOT_RESOLVED,
    SLOWER,
    compare,
)
from distbench.analysis.compared_launches import ComparedLaunch, read_compared
from distbench.analysis.studies import FinishedLaunch
from distbench.resolving import resolve
from distbench.simulation.cluster import Cluster
from distbench.simulation.simulate import simulate

GATE = 0.03
LAUNCH_SPREAD = 0.01  # sd of the logarithm of what one launch's computing takes over another's


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--pairs", type=int, default=200)
    pairs = arguments.parse_args().pairs
    quiet = launches(2 * pairs, first_seed=0)
    related = launches(pairs, first_seed=10_000, autocorrelation=0.6)
    slow = launches(pairs // 2, first_seed=20_000, images_per_s=250 / 1.05)
    varied = launches(5 * (pairs // 2), first_seed=30_000, spread=LAUNCH_SPREAD)
    found = {
        "1 and 1 launches, independent noise": alarms(quiet, 1, 1),
        "1 and 1 launches, noise with autocorrelation 0.6": alarms(related, 1, 1),
        "5 and 5 launches that differ by 1 %": alarms(varied, 5, 5),
        "3 and 3 launches that differ by 1 %": alarms(varied, 3, 3),
        "5 and 1 launches that differ by 1 %": alarms(varied, 5, 1),
        "1 and 1 launches that differ by 1 % (low confidence)": alarms(varied, 1, 1),
    }
    failures = sum(fails(one, other) for one, other in zip(quiet[: len(slow)], slow))
    lines = [
        "no difference between the sides: pairs with a false alarm, of all comparisons together"
    ]
    lines += [f"{name}: {text(*counts)}" for name, counts in found.items()]
    lines += [
        "B computes 5 % slower, 1 and 1 launches, independent noise:",
        f"--fail-above 3% fails in {failures} of {len(slow)} pairs",
    ]
    document = {
        "false_alarms": {name: dict(zip(COUNTED, counts)) for name, counts in found.items()},
        "slower_by_5_per_cent": {"pairs": len(slow), "failed_above_3_per_cent": failures},
    }
    save("compare_false_alarms", lines, document)


COUNTED = (
    "pairs",
    "any_difference",
    "any_told_at_default_threshold",
    "failed_above_3_per_cent",
    "comparisons",
    "not_resolved_at_3_per_cent",
)


def text(pairs: int, by_p: int, told: int, failed: int, rows: int, unresolved: int) -> str:
    return (
        f"{by_p} of {pairs} by p alone; {told} beyond the default threshold of "
        f"{100 * DEFAULT_THRESHOLD:g} %; {failed} fail --fail-above 3%; at 3 % "
        f"{100 * unresolved / rows:.0f} % of the comparisons are not resolved"
    )


def launches(
    count: int, first_seed: int, spread: float = 0.0, images_per_s: float = 250.0, **cluster: Any
) -> list[ComparedLaunch]:
    """So many launches of one cluster; with `spread` its speed varies from launch to launch."""
    found = []
    for seed in range(first_seed, first_seed + count):
        speed = images_per_s * math.exp(random.Random(seed).gauss(0, spread))
        with tempfile.TemporaryDirectory() as folder:
            given = {"seed": seed, "sizes": (1, 2, 4), "steps": 60, "output": f"{folder}/run"}
            settings = resolve(given, on_gpu=True, world_size=4)
            described = Cluster(ranks=4, ranks_per_node=2, images_per_s=speed, **cluster)
            layout, _ = simulate(described, settings)
            found.append(read_compared(FinishedLaunch("", 1, {}, "", "", layout.directory)))
        if len(found) % 50 == 0:
            print(f"{len(found)} of {count} launches", flush=True)
    return found


def alarms(pool: Sequence[ComparedLaunch], of_a: int, of_b: int) -> tuple[int, ...]:
    """Pairs of sides drawn from the pool, each launch once, and how many of them show a difference."""
    each = of_a + of_b
    groups = [pool[start : start + each] for start in range(0, len(pool) - each + 1, each)]
    by_p = told = failed = rows = unresolved = 0
    for group in groups:
        a, b = Side("A", tuple(group[:of_a])), Side("B", tuple(group[of_a:]))
        default, gated = compare(a, b), compare(a, b, GATE)
        by_p += any(row.p_holm < 0.05 for row in default.rows)
        told += any(row.verdict not in (NO_DIFFERENCE, NOT_RESOLVED) for row in default.rows)
        failed += bool(gated.with_verdict(SLOWER))
        rows += len(gated.rows)
        unresolved += len(gated.with_verdict(NOT_RESOLVED))
    return len(groups), by_p, told, failed, rows, unresolved


def fails(a: ComparedLaunch, b: ComparedLaunch) -> bool:
    return bool(compare(Side("A", (a,)), Side("B", (b,)), GATE).with_verdict(SLOWER))


if __name__ == "__main__":
    main()
