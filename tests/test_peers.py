from __future__ import annotations

import threading
import time

import pytest

from distbench.worker.peers import Peers
from distbench.worker.stall import Cause


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def peers(clock: Clock) -> Peers:
    found = Peers(clock)
    found.expect([1, 2, 3])
    return found


def beat(block: int, step: int = 0) -> dict[str, object]:
    return {"beat": [[block, 1, step], f"block {block}", "a.py:1 in f", True]}


def failed(sentence: str, code: int = 4, error: str = "RankFailedError") -> dict[str, object]:
    return {"failed": [sentence, code, [1], error]}


def test_only_what_changes_is_a_move(peers: Peers, clock: Clock) -> None:
    peers.hear(1, beat(0))
    clock.now_s = 110.0
    peers.hear(1, beat(0))
    peers.hear(2, beat(0))
    assert peers.last_move_s() == 110.0  # rank 2's first place
    clock.now_s = 115.0
    peers.hear(2, beat(0, step=1))
    assert peers.last_move_s() == 115.0
    heard = peers.all_heard()
    assert {rank: one.silent_s for rank, one in heard.items()} == {1: 5.0, 2: 0.0, 3: 15.0}
    assert heard[3].standing is None


def test_the_first_failure_counts(peers: Peers, clock: Clock) -> None:
    peers.hear(2, failed("first"))
    clock.now_s += 1
    peers.hear(1, failed("second"))
    clock.now_s += 1
    found = peers.failure()
    assert found is not None
    assert found.sentence == "first"
    assert peers.failed_since_s() == 2.0


def test_a_loss_comes_before_the_signals_that_follow_it(peers: Peers, clock: Clock) -> None:
    peers.hear(3, failed("rank 3 received SIGTERM", 143, "SIGTERM"))
    clock.now_s += 0.1
    peers.hear(2, beat(4))
    peers.lose(2)
    found = peers.failure()
    assert found is not None
    assert found.sentence.startswith("rank 2 was lost (last heard of in block 4)")
    assert peers.failure(loss_grace_s=0.5) == Cause("rank 3 received SIGTERM", 143, (1,), "SIGTERM")


def test_who_said_farewell_or_why_is_not_lost(peers: Peers) -> None:
    peers.hear(1, {"bye": True})
    peers.lose(1)
    assert peers.failure() is None
    assert 1 not in peers.all_heard()
    peers.hear(2, failed("said"))
    peers.lose(2)
    assert peers.failure() == Cause("said", 4, (1,), "RankFailedError")


def test_only_rank_0_gives_orders() -> None:
    peers = Peers(time.monotonic)
    peers.expect([0])
    peers.hear(0, {"end": ["all end", 5, [], "TimeLimitError"]})
    assert peers.order == peers.failure() == Cause("all end", 5)
    others = Peers(time.monotonic)
    others.expect([1])
    with pytest.raises(ValueError, match="no message of ours"):
        others.hear(1, {"end": ["all end", 5, [], "TimeLimitError"]})


@pytest.mark.parametrize(
    "message", [{}, {"beat": 3}, {"beat": [[1], "", "", True]}, {"failed": []}]
)
def test_nonsense_is_refused(peers: Peers, message: dict[str, object]) -> None:
    with pytest.raises((ValueError, TypeError)):
        peers.hear(1, message)


def test_a_rank_that_nobody_expects_is_refused(peers: Peers) -> None:
    peers.forget([3, 9])
    with pytest.raises(ValueError, match="rank 3 is not expected"):
        peers.hear(3, beat(0))


def test_a_failure_is_waited_for_and_no_longer() -> None:
    peers = Peers(time.monotonic)
    peers.expect([1])
    assert peers.wait_for_failure(0.01) is None
    later = threading.Timer(0.05, peers.hear, [1, failed("at last")])
    later.start()
    found = peers.wait_for_failure(30.0)
    later.join()
    assert found is not None
    assert found.sentence == "at last"
