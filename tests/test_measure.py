from __future__ import annotations

from distbench.worker.measure import clock_resolution_ns, time_block
from tests.fakes import MS, FakeClock


class FakeDevice:
    """Work is queued at once and takes its time only when somebody waits for the device."""

    def __init__(self, clock: FakeClock, work_ns: int) -> None:
        self._clock, self._work_ns = clock, work_ns
        self._queued_ns = 0

    def step(self) -> str:
        self._clock.advance(100)  # the time to queue it
        self._queued_ns += self._work_ns
        return "result"

    def synchronise(self) -> None:
        self._clock.advance(self._queued_ns)
        self._queued_ns = 0


def test_a_step_is_timed_until_the_device_is_done() -> None:
    clock = FakeClock()
    device = FakeDevice(clock, 50 * MS)
    times = time_block(device.step, device.synchronise, clock, 3)
    assert times.duration_ns == [50 * MS + 100] * 3


def test_work_queued_before_a_block_is_not_charged_to_it() -> None:
    clock = FakeClock()
    device = FakeDevice(clock, 50 * MS)
    device.step()
    assert time_block(device.step, device.synchronise, clock, 1).duration_ns == [50 * MS + 100]


def test_what_happens_after_a_step_is_outside_of_every_interval() -> None:
    clock = FakeClock()
    device = FakeDevice(clock, MS)
    told: list[tuple[int, int]] = []

    def report(index: int, duration_ns: int) -> None:
        told.append((index, duration_ns))
        clock.advance(1000 * MS)

    times = time_block(device.step, device.synchronise, clock, 2, after_step=report)
    assert times.duration_ns == [MS + 100] * 2
    assert times.start_ns[1] - times.start_ns[0] == 1001 * MS + 100
    assert told == [(0, MS + 100), (1, MS + 100)]


def test_one_result_at_a_time_is_kept() -> None:
    alive: list[int] = []

    class Result:
        def __init__(self) -> None:
            alive.append(1)

        def __del__(self) -> None:
            alive.pop()

    counts: list[int] = []
    time_block(
        Result,
        lambda: None,
        FakeClock(),
        3,
        after_step=lambda index, duration_ns: counts.append(len(alive)),
    )
    assert counts == [0, 0, 0]


def test_clock_resolution() -> None:
    clock = FakeClock()

    def ticking() -> int:
        clock.advance(7)
        return clock.now_ns

    assert clock_resolution_ns(ticking) == 7
    assert clock_resolution_ns(FakeClock()) == 0
