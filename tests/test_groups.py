from __future__ import annotations

from typing import Any

import pytest

from distbench.config import Config
from distbench.errors import UsageError
from distbench.groups import (
    Group,
    check_placement,
    nodes_by_launcher,
    nodes_of,
    place,
    plan_groups,
    registered_sets,
)
from distbench.launched import LaunchedAs

TWO_NODES = [0, 0, 0, 0, 1, 1, 1, 1]


def launched(size: int, local_size: int | None, nodes: int | None) -> LaunchedAs:
    return LaunchedAs("a launcher", 0, size, 0, local_size, nodes)


@pytest.mark.parametrize(
    ("size", "packed", "spread"),
    [
        (2, (0, 1), (0, 4)),
        (3, (0, 1, 2), (0, 1, 4)),
        (5, (0, 1, 2, 3, 4), (0, 1, 2, 4, 5)),
        (8, tuple(range(8)), tuple(range(8))),
    ],
)
def test_where_the_ranks_of_a_group_stand(
    size: int, packed: tuple[int, ...], spread: tuple[int, ...]
) -> None:
    assert place(size, TWO_NODES, "packed") == packed
    assert place(size, TWO_NODES, "spread") == spread


def test_uneven_nodes_are_filled_as_far_as_they_go() -> None:
    nodes = [0, 0, 0, 1]
    assert place(3, nodes, "packed") == (0, 1, 2)
    assert place(3, nodes, "spread") == (0, 1, 3)
    assert place(4, nodes, "spread") == (0, 1, 2, 3)


def test_a_plain_run_has_one_group() -> None:
    assert plan_groups(Config(), TWO_NODES) == (Group("world", tuple(range(8))),)


def test_the_groups_of_a_study() -> None:
    groups = plan_groups(Config(sizes=(1, 2, 8)), TWO_NODES)
    assert [(group.name, group.ranks, group.role) for group in groups] == [
        ("world", tuple(range(8)), "reducing"),
        ("size-2", (0, 1), "reducing"),
        ("alone-turn-0", (0, 4), "alone"),
        ("alone-turn-1", (1, 5), "alone"),
        ("alone-turn-2", (2, 6), "alone"),
        ("alone-turn-3", (3, 7), "alone"),
        ("with_itself", (0,), "with_itself"),
        ("independent", tuple(range(8)), "independent"),
    ]
    assert [group.size for group in groups] == [8, 2, 1, 1, 1, 1, 1, 8]
    assert [group.reduces for group in groups] == [True, True, *[False] * 6]
    assert groups[2].record_name(4) == "alone-00004"
    assert groups[6].record_name(0) == "alone-00000"
    assert groups[1].record_name(1) == "size-2"


def test_a_study_of_one_rank_is_that_rank() -> None:
    assert plan_groups(Config(sizes=(1,)), [0]) == (Group("world", (0,)),)


def test_at_most_eight_ranks_of_a_node_run_alone() -> None:
    groups = plan_groups(Config(sizes=(1,)), [0] * 12 + [1] * 2)
    turns = [group.ranks for group in groups if group.role == "alone"]
    assert turns == [(0, 12), (1, 13), (2,), (3,), (4,), (5,), (6,), (7,)]


def test_the_second_control_is_that_of_all_ranks_and_measured_only_beside_them() -> None:
    roles = {group.role for group in plan_groups(Config(sizes=(1, 2, 4)), TWO_NODES)}
    assert roles == {"reducing", "alone", "with_itself"}


def test_what_horovod_costs_is_measured_where_something_is_reduced_and_compared_with() -> None:
    def roles(**settings: Any) -> set[str]:
        return {group.role for group in plan_groups(Config(**settings), TWO_NODES)}

    assert "with_itself" in roles(sizes=(1, 2))
    assert "with_itself" not in roles(sizes=(1,))
    assert "with_itself" not in roles(sizes=(2, 4))
    assert "with_itself" not in roles(sizes=(1, 2), phases=("forward", "train_step"))


def test_only_what_is_needed_is_registered() -> None:
    groups = plan_groups(Config(sizes=(1, 2, 4, 8)), TWO_NODES)
    assert registered_sets(groups, 8) == [(0, 1, 2, 3), (0, 1), (0,)]


def test_nodes_are_numbered_by_their_first_rank() -> None:
    assert nodes_of(["b", "b", "a", "c", "a"]) == [0, 0, 1, 2, 1]


def test_what_the_launcher_lets_expect() -> None:
    assert nodes_by_launcher(launched(8, 4, 2), "spread") == TWO_NODES
    # packed takes the first ranks, wherever a node ends
    assert nodes_by_launcher(launched(8, None, None), "packed") == [0] * 8
    assert nodes_by_launcher(launched(6, 2, 3), "packed") == [0] * 6


@pytest.mark.parametrize(
    ("of_rank", "said"),
    [
        (launched(8, None, None), "a launcher does not tell"),
        (launched(8, 4, None), "a launcher does not tell"),
        # 4, 2 and 2 ranks on three nodes: as the ranks of each node see it
        (launched(8, 4, 3), "as many ranks on every node; here 4 of 8 ranks are on one of 3"),
        (launched(8, 2, 3), "as many ranks on every node; here 2 of 8 ranks are on one of 3"),
        (launched(8, 4, 1), "as many ranks on every node; here 4 of 8 ranks are on one of 1"),
    ],
)
def test_a_launch_that_cannot_be_spread_is_refused_by_every_rank(
    of_rank: LaunchedAs, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        nodes_by_launcher(of_rank, "spread")


def test_the_true_nodes_must_be_the_expected_ones() -> None:
    groups = plan_groups(Config(sizes=(2, 4), placement="spread"), [0, 0, 1, 1])
    check_placement(groups, [(0, 2), (0, 1, 2, 3)], 4)
    with pytest.raises(UsageError, match=r"mpirun --map-by slot, srun --distribution=block"):
        check_placement(groups, [(0, 1), (0, 1, 2, 3)], 4)
