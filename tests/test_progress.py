from __future__ import annotations

import io
from typing import Any

import pytest

from distbench.groups import Group
from distbench.plan import PlannedBlock
from distbench.worker.progress import Progress
from tests.fakes import MS, FakeClock

ALL = Group("world", (0, 1))
PLAN = [
    PlannedBlock("forward", ALL, 0, 5, warmup=True),
    PlannedBlock("forward", ALL, 1, 20, warmup=False),
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_every_ten_steps_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    progress = Progress(stream, FakeClock(), PLAN)
    for block in PLAN:
        for _ in range(block.steps):
            progress.step(block, 2 * MS)
        progress.block_done()
    assert stream.getvalue().splitlines() == [
        f"distbench: step {done} of 25, forward, block 1, latest step 2.000 ms"
        for done in (10, 20, 25)
    ]


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_inside_a_block_nothing_is_printed_more_often_than_every_two_seconds(stream: Any) -> None:
    clock = FakeClock()
    progress = Progress(stream, clock, PLAN)
    shown = []
    for _ in range(20):
        clock.advance(150 * MS)
        progress.step(PLAN[1], 150 * MS)
        shown.append(len(stream.getvalue()))
    assert shown[:13] == [0] * 13  # not before 2 s
    assert shown[13] > 0
    assert len(set(shown)) == 2


def test_one_line_that_updates_five_times_a_second_on_a_terminal() -> None:
    stream, clock = Terminal(), FakeClock()
    progress = Progress(stream, clock, PLAN)
    for _ in range(4):
        clock.advance(100 * MS)
        progress.step(PLAN[0], MS)
        progress.block_done()
    shown = stream.getvalue()
    assert shown.count("\r") == 2
    assert "\n" not in shown
    assert "step 2 of 25, forward, warm-up, latest step 1.000 ms" in shown
    assert "step 4 of 25" in shown


def test_a_message_stays_and_clears_the_line() -> None:
    stream = Terminal()
    progress = Progress(stream, FakeClock(), PLAN)
    progress.say("checking")
    assert stream.getvalue() == "\r\x1b[Kdistbench: checking\n"


def test_blocks_of_other_ranks_count_too() -> None:
    stream = io.StringIO()
    others = PlannedBlock("train_step", Group("size-2", (2, 3)), 4, 20, warmup=False)
    progress = Progress(stream, FakeClock(), [PLAN[0], others])
    progress.waited(others)
    progress.block_done()
    assert stream.getvalue() == "distbench: step 20 of 25, train_step of size-2, block 4\n"
