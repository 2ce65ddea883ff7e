"""One group as any rank of the world sees it, whether it belongs to it or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from distbench.worker.world import World

T = TypeVar("T")


class Members:
    """The ranks of a group. Every exchange is one of the whole world, so that no rank runs ahead.

    `index` is this rank's place among them, None where it is not one of them.
    """

    def __init__(self, world: World, ranks: Sequence[int]) -> None:
        self._world = world
        self.ranks = tuple(ranks)
        self.size = len(self.ranks)
        self.index = self.ranks.index(world.rank) if world.rank in self.ranks else None

    def together(self, action: Callable[[], T], holds_collectives: bool = False) -> T | None:
        """Runs `action` on the group's ranks; an error of one is raised on every rank of the world.

        `holds_collectives` as in `World.together`.
        """
        own = action if self.index is not None else lambda: None
        return self._world.together(own, holds_collectives)

    def allgather_json(self, value: Any) -> list[Any]:
        """The `value` of each of the group's ranks in their order, on every rank of the world."""
        everyone = self._world.allgather_json(value)
        return [everyone[rank] for rank in self.ranks]
