from __future__ import annotations

from typing import Any

from distbench.errors import CorrectnessError
from distbench.worker.members import Members
from tests.fakes import FakeWorld, on_every_rank


def test_a_rank_knows_its_place_or_that_it_has_none() -> None:
    members = [Members(FakeWorld(rank, 4), (1, 3)) for rank in range(4)]
    assert [one.index for one in members] == [None, 0, None, 1]
    assert {one.size for one in members} == {2}


def test_only_members_act_and_only_their_values_count() -> None:
    def body(world: FakeWorld) -> Any:
        members = Members(world, (0, 2))
        return members.together(lambda: world.rank * 10), members.allgather_json(world.rank)

    assert on_every_rank(3, body) == [(0, [0, 2]), (None, [0, 2]), (20, [0, 2])]


def test_an_error_of_a_member_reaches_every_rank() -> None:
    def body(world: FakeWorld) -> None:
        def fail() -> None:
            if world.rank == 1:
                raise CorrectnessError("wrong work")

        Members(world, (0, 1)).together(fail)

    found = on_every_rank(3, body)
    assert {type(error) for error in found} == {CorrectnessError}
    assert {error.sentence for error in found} == {"rank 1: wrong work"}
    assert all(error.on_every_rank for error in found)
