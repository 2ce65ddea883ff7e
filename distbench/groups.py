"""Which ranks run together: the groups of a scaling study and where they stand on the nodes.

Nodes are numbers from 0 in the order of their first rank; a list `nodes` holds the node of each rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from distbench.config import Config
from distbench.errors import UsageError
from distbench.launched import LaunchedAs

WORLD = "world"
REDUCING, ALONE, INDEPENDENT = "reducing", "alone", "independent"
WITH_ITSELF = "with_itself"
# The baseline is a distribution over devices; eight of a node show it, and each costs a turn.
MOST_TURNS = 8


@dataclass(frozen=True)
class Group:
    """Ranks that run their blocks at the same time.

    `role` is 'reducing' (they average their gradients: one point of the curve), 'alone' (one rank on
    each node, each a baseline of its own, while its neighbours wait), 'independent' (all ranks at
    once without communication, the second control) or 'with_itself' (one rank, alone, that hands its
    gradients to Horovod all the same: what Horovod itself costs).
    """

    name: str
    ranks: tuple[int, ...]
    role: str = REDUCING

    @property
    def reduces(self) -> bool:
        """Whether the ranks average their gradients, which a single one has no need to."""
        return self.role == REDUCING and len(self.ranks) > 1

    @property
    def size(self) -> int:
        """How many ranks make one job step together; the `group_size` of a block's record."""
        return 1 if self.role == ALONE else len(self.ranks)

    def record_name(self, rank: int) -> str:
        """The `group` of a block's record: ranks that are alone in the same turn share nothing."""
        return f"{ALONE}-{rank:05d}" if self.role in (ALONE, WITH_ITSELF) else self.name


def nodes_of(hosts: Sequence[str]) -> list[int]:
    """The node of each rank by the host names of all ranks."""
    numbers = {host: number for number, host in enumerate(dict.fromkeys(hosts))}
    return [numbers[host] for host in hosts]


def plan_groups(config: Config, nodes: Sequence[int]) -> tuple[Group, ...]:
    """Every group that a run measures, the world first where it is one of them."""
    everyone = tuple(range(len(nodes)))
    if not config.sizes:
        return (Group(WORLD, everyone),)
    groups = [
        _reducing_group(size, nodes, config.placement)
        for size in reversed(config.sizes)
        if size > 1 or len(nodes) == 1
    ]
    if len(nodes) == 1:
        return tuple(groups)
    if 1 in config.sizes:
        groups += _turns(nodes)
        if config.sizes[-1] > 1 and "forward_backward" in config.phases:  # what it is compared with
            groups.append(Group(WITH_ITSELF, (0,), WITH_ITSELF))
    if len(nodes) in config.sizes:
        groups.append(Group(INDEPENDENT, everyone, INDEPENDENT))
    return tuple(groups)


def _reducing_group(size: int, nodes: Sequence[int], placement: str) -> Group:
    name = WORLD if size == len(nodes) else f"size-{size}"
    return Group(name, place(size, nodes, placement))


def place(size: int, nodes: Sequence[int], placement: str) -> tuple[int, ...]:
    """The ranks of a group, ascending: node by node (packed), or from the nodes in turn (spread)."""
    ranks_of_nodes: list[list[int]] = [[] for _ in range(max(nodes) + 1)]
    for rank, node in enumerate(nodes):
        ranks_of_nodes[node].append(rank)
    if placement == "packed":
        order = [rank for ranks in ranks_of_nodes for rank in ranks]
    else:
        deepest = max(map(len, ranks_of_nodes))
        order = [
            ranks[depth]
            for depth in range(deepest)
            for ranks in ranks_of_nodes
            if depth < len(ranks)
        ]
    return tuple(sorted(order[:size]))


def _turns(nodes: Sequence[int]) -> list[Group]:
    """The ranks of each node one after the other, all nodes at the same time."""
    seen: dict[int, int] = {}
    turns: list[list[int]] = []
    for rank, node in enumerate(nodes):
        turn = seen.get(node, 0)
        seen[node] = turn + 1
        if turn == len(turns):
            turns.append([])
        turns[turn].append(rank)
    return [
        Group(f"{ALONE}-turn-{turn}", tuple(ranks), ALONE)
        for turn, ranks in enumerate(turns[:MOST_TURNS])
    ]


def registered_sets(groups: Sequence[Group], world_size: int) -> list[tuple[int, ...]]:
    """The sets of ranks that Horovod must know beside the world, each once."""
    needed = [
        group.ranks
        for group in groups
        if group.role == WITH_ITSELF or (group.reduces and len(group.ranks) < world_size)
    ]
    return list(dict.fromkeys(needed))


def nodes_by_launcher(launched: LaunchedAs, placement: str) -> list[int]:
    """The node of each rank as the launcher's variables let one expect it, before Horovod starts.

    Ranks are taken to be numbered node by node, as horovodrun does, and mpirun and srun by default;
    whether they are is checked once the hosts are known. To spread a group, every rank must know how
    many ranks each node has: from its own variables alone it can, where that is the same number.
    Raises UsageError where it is not, or where the launcher does not tell.
    """
    if placement == "packed":
        return [0] * launched.size  # the first ranks, wherever a node ends
    if launched.local_size is None or launched.nodes is None:
        raise UsageError(
            f"--placement spread needs to know the nodes, which {launched.launcher} does not tell in "
            "this job's variables; use packed, or another launcher"
        )
    if launched.local_size * launched.nodes != launched.size:
        raise UsageError(
            f"--placement spread needs as many ranks on every node; here {launched.local_size} of "
            f"{launched.size} ranks are on one of {launched.nodes}; start an equal number on each"
        )
    return [rank // launched.local_size for rank in range(launched.size)]


def check_placement(
    groups: Sequence[Group], registered: Sequence[tuple[int, ...]], world_size: int
) -> None:
    """Raises UsageError unless the sets registered by expectation are those of the true nodes."""
    for ranks in registered_sets(groups, world_size):
        if ranks not in registered:
            raise UsageError(
                f"the {len(ranks)} ranks of a group should be {', '.join(map(str, ranks[:8]))} by "
                "the hosts that they are on, and other ones were registered; a study needs ranks "
                "that are numbered node by node: mpirun --map-by slot, srun --distribution=block, "
                "or horovodrun"
            )
