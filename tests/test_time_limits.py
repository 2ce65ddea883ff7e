from __future__ import annotations

from distbench.worker.time_limits import TimeLimits

DERIVED = TimeLimits(start_timeout=900.0, step_timeout=0.0, deadline=0.0)


def test_a_step_of_the_warm_up_may_take_as_long_as_the_start() -> None:
    assert DERIVED.step_s(slowest_step_s=100.0, is_warm=False) == 900.0


def test_later_steps_are_measured_by_the_slowest_so_far() -> None:
    assert DERIVED.step_s(slowest_step_s=0.1, is_warm=True) == 60.0
    assert DERIVED.step_s(slowest_step_s=8.0, is_warm=True) == 160.0


def test_the_run_may_take_five_times_what_the_warm_up_promises() -> None:
    assert DERIVED.run_s(elapsed_s=50.0, steps_left=1000, slowest_step_s=2.0) == 10_050.0
    assert DERIVED.run_s(elapsed_s=50.0, steps_left=10, slowest_step_s=0.1) == 650.0


def test_what_the_user_gave_holds() -> None:
    given = TimeLimits(start_timeout=900.0, step_timeout=7.0, deadline=30.0)
    assert given.step_s(slowest_step_s=100.0, is_warm=False) == 7.0
    assert given.step_s(slowest_step_s=100.0, is_warm=True) == 7.0
    assert given.run_s(elapsed_s=50.0, steps_left=1000, slowest_step_s=2.0) == 30.0
