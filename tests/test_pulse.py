from __future__ import annotations

import threading
import time

from distbench.worker.pulse import AFTER_BLOCK, BEFORE_BLOCK, IN_STEPS, SET_UP, Place, Pulse


def test_places_follow_the_work_and_can_be_compared() -> None:
    pulse = Pulse()
    assert pulse.place.block == SET_UP
    pulse.enter("building the graph")
    places = [pulse.place]
    pulse.enter_block(0, "forward, warm-up")
    places.append(pulse.place)
    pulse.meet()
    places.append(pulse.place)
    pulse.begin_steps()
    places.append(pulse.place)
    pulse.step_done(0, 1_500_000_000)
    places.append(pulse.place)
    pulse.end_steps()
    places.append(pulse.place)
    assert places == [
        Place(SET_UP, BEFORE_BLOCK, 1),
        Place(0, BEFORE_BLOCK, 0),
        Place(0, BEFORE_BLOCK, 1),
        Place(0, IN_STEPS, 0),
        Place(0, IN_STEPS, 1),
        Place(0, AFTER_BLOCK, 0),
    ]
    assert places == sorted(places)
    assert pulse.slowest_step_s == 1.5


def test_it_notes_when_it_moved_last() -> None:
    now = [10.0]
    pulse = Pulse(lambda: now[0])
    now[0] = 12.0
    pulse.enter("preflight")
    now[0] = 20.0
    assert (pulse.started_s, pulse.moved_s) == (10.0, 12.0)


def test_what_comes_after_the_blocks_is_no_timing() -> None:
    pulse = Pulse()
    pulse.enter_block(0, "forward")
    assert pulse.is_timing
    pulse.warm_up_is_done(40)
    assert (pulse.is_warm, pulse.steps_left) == (True, 40)
    pulse.enter("the last checks")
    assert not pulse.is_timing


def test_another_thread_sees_where_the_main_thread_stands() -> None:
    pulse = Pulse()
    found = []

    def look() -> None:
        found.append(pulse.standing())

    thread = threading.Thread(target=look)
    thread.start()
    while thread.is_alive():
        time.sleep(0.001)
    (standing,) = found
    assert standing.code.startswith(("test_pulse.py:", "threading.py:"))
    assert standing.is_waiting  # this file is none of distbench's own
    assert standing.stage == "starting"


def test_time_is_told_apart_without_the_place() -> None:
    """Ranks outside of a group do not do what its ranks do, and are not behind for that."""
    now = [0.0]
    pulse = Pulse(lambda: now[0])
    pulse.enter("preflight")
    place = pulse.place
    now[0] = 3.0
    pulse.spend("first calls")
    assert pulse.place == place
    assert pulse.stage == "preflight"
    assert pulse.stages[-2:] == [("preflight", 0.0), ("first calls", 3.0)]
    pulse.warm_up_is_done(1)
    pulse.spend("first calls")
    assert pulse.stages[-1][0] == "timing"
