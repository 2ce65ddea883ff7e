from __future__ import annotations

import pytest

from distbench.worker.judge import Judge
from distbench.worker.peers import Peers
from distbench.worker.pulse import Pulse
from distbench.worker.time_limits import TimeLimits

LIMITS = TimeLimits(start_timeout=300.0, step_timeout=0.0, deadline=0.0)
BEAT_S = 0.5


class Job:
    """One rank's judge with a clock that the test turns on."""

    def __init__(self, rank: int = 0, size: int = 3, limits: TimeLimits = LIMITS) -> None:
        self.now_s = 0.0
        self.pulse = Pulse(lambda: self.now_s)
        self.peers = Peers(lambda: self.now_s)
        self.judge = Judge(limits, self.pulse, self.peers, rank, size, BEAT_S, has_hub=rank != 0)
        self.peers.expect([0] if rank else range(1, size))

    def beat(self, rank: int, block: int, step: int = 0) -> None:
        self.peers.hear(rank, {"beat": [[block, 1, step], "train_step", "world.py:1 in f", True]})

    def warm(self, slowest_step_s: float = 0.1, steps: int = 100) -> None:
        self.pulse.enter_block(0, "train_step, warm-up")
        self.pulse.step_done(0, round(slowest_step_s * 1e9))
        self.pulse.warm_up_is_done(steps)

    def verdict_after(self, now_s: float) -> str | None:
        self.now_s = now_s
        found = self.judge.verdict()
        return None if found is None else found[0].sentence


def test_a_start_that_takes_too_long_is_ended() -> None:
    job = Job()
    job.beat(1, -1)
    assert job.verdict_after(300.0) is None
    job.beat(1, -1)
    said = job.verdict_after(300.5)
    assert said is not None
    assert said.startswith("no step was timed within 300 s of the start: rank 2 is frozen")
    assert said.endswith("more time is given with --start-timeout")


def test_before_the_ranks_can_talk_each_ends_alone_and_says_where_it_was() -> None:
    job = Job()
    job.peers.expect([])
    job.pulse.enter("starting Horovod")
    assert job.verdict_after(301.0) == (
        "no step was timed within 300 s of the start: rank 0 was still starting Horovod, which waits "
        "for every rank; more time is given with --start-timeout"
    )


def test_a_rank_goes_by_its_own_moves_once_rank_0_has_left() -> None:
    job = Job(rank=1, size=2)
    job.beat(0, 3)
    job.warm()
    job.peers.hear(0, {"bye": True})
    assert job.verdict_after(59.0) is None
    said = job.verdict_after(61.0)
    assert said is not None
    assert said.startswith("no rank moved for 60 s")


def test_the_job_stalls_only_where_no_rank_moves() -> None:
    job = Job()
    job.warm()
    for now_s in range(1, 200):
        job.now_s = float(now_s)
        job.beat(1, 0, step=now_s)  # rank 1 goes on, so that rank 0 rightly waits
        job.beat(2, 0)
        assert job.judge.verdict() is None
    for now_s in range(200, 260):
        job.now_s = float(now_s)
        job.beat(1, 0, step=199)
        job.beat(2, 0)
        if now_s < 259:
            assert job.judge.verdict() is None
    said = job.verdict_after(260.0)
    assert said is not None
    assert said.startswith("no rank moved for 60 s: the others wait for rank 2")  # it did no step


def test_a_rank_that_was_stopped_itself_hears_of_the_others_before_it_judges_them() -> None:
    """mpirun lets a stopped rank go on before it ends it, which must not accuse the others then."""
    job = Job()
    job.warm()
    job.beat(1, 0)
    job.beat(2, 0)
    job.now_s = 500.0
    job.judge.excuse(500.0)
    assert job.verdict_after(504.9) is None
    said = job.verdict_after(505.1)
    assert said is not None
    assert "ranks 1 and 2 are frozen" in said


def test_the_limit_follows_the_slowest_step() -> None:
    job = Job(size=1)
    job.warm(slowest_step_s=10.0)
    assert job.verdict_after(200.0) is None
    assert job.verdict_after(200.5) is not None


def test_the_last_part_may_take_as_long_as_the_start() -> None:
    job = Job(size=1)
    job.warm()
    job.now_s = 50.0
    job.pulse.enter("gathering the records")
    assert job.verdict_after(349.0) is None
    said = job.verdict_after(351.0)
    assert said is not None
    assert "no rank moved for 300 s" in said
    assert said.endswith("--start-timeout")


def test_the_whole_run_has_a_limit() -> None:
    job = Job(size=1, limits=TimeLimits(300.0, 0.0, deadline=90.0))
    job.warm()
    for now_s in range(1, 91):
        job.pulse.step_done(0, 1)
        assert job.verdict_after(float(now_s)) is None
    said = job.verdict_after(91.0)
    assert said == (
        "the run did not end within 90 s, but was in train_step, warm-up; more time is given with "
        "--deadline"
    )


def test_another_rank_judges_rank_0_only_and_later() -> None:
    job = Job(rank=2)
    job.warm()
    job.now_s = 50.0
    job.beat(0, 0)
    job.now_s = 112.0
    assert job.judge.verdict() is None  # 62 s without a word: rank 0 would judge by itself first
    said = job.verdict_after(113.0)
    assert said is not None
    assert "rank 0 is frozen" in said


def test_a_rank_whose_rank_0_lives_leaves_stalls_to_it() -> None:
    job = Job(rank=2)
    job.warm()
    for now_s in range(1, 400):
        job.now_s = float(now_s)
        job.beat(0, 0)
        assert job.judge.verdict() is None


def test_a_loss_ends_the_job_after_a_moment() -> None:
    job = Job()
    job.warm()
    job.now_s = 10.0
    job.peers.lose(2)
    assert job.verdict_after(10.5) is None
    said = job.verdict_after(11.1)
    assert said is not None
    assert said.startswith("rank 2 was lost")


@pytest.mark.parametrize(
    ("code", "error", "echo"), [(4, "RankFailedError", True), (143, "SIGTERM", False)]
)
def test_a_failure_that_was_told_ends_the_job_if_the_launcher_does_not(
    code: int, error: str, echo: bool
) -> None:
    job = Job()
    job.warm()
    job.now_s = 10.0
    job.peers.hear(1, {"failed": ["said", code, [1], error]})
    job.peers.lose(1)
    assert job.verdict_after(14.0) is None
    job.now_s = 15.5
    found = job.judge.verdict()
    assert found is not None
    assert (found[0].sentence, found[0].exit_code, found[1]) == ("said", code, echo)


def test_an_order_of_rank_0_is_followed_at_once() -> None:
    job = Job(rank=1)
    job.peers.hear(0, {"end": ["ended", 5, [2], "TimeLimitError"]})
    found = job.judge.verdict()
    assert found is not None
    assert (found[0].sentence, found[1]) == ("ended", True)
