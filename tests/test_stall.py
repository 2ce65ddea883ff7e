from __future__ import annotations

from distbench.worker.pulse import Place, Standing
from distbench.worker.stall import Cause, Heard, cause_of_loss, cause_of_stall, named

AT_STEP_5 = Place(3, 1, 5)
WHAT = "no rank moved for 60 s"


def heard(
    place: Place = AT_STEP_5,
    waits: bool = True,
    silent_s: float = 0.2,
    code: str = "world.py:1 in f",
) -> Heard:
    return Heard(Standing(place, "train_step, block 2", code, waits), silent_s)


def stall(ranks: dict[int, Heard]) -> Cause:
    return cause_of_stall(WHAT, ranks, 30.0, "--step-timeout")


def test_a_silent_rank_is_frozen_whatever_the_others_do() -> None:
    cause = stall({0: heard(), 1: heard(silent_s=61.0), 2: heard(waits=False)})
    assert cause.sentence == (
        "no rank moved for 60 s: rank 1 is frozen (no sign of life from its process for 61.0 s): see "
        "whether the process is stopped or its node is down; more time is given with --step-timeout"
    )
    assert (cause.exit_code, cause.ranks, cause.error) == (5, (1,), "TimeLimitError")


def test_a_rank_that_never_spoke_is_frozen_too() -> None:
    assert stall({0: heard(), 3: Heard(None, 99.0)}).ranks == (3,)


def test_the_rank_that_is_behind_holds_the_others_up() -> None:
    waiting_for_it = heard(Place(3, 2, 0))
    cause = stall({0: waiting_for_it, 1: heard(code="faults.py:9 in f"), 2: waiting_for_it})
    assert cause.ranks == (1,)
    assert "the others wait for rank 1, which stands at faults.py:9 in f in train_step" in (
        cause.sentence
    )


def test_a_rank_that_does_not_get_ready_for_a_block_is_behind_those_that_wait_for_it() -> None:
    """It may hang in TensorFlow, which looks like waiting."""
    ready, unready = heard(Place(3, 0, 1)), heard(Place(3, 0, 0), code="ops.py:1 in call")
    assert stall({0: ready, 1: unready, 2: ready}).ranks == (1,)


def test_of_ranks_that_came_as_far_the_one_that_does_not_wait_is_named() -> None:
    cause = stall({0: heard(), 1: heard(), 2: heard(waits=False, code="device.py:3 in g")})
    assert cause.ranks == (2,)


def test_ranks_that_all_wait_wait_for_the_network_or_a_device() -> None:
    cause = stall({0: heard(), 1: heard()})
    assert cause.ranks == ()
    assert "all 2 ranks wait in train_step, block 2: a collective or the device" in cause.sentence


def test_a_lone_rank_is_told_where_it_stands() -> None:
    assert stall({0: heard(waits=False, code="replica.py:7 in h")}).ranks == (0,)
    assert stall({0: heard()}).ranks == ()


def test_a_lost_rank_is_named_with_what_it_did_last() -> None:
    cause = cause_of_loss(2, "forward, block 1")
    assert cause.sentence.startswith("rank 2 was lost (last heard of in forward, block 1): its ")
    assert (cause.exit_code, cause.ranks, cause.is_signal) == (4, (2,), False)
    assert cause_of_loss(2, "").sentence.startswith("rank 2 was lost: its process")


def test_ranks_are_named_until_there_are_too_many() -> None:
    assert named([3]) == "rank 3"
    assert named([1, 2, 5]) == "ranks 1, 2 and 5"
    assert named(range(11)) == "ranks 0, 1, 2, 3, 4, 5, 6, 7 and 3 more"
