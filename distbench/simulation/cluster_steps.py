"""How long each step of each rank takes on a stated cluster: the plan of a real run on one time line.

Every rank has a noise of its own that goes on from step to step and from block to block; the allreduces
have one that all ranks share. A factor of noise is exp(sd · z) with z of a standard normal
distribution, so that its median is 1. Steps follow each other without a gap.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from distbench.config import Config
from distbench.errors import UsageError
from distbench.groups import WITH_ITSELF, Group
from distbench.plan import PlannedBlock
from distbench.simulation.cluster import Cluster
from distbench.simulation.cluster_model import (
    CYCLE_NS,
    AllreduceCost,
    StepModel,
    allreduce_cost,
    last_end_ns,
    step_model,
)

BETWEEN_BLOCKS_NS = 1_000_000  # what the meeting of all ranks before each block takes


@dataclass(frozen=True)
class SimulatedBlock:
    """One block as it ran, on the cluster's clock.

    `duration_ns` is an int64 array of ranks × steps, in the order of the group's ranks, or of one row
    where all of them measure the same.
    """

    planned: PlannedBlock
    start_ns: int
    span_ns: int
    duration_ns: Any


@dataclass(frozen=True)
class Factors:
    """What chance does to the steps of a block.

    `computing` and `network` are factors on the times, float64 by step and rank and by step.
    `cycle_offset_ns`, int64 by step, is what has passed of Horovod's cycle when the step begins.
    """

    computing: Any
    network: Any
    cycle_offset_ns: Any


class Noise:
    """Draws the factors of step after step; the same seed draws the same."""

    def __init__(self, cluster: Cluster, seed: Sequence[int]) -> None:
        import numpy as np

        self._cluster = cluster
        self._random = np.random.default_rng(seed)
        self._of_ranks = self._random.standard_normal(cluster.ranks)
        self._of_network = self._random.standard_normal(1)
        self._speed = np.ones(cluster.ranks)
        for slow in cluster.slow_rank:
            self._speed[slow.rank] = slow.factor

    def factors(self, ranks: Sequence[int], moments: Any) -> Factors:
        """For one step of `ranks` at each of `moments`, which are fractions of the run."""
        import numpy as np

        cluster, members = self._cluster, np.asarray(ranks)
        computing = np.tile(self._speed[members], (len(moments), 1))
        if cluster.noise:
            series = self._series(self._of_ranks[members], len(moments))
            self._of_ranks[members] = series[-1]
            computing *= np.exp(cluster.noise * series)
        computing *= slowdown(cluster, moments)[:, np.newaxis]
        return Factors(computing, *self._of_allreduces(len(moments)))

    def _of_allreduces(self, steps: int) -> tuple[Any, Any]:
        """Factor and offset of Horovod's cycle by step; without noise a cycle begins with the step."""
        import numpy as np

        if not self._cluster.network_noise:
            return np.ones(steps), np.zeros(steps, np.int64)
        series = self._series(self._of_network, steps)
        self._of_network = series[-1]
        factors = np.exp(self._cluster.network_noise * series[:, 0])
        return factors, self._random.integers(0, CYCLE_NS, steps)

    def _series(self, state: Any, steps: int) -> Any:
        """`steps` standard normal values of each process, each correlated with the one before."""
        series = self._random.standard_normal((steps, len(state)))
        carried = self._cluster.autocorrelation
        if carried:
            series *= (1 - carried**2) ** 0.5
            for row in series:
                row += carried * state
                state = row
        return series


def slowdown(cluster: Cluster, moments: Any) -> Any:
    """The factor of drift and thermal step on all computing, at each moment."""
    import numpy as np

    factor = 1 + cluster.drift * moments
    if cluster.thermal_step is not None:
        hot = moments >= cluster.thermal_step.at
        factor = factor * np.where(hot, cluster.thermal_step.factor, 1.0)
    return factor


