from __future__ import annotations

import builtins
from types import SimpleNamespace
from typing import Any

import pytest

from distbench.errors import CorrectnessError, MissingPartError, RankFailedError, UsageError
from distbench.launched import ALONE, LaunchedAs
from distbench.worker import world
from tests.fakes import FakeWorld, on_every_rank


def test_gather_brings_every_ranks_bytes_to_rank_0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "EXCHANGE_LIMIT_BYTES", 12)  # four bytes of each of three ranks
    sent = [b"", b"abc", bytes(range(256)) * 3]
    received = on_every_rank(3, lambda one: one.gather_bytes(sent[one.rank]))
    assert received == [sent, None, None]


def test_allgather_json() -> None:
    received = on_every_rank(2, lambda one: one.allgather_json({"rank": one.rank}))
    assert received == [[{"rank": 0}, {"rank": 1}]] * 2


def test_an_error_of_one_rank_is_raised_on_all_with_its_rank() -> None:
    def body(one: FakeWorld) -> None:
        def action() -> None:
            if one.rank == 1:
                raise UsageError("the sky is green")

        one.together(action)

    found = on_every_rank(3, body)
    assert [type(error) for error in found] == [UsageError] * 3
    assert {error.sentence for error in found} == {"rank 1: the sky is green"}
    assert all(error.on_every_rank for error in found)


def test_an_error_of_all_ranks_names_none() -> None:
    def fail() -> None:
        raise UsageError("the sky is green")

    found = on_every_rank(2, lambda one: one.together(fail))
    assert {error.sentence for error in found} == {"the sky is green"}


def test_a_bug_on_one_rank_is_an_error_on_all() -> None:
    def body(one: FakeWorld) -> None:
        one.together(lambda: 1 // (1 - one.rank))

    found = on_every_rank(2, body)
    assert {str(error) for error in found} == {
        "rank 1: ZeroDivisionError: integer division or modulo by zero (exit code 4)"
    }


def test_together_returns_what_the_action_returned() -> None:
    assert on_every_rank(2, lambda one: one.together(lambda: one.rank)) == [0, 1]


def test_where_the_others_may_wait_in_a_collective_a_foreign_error_is_raised_alone() -> None:
    def alone() -> None:
        raise MemoryError("no room")

    def agreed() -> None:
        raise CorrectnessError("wrong")

    world = FakeWorld(0, 1)
    with pytest.raises(MemoryError):
        world.together(alone, holds_collectives=True)
    with pytest.raises(RankFailedError, match="MemoryError: no room"):
        world.together(alone)
    with pytest.raises(CorrectnessError):  # found when the collective was over
        world.together(agreed, holds_collectives=True)


def test_fewer_ranks_than_were_started_is_refused() -> None:
    world.check_size(ALONE, 1)
    world.check_size(LaunchedAs("Open MPI", 1, 2), 2)
    with pytest.raises(MissingPartError, match="Open MPI started 2 ranks, but Horovod sees 1"):
        world.check_size(LaunchedAs("Open MPI", 1, 2), 1)


def test_a_horovod_that_does_not_start_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(process_sets: list[Any]) -> None:
        raise ValueError("no controller")

    monkeypatch.setenv("OMPI_MCA_ess_singleton_isolated", "1")
    with pytest.raises(MissingPartError, match=r"Horovod cannot start \(no controller\)"):
        world.open_world(SimpleNamespace(init=init), ALONE)


@pytest.mark.parametrize("problem", [ImportError, OSError, RuntimeError])
@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("tensorflow", "TensorFlow cannot be imported"),
        ("horovod.tensorflow", "Horovod cannot be imported with TensorFlow"),
    ],
)
def test_a_missing_package_is_named(
    monkeypatch: pytest.MonkeyPatch, missing: str, said: str, problem: type[Exception]
) -> None:
    real_import = builtins.__import__

    def refuse(name: str, *arguments: Any, **more: Any) -> Any:
        if name == missing:
            raise problem("not built.\nsecond line")
        if name == "tensorflow":
            return SimpleNamespace()
        return real_import(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingPartError) as caught:
        world.import_horovod()
    assert said in caught.value.sentence
    assert "second line" not in caught.value.sentence
    assert caught.value.exit_code == 8
