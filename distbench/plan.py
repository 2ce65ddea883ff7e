"""Which blocks a run measures, in which order. Known to the ranks, the simulator and the readers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from distbench.config import SELF_ALLREDUCE, Config
from distbench.groups import INDEPENDENT, REDUCING, WITH_ITSELF, WORLD, Group

Item = TypeVar("Item")


@dataclass(frozen=True)
class PlannedBlock:
    """One block of one phase of one group: `steps` steps in a row, all warm-up or all timed."""

    phase: str
    group: Group
    block: int
    steps: int
    warmup: bool

    @property
    def in_words(self) -> str:
        """'train_step of size-00004, block 3'; the group of all ranks is not named."""
        group = "" if self.group.name == WORLD else f" of {self.group.name}"
        return f"{self.phase}{group}, {'warm-up' if self.warmup else f'block {self.block}'}"


def phases_of(config: Config, group: Group) -> tuple[str, ...]:
    """The phases that a group measures, in the ladder's order.

    Ranks that reduce nothing leave out `allreduce`, and `forward_backward_allreduce` where
    `train_step` is there: without communication it is `forward_backward`. A world of one rank is
    measured whole, as the run that it is.
    """
    if group.role == REDUCING:
        return config.phases
    if group.role == WITH_ITSELF:
        return (SELF_ALLREDUCE,)
    left_out = {"allreduce"}
    if "train_step" in config.phases:
        left_out.add("forward_backward_allreduce")
    if group.role == INDEPENDENT:
        left_out.add("forward")
    return tuple(phase for phase in config.phases if phase not in left_out)


def plan_blocks(config: Config, groups: Sequence[Group]) -> list[PlannedBlock]:
    """Every block of a run in its order: a round of warm-up, then rounds of one block each.

    Everything is warmed up before anything is timed. Each round has its own random order of all
    phases of all groups, so that a drift of clocks or temperature meets all of them; the order
    follows from the seed alone and is the same on every rank.
    """
    shuffler = random.Random(config.seed)
    measured = [(phase, group) for group in groups for phase in phases_of(config, group)]
    plan: list[PlannedBlock] = []
    if config.warmup_steps:
        for phase, group in _shuffled(measured, shuffler):
            plan.append(PlannedBlock(phase, group, 0, config.warmup_steps, warmup=True))
    for index, steps in enumerate(config.steps_of_blocks(), start=1):
        for phase, group in _shuffled(measured, shuffler):
            plan.append(PlannedBlock(phase, group, index, steps, warmup=False))
    return plan


def _shuffled(items: Sequence[Item], shuffler: random.Random) -> list[Item]:
    order = list(items)
    shuffler.shuffle(order)
    return order