@dataclass(frozen=True)
class GroupModel:
    """What a group's steps are made of; no cost where its ranks hand nothing to Horovod."""

    step: StepModel
    cost: AllreduceCost | None
    copy_ns: int  # what `allreduce` takes on a rank that has nobody to reduce with

    @classmethod
    def of(cls, cluster: Cluster, config: Config, group: Group) -> GroupModel:
        """The model of one group of a run."""
        cost = allreduce_cost(cluster, group.ranks)
        model = step_model(cluster, config.network(), config.batch_of(group.size))
        copy_ns = round(cost.copy_ns_per_byte * sum(model.tensor_bytes))
        hands_over = group.reduces or group.role == WITH_ITSELF
        return cls(model, cost if hands_over else None, copy_ns)

    def durations_ns(self, phase: str, factors: Factors) -> Any:
        """What each rank measures: int64 of steps × ranks, of one column where all measure the same."""
        import numpy as np

        times_ns = {
            "forward": self.step.forward_ns,
            "forward_backward": self.step.forward_backward_ns,
        }
        if self.cost is None:
            computed_ns = self.step.forward_backward_ns
            times_ns["allreduce"] = self.copy_ns
            times_ns["forward_backward_allreduce"] = computed_ns
            times_ns["train_step"] = computed_ns + self.step.optimizer_ns
        if phase in times_ns:
            durations = _whole(times_ns[phase] * factors.computing)
        elif phase == "allreduce":
            durations = self._allreduce_ns(factors)[:, np.newaxis]
        else:
            optimizer_ns = self.step.optimizer_ns if phase == "train_step" else 0.0
            durations = self._reduced_ns(factors, optimizer_ns)
        return np.maximum(durations, 1)

    def _allreduce_ns(self, factors: Factors) -> Any:
        """All gradients are there at once, and handed over in the order of the layers."""
        import numpy as np

        forwards = self.step.tensor_bytes[::-1]
        ready = np.zeros((len(factors.network), len(forwards)), np.int64)
        return self._reduced_at_ns(ready, forwards, factors)

    def _reduced_ns(self, factors: Factors, optimizer_ns: float) -> Any:
        """A step ends for all ranks with its last allreduce, and then for each with its optimizer.

        So a rank begins the next step when its own optimizer is done, and a gradient can be reduced
        when the last rank has made it. Horovod's cycles are counted from the last rank's start.
        """
        import numpy as np

        computing = factors.computing
        if not optimizer_ns:  # all begin together, so that the slowest rank is the last throughout
            computing = computing.max(axis=1, keepdims=True)
        updated = _whole(optimizer_ns * computing)
        late = np.zeros_like(updated)  # after the end of the allreduces of the step before
        late[1:] = updated[:-1]
        last_start = late.max(axis=1)
        ready = np.empty((len(late), len(self.step.ready_ns)), np.int64)
        for index, ready_ns in enumerate(self.step.ready_ns):
            if index and ready_ns == self.step.ready_ns[index - 1]:
                ready[:, index] = ready[:, index - 1]
            else:
                made = (late + _whole(ready_ns * computing)).max(axis=1)
                ready[:, index] = made - last_start
        end = last_start + self._reduced_at_ns(ready, self.step.tensor_bytes, factors)
        return end[:, np.newaxis] - late + updated

    def _reduced_at_ns(self, ready_ns: Any, tensor_bytes: Sequence[int], factors: Factors) -> Any:
        assert self.cost is not None
        return last_end_ns(
            ready_ns, tensor_bytes, self.cost, factors.network, factors.cycle_offset_ns
        )


def _whole(time_ns: Any) -> Any:
    import numpy as np

    return np.rint(time_ns).astype(np.int64)


def run_plan(
    cluster: Cluster, config: Config, plan: Sequence[PlannedBlock]
) -> Iterator[SimulatedBlock]:
    """Runs the blocks one after the other; all ranks begin each of them together.

    Raises UsageError where a spike comes after its rank's last step.
    """
    noise = Noise(cluster, (config.seed, 0))
    groups = {block.group.name: block.group for block in plan}
    models = {name: GroupModel.of(cluster, config, group) for name, group in groups.items()}
    spikes = _placed_spikes(cluster, plan)
    now_ns = BETWEEN_BLOCKS_NS
    for index, (block, moments) in enumerate(zip(plan, moments_of(plan))):
        factors = noise.factors(block.group.ranks, moments)
        for step, column, factor in spikes.get(index, []):
            factors.computing[step, column] *= factor
        durations = models[block.group.name].durations_ns(block.phase, factors).T.copy()
        span_ns = int(durations.sum(axis=1).max())
        yield SimulatedBlock(block, now_ns, span_ns, durations)
        now_ns += span_ns + BETWEEN_BLOCKS_NS


def moments_of(plan: Sequence[PlannedBlock]) -> Iterator[Any]:
    """By block, the fraction of the run at which each of its steps begins."""
    import numpy as np

    total, begun = sum(block.steps for block in plan), 0
    for block in plan:
        yield np.arange(begun, begun + block.steps) / total
        begun += block.steps


def block_at(plan: Sequence[PlannedBlock], moment: float) -> tuple[int, int]:
    """Index of the block that the run is in at `moment`, and of the step in it."""
    ends = list(itertools.accumulate(block.steps for block in plan))
    step = min(int(moment * ends[-1]), ends[-1] - 1)
    index = next(index for index, end in enumerate(ends) if step < end)
    return index, step - (ends[index] - plan[index].steps)


def _placed_spikes(
    cluster: Cluster, plan: Sequence[PlannedBlock]
) -> dict[int, list[tuple[int, int, float]]]:
    """By block the spikes in it, as (step, place of the rank in its group, factor)."""
    placed: dict[int, list[tuple[int, int, float]]] = {}
    for spike in cluster.spike:
        first, step = block_at(plan, spike.at)
        for index in range(first, len(plan)):
            block = plan[index]
            if spike.rank in block.group.ranks and block.phase != "allreduce":
                column = block.group.ranks.index(spike.rank)
                placed.setdefault(index, []).append(
                    (step if index == first else 0, column, spike.factor)
                )
                break
        else:
            raise UsageError(
                f"--spike {spike.rank}:{spike.at:g}:{spike.factor:g} comes after the last step that "
                f"rank {spike.rank} computes; name an earlier moment"
            )
    return placed
