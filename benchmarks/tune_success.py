"""How often the search of `distbench tune` finds a setting within 1 % of the best, of known truth.

A launch gives the median of its steps. Steps have noise with autocorrelation and spikes; launches differ
among themselves by 1 %; the machine drifts while they run; now and then a launch shares the machine and
is 5 to 20 % slower as a whole. In each run the true rates are drawn anew: one best, some within 1 % of
it, some within 3 %, others down to 30 % slower. A setting that is chosen counts as found where its true
rate is within 1 % of the best. Exhaustive are as many rounds of all settings, none dropped.

The scenarios named `simulator` draw each launch with `distbench.simulation` and read it by the analysis
of real records; the others draw the steps here, which is faster.

    python benchmarks/tune_success.py [--runs 100]
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from in_memory_runs import simulated_run
from interleaved import save

from distbench.analysis.scaling import scaling_frame
from distbench.analysis.summary import job_steps
from distbench.resolving import resolve
from distbench.simulation.cluster import Cluster
from distbench.tune.rounds import DECIDED, Failure
from distbench.tune.search import search
from distbench.tune.space import Axis, Choice, Space

WITHIN = 0.01
STEPS = 30
STEP_NOISE, AUTOCORRELATION = 0.015, 0.5
SPIKES = 0.02  # of the steps, 1.5 to 5 times as long
LAUNCH_SPREAD = 0.01
DRIFT_OF_LAUNCH = (
    0.002  # sd of the random walk that the machine's speed takes from launch to launch
)
SHARED = 0.03  # of the launches, slower by 5 to 20 %
LEVELS = (4, 4, 3, 3, 2)  # of the space of many combinations: 288
FIRST_SEED = 500_000  # none of the runs by which the search's numbers were chosen
INTERACTION = 0.005  # sd of what a combination has beside its levels' own parts


@dataclass(frozen=True)
class Truth:
    """The logarithm of the true rate of every choice."""

    space: Space
    logs: dict[Choice, float]

    @property
    def best(self) -> float:
        return max(self.logs.values())


class Machine:
    """Launches whose truth is known, `most` of them at most."""

    def __init__(self, truth: Truth, seed: int, most: float, draw: Callable[..., float]) -> None:
        self.truth, self.most, self.draw = truth, most, draw
        self.rng = np.random.default_rng(seed)
        self.launches, self.walk = 0, 0.0

    def rate(self, choice: Choice, round_number: int) -> float | Failure | None:
        if self.launches >= self.most:
            return None
        self.launches += 1
        self.walk += self.rng.normal(0, DRIFT_OF_LAUNCH)
        disturbed = self.walk + self.rng.normal(0, LAUNCH_SPREAD)
        if self.rng.random() < SHARED:
            disturbed -= self.rng.uniform(0.05, 0.2)
        return self.draw(math.exp(self.truth.logs[choice] + disturbed), self.rng)

    def is_half_spent(self, round_number: int) -> bool:
        return self.launches >= self.most / 2


def drawn_here(images_per_s: float, rng: np.random.Generator) -> float:
    """The median rate of one launch of STEPS steps."""
    noise, state = np.empty(STEPS), rng.normal()
    for step in range(STEPS):
        state = AUTOCORRELATION * state + math.sqrt(1 - AUTOCORRELATION**2) * rng.normal()
        noise[step] = state
    spikes = np.where(rng.random(STEPS) < SPIKES, rng.uniform(1.5, 5, STEPS), 1.0)
    return images_per_s / float(np.median(np.exp(STEP_NOISE * noise) * spikes))


def drawn_by_the_simulator(images_per_s: float, rng: np.random.Generator) -> float:
    """The same of a simulated cluster of two ranks, read as a run is."""
    seed = int(rng.integers(2**31))
    given = {
        "seed": seed,
        "steps": STEPS,
        "warmup_steps": 2,
        "phases": ("train_step",),
        "output": "x",
    }
    cluster = Cluster(
        ranks=2, images_per_s=images_per_s, noise=STEP_NOISE, autocorrelation=AUTOCORRELATION
    )
    run = simulated_run(cluster, resolve(given, on_gpu=True, world_size=2))
    points = scaling_frame(run, job_steps(run.steps))
    assert points is not None
    return float(points["images_per_s"].iloc[-1])


def list_of(count: int) -> Callable[[random.Random], Truth]:
    """So many settings of one axis: a best, a quarter within 1 % of it, a quarter within 3 %."""

    def draw(rng: random.Random) -> Truth:
        near, middle = count // 4, count // 4
        logs = [0.0]
        logs += [math.log(1 - rng.uniform(0.002, 0.0095)) for _ in range(near)]
        logs += [math.log(1 - rng.uniform(0.0105, 0.03)) for _ in range(middle)]
        logs += [math.log(1 - rng.uniform(0.03, 0.3)) for _ in range(count - len(logs))]
        rng.shuffle(logs)
        space = Space((Axis("level", tuple(range(count))),))
        return Truth(space, {(level,): log for level, log in enumerate(logs)})

    return draw


def lonely_best(count: int) -> Callable[[random.Random], Truth]:
    """One best, all others 1.1 to 3 % slower: the hardest list."""

    def draw(rng: random.Random) -> Truth:
        logs = [0.0] + [math.log(1 - rng.uniform(0.011, 0.03)) for _ in range(count - 1)]
        rng.shuffle(logs)
        space = Space((Axis("level", tuple(range(count))),))
        return Truth(space, {(level,): log for level, log in enumerate(logs)})

    return draw


def combinations(rng: random.Random) -> Truth:
    """288 combinations of five axes, whose levels multiply but for a small interaction."""
    parts = [[0.0, *(rng.uniform(-0.15, 0.08) for _ in range(count - 1))] for count in LEVELS]
    space = Space(
        tuple(Axis(f"axis-{place}", tuple(range(count))) for place, count in enumerate(LEVELS))
    )
    logs = {
        choice: sum(part[level] for part, level in zip(parts, choice)) + rng.gauss(0, INTERACTION)
        for choice in space.product()
    }
    return Truth(space, logs)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--runs", type=int, default=100)
    runs = arguments.parse_args().runs
    none = math.inf
    scenarios = {
        "8 settings": (list_of(8), none, drawn_here),
        "16 settings": (list_of(16), none, drawn_here),
        "24 settings": (list_of(24), none, drawn_here),
        "40 settings, in stages": (list_of(40), none, drawn_here),
        "8 settings, all others 1.1 to 3 % slower": (lonely_best(8), none, drawn_here),
        "16 settings, all others 1.1 to 3 % slower": (lonely_best(16), none, drawn_here),
        "288 combinations, in stages": (combinations, none, drawn_here),
        "16 settings, 60 launches at most": (list_of(16), 60, drawn_here),
        "288 combinations, 90 launches at most": (combinations, 90, drawn_here),
        "simulator: 8 settings": (list_of(8), none, drawn_by_the_simulator),
        "simulator: 16 settings": (list_of(16), none, drawn_by_the_simulator),
    }
    lines = [
        f"runs of {runs} in which the chosen setting is within {100 * WITHIN:g} % of the true best;",
        "launches: median (most) of a run; exhaustive: as many rounds of all settings",
    ]
    document = {}
    for number, (name, scenario) in enumerate(scenarios.items()):
        document[name] = found = judge(*scenario, runs, FIRST_SEED + 1000 * number)
        lines.append(
            f"{name}: {found['within_1_per_cent']} of {runs} ({found['best_itself']} the best "
            f"itself), worst {100 * found['worst_loss']:.1f} % slower; decided {found['decided']}; "
            f"launches {found['launches_median']:.0f} ({found['launches_most']}), exhaustive "
            f"{found['exhaustive_median']:.0f}"
        )
        print(lines[-1], flush=True)
    save("tune_success", lines, {"runs": runs, "scenarios": document})


def judge(
    draw_truth: Callable[[random.Random], Truth],
    most: float,
    draw: Callable[..., float],
    runs: int,
    first_seed: int,
) -> dict[str, float]:
    losses, launches, exhaustive, decided = [], [], [], 0
    for seed in range(first_seed, first_seed + runs):
        truth = draw_truth(random.Random(seed))
        machine = Machine(truth, seed, most, draw)
        found = search(truth.space, machine, seed)
        assert found.leader is not None
        losses.append(1 - math.exp(truth.logs[found.choices[found.leader]] - truth.best))
        launches.append(machine.launches)
        exhaustive.append(truth.space.count * found.rounds)
        decided += found.ended == DECIDED
    return {
        "within_1_per_cent": sum(loss <= WITHIN for loss in losses),
        "best_itself": sum(loss == 0 for loss in losses),
        "worst_loss": max(losses),
        "decided": decided,
        "launches_median": statistics.median(launches),
        "launches_most": max(launches),
        "exhaustive_median": statistics.median(exhaustive),
    }


if __name__ == "__main__":
    main()
