"""Whether a job must end now, and why: from the time limits and from what the ranks said last.

Rank 0 judges for all. Another rank judges only where rank 0 has been lost or is silent, and a little
later than rank 0 would have.
"""

from __future__ import annotations

from dataclasses import dataclass

from distbench.errors import TimeLimitError
from distbench.worker.peers import Peers
from distbench.worker.pulse import SET_UP, Pulse
from distbench.worker.stall import Cause, Heard, cause_of_stall
from distbench.worker.time_limits import TimeLimits

LOSS_GRACE_S = 1.0  # in which a rank that fails can still say why, and the launcher end this one
TOLD_GRACE_S = 5.0  # in which the launcher ends this rank after another one failed
RANK_0_FIRST_S = 2.0  # in which rank 0 judges
LEAST_SILENCE_S = 3.0  # several beats
EXCUSED_S = 5.0  # after this rank was stopped itself: the others' silence was its own deafness


@dataclass
class Judge:
    """Judges for one rank; `has_hub` says that rank 0 is another rank, and can be heard."""

    limits: TimeLimits
    pulse: Pulse
    peers: Peers
    rank: int
    size: int
    beat_s: float  # between two signs of life of a rank
    has_hub: bool = False
    run_limit_s: float | None = None
    excused_until_s: float = float("-inf")

    def excuse(self, now_s: float) -> None:
        """This rank was frozen until now, as by SIGSTOP, and has to hear of the others first."""
        self.excused_until_s = now_s + EXCUSED_S

    def verdict(self) -> tuple[Cause, bool] | None:
        """Why the job ends now, and whether another rank tells it; None where it goes on."""
        if self.peers.order is not None:
            return self.peers.order, True
        told_s = self.peers.failed_since_s()
        if told_s is not None and told_s < TOLD_GRACE_S:
            return None
        failure = self.peers.failure(LOSS_GRACE_S)
        if failure is not None:
            return failure, told_s is not None and not failure.is_signal
        if self._now_s() < self.excused_until_s:
            return None
        late_s = RANK_0_FIRST_S + self.beat_s if self.has_hub else 0.0
        cause = self._start(late_s) if self._is_starting() else self._timing(late_s)
        return None if cause is None else (cause, False)

    def _is_starting(self) -> bool:
        return self.pulse.place.block == SET_UP

    def _start(self, late_s: float) -> Cause | None:
        limit_s = self.limits.start_timeout
        if self._now_s() - self.pulse.started_s <= limit_s + late_s:
            return None
        what = f"no step was timed within {limit_s:.0f} s of the start"
        if self.size > 1 and not self.peers.all_heard():
            return Cause(
                f"{what}: rank {self.rank} was still {self.pulse.stage}, which waits for every rank; "
                "more time is given with --start-timeout",
                TimeLimitError.exit_code,
            )
        return cause_of_stall(what, self._all(), self._silence_s(limit_s), "--start-timeout")

    def _timing(self, late_s: float) -> Cause | None:
        pulse, now_s = self.pulse, self._now_s()
        elapsed_s = now_s - pulse.started_s
        if self.run_limit_s is None and (pulse.is_warm or self.limits.deadline):
            self.run_limit_s = self.limits.run_s(elapsed_s, pulse.steps_left, pulse.slowest_step_s)
        if self.run_limit_s is not None and elapsed_s > self.run_limit_s + late_s:
            return Cause(
                f"the run did not end within {self.run_limit_s:.0f} s, but was in {pulse.stage}; "
                "more time is given with --deadline",
                TimeLimitError.exit_code,
            )
        limit_s = self.limits.start_timeout
        if pulse.is_timing:
            limit_s = self.limits.step_s(pulse.slowest_step_s, pulse.is_warm)
        rank_0 = self.peers.all_heard().get(0)
        if rank_0 is not None and self.has_hub:
            stalled = rank_0.silent_s > limit_s + late_s
        else:
            stalled = now_s - max(pulse.moved_s, self.peers.last_move_s()) > limit_s
        if not stalled:
            return None
        what = f"no rank moved for {limit_s:.0f} s"
        setting = "--step-timeout" if pulse.is_timing else "--start-timeout"
        return cause_of_stall(what, self._all(), self._silence_s(limit_s), setting)

    def _all(self) -> dict[int, Heard]:
        own = Heard(self.pulse.standing(), 0.0)
        return dict(sorted({self.rank: own, **self.peers.all_heard()}.items()))

    def _silence_s(self, limit_s: float) -> float:
        """How long a rank must have been silent to be called frozen."""
        return max(LEAST_SILENCE_S, 3 * self.beat_s, limit_s / 2)

    def _now_s(self) -> float:
        return self.pulse.clock_s()
