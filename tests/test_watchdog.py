from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest

from distbench.errors import OutputError
from distbench.worker import watchdog
from distbench.worker.pulse import Pulse
from distbench.worker.stall import Cause, cause_of_loss
from distbench.worker.time_limits import TimeLimits
from distbench.worker.watchdog import Watchdog

LIMITS = TimeLimits(start_timeout=900.0, step_timeout=0.0, deadline=0.0)
SOON_S = 20.0


class Left(Exception):
    """Stands for the end of the process; the watching thread ends by it."""


class Rank:
    """A watch in this process whose exit is only noted."""

    def __init__(self, rank: int, size: int, limits: TimeLimits = LIMITS) -> None:
        self.codes: list[int] = []
        self.said: list[tuple[Cause, bool]] = []
        self.has_left = threading.Event()
        self.pulse = Pulse()
        self.watch = Watchdog(rank, size, limits, self.pulse, self._note, self._leave)
        self.watch._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        with contextlib.suppress(Left):
            self.watch._watch()

    def _note(self, cause: Cause, is_echo: bool) -> None:
        self.said.append((cause, is_echo))

    def _leave(self, code: int) -> NoReturn:
        self.codes.append(code)
        self.has_left.set()
        raise Left

    def wait(self) -> None:
        assert self.has_left.wait(SOON_S)


@pytest.fixture
def ranks(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Rank]]:
    monkeypatch.setattr(watchdog, "BEAT_S", 0.05)
    found: list[Rank] = []
    yield found
    for rank in reversed(found):
        rank.watch.stop()


def job(ranks: list[Rank], size: int, **changes: Any) -> list[Rank]:
    """Ranks that know each other; signals belong to the first, as the main thread's."""
    ranks += [Rank(rank, size, **changes) for rank in range(size)]
    contact = ranks[0].watch.open_hub(is_one_host=True)
    for rank in ranks[1:]:
        assert rank.watch.join_hub(contact) == ""
    for rank in reversed(ranks):
        rank.watch.start()
    return ranks


def test_a_rank_that_fails_is_heard_of_and_its_error_is_no_loss(ranks: list[Rank]) -> None:
    first, second = job(ranks, 2)
    second.watch.tell_failure(OutputError("no room"))
    cause = first.watch.others_failure()
    assert cause == Cause("no room", 9, (1,), "OutputError")


def test_a_rank_that_is_gone_ends_all_others(
    ranks: list[Rank], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = job(ranks, 3)
    time.sleep(0.3)  # some beats
    assert second.watch._line is not None
    second.watch._line.close()
    first.wait()
    third.wait()
    (cause, is_echo), (told, third_is_echo) = first.said[0], third.said[0]
    assert cause.sentence.startswith("rank 1 was lost")
    assert (is_echo, third_is_echo, told) == (False, True, cause)
    assert first.codes == third.codes == [4]


def test_a_farewell_is_no_loss(ranks: list[Rank]) -> None:
    first, second = job(ranks, 2)
    second.watch.leave(0)
    time.sleep(0.3)
    assert second.watch._line is not None
    second.watch._line.close()
    time.sleep(1.5)
    assert first.codes == []
    assert first.watch.others_failure() is None


def test_a_stall_is_judged_by_rank_0_and_ends_all(ranks: list[Rank]) -> None:
    first, second = job(ranks, 2, limits=TimeLimits(900.0, 0.4, 0.0))
    for rank in ranks:
        rank.pulse.enter_block(0, "train_step, block 0")
    first.pulse.begin_steps()
    first.wait()
    second.wait()
    assert first.codes == second.codes == [5]
    assert first.said[0][0].ranks == (1,)
    assert second.said[0][1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_ends_the_rank_with_the_shells_code(ranks: list[Rank], number: int) -> None:
    ranks.append(Rank(0, 1))
    ranks[0].watch.start()
    os.kill(os.getpid(), number)
    ranks[0].wait()
    assert ranks[0].codes == [128 + number]
    (cause, is_echo) = ranks[0].said[0]
    assert cause.sentence.startswith(f"rank 0 received {signal.Signals(number).name} in starting")
    assert not is_echo


@pytest.mark.parametrize(
    ("failure", "is_echo"),
    [
        (Cause("rank 1 failed with ValueError: x", 4, (1,), "RankFailedError"), True),
        (Cause("rank 1 received SIGTERM", 143, (1,), "SIGTERM"), False),
        (cause_of_loss(1, ""), False),
    ],
)
def test_a_launchers_signal_after_a_failure_is_told_by_whoever_can(
    ranks: list[Rank], failure: Cause, is_echo: bool
) -> None:
    """mpirun signals the others at once; a rank that failed by itself has told why, others cannot."""
    ranks.append(Rank(0, 2))
    watch = ranks[0].watch
    watch.peers.expect([1])
    watch.peers.hear(1, {"failed": list(failure)})
    watch.start()
    os.kill(os.getpid(), signal.SIGTERM)
    ranks[0].wait()
    assert ranks[0].said[0] == (failure, is_echo)


def test_a_watch_that_was_stopped_notices(ranks: list[Rank]) -> None:
    ranks.append(Rank(0, 1))
    watch = ranks[0].watch
    watch.turn(0.0)
    assert watch.judge.excused_until_s < 0
    watch._turned_s -= 60.0
    watch.turn(0.0)
    assert watch.judge.excused_until_s > watch.pulse.clock_s()


def test_last_words_that_hang_do_not_hold_the_exit_up(
    ranks: list[Rank], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "LAST_RESORT_S", 0.1)
    rank = Rank(0, 1)
    ranks.append(rank)
    codes: list[int] = []
    left = threading.Event()

    def leave(code: int) -> Any:
        codes.append(code)
        left.set()

    rank.watch._leave = leave
    slow = threading.Event()
    rank.watch.last_words = lambda cause, is_echo: slow.wait(SOON_S) and None
    ending = threading.Thread(target=rank.watch.end, args=(Cause("x", 5), False))
    ending.start()
    assert left.wait(SOON_S)
    assert codes == [5]
    slow.set()
    ending.join()


def test_a_farewell_that_never_ends_is_ended(
    ranks: list[Rank], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "LEAVING_LIMIT_S", 0.1)
    ranks.append(Rank(0, 1))
    ranks[0].watch.start()
    ranks[0].watch.leave(9)
    ranks[0].wait()
    assert ranks[0].codes == [9]
    assert ranks[0].said == []


def test_a_rank_whose_launcher_is_gone_ends(
    ranks: list[Rank], monkeypatch: pytest.MonkeyPatch
) -> None:
    ranks.append(Rank(0, 1))
    monkeypatch.setattr(os, "getppid", lambda: 1)
    ranks[0].watch._parent = 4321
    ranks[0].watch.start()
    ranks[0].wait()
    assert ranks[0].said[0][0].sentence == "the launcher is gone, so that every rank ends"
    assert ranks[0].codes == [4]


def test_rank_0_of_many_is_not_flooded() -> None:
    watch = Rank(0, 4096).watch
    assert 4096 / watch.beat_s <= 200
    watch._selector.close()
    watch._signals.remove()
