from __future__ import annotations

import io

import pytest

from distbench.report.report_progress import LINE_EVERY_S, QUIET_S, ReportProgress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_short_report_says_nothing(clock: Clock) -> None:
    stream = Terminal()
    progress = ReportProgress(stream, clock)
    for done in range(100):
        progress("reading records: ranks", done, 100)
    clock.now_s += 0.99 * QUIET_S
    progress("tables")
    progress.finish()
    assert stream.getvalue() == ""


def test_a_terminal_has_one_line_that_updates_and_goes(clock: Clock) -> None:
    stream = Terminal()
    progress = ReportProgress(stream, clock)
    for done in (1, 2, 3):
        clock.now_s += QUIET_S
        progress("reading records: ranks", done, 9)
        progress("reading records: ranks", done + 3, 9)  # too soon after the last
    progress.finish()
    lines = [f"\r\x1b[Kdistbench: reading records: ranks {done} of 9" for done in (1, 2, 3)]
    assert stream.getvalue() == "".join(lines) + "\r\x1b[K"
    assert "\n" not in stream.getvalue()


def test_elsewhere_few_lines_stay(clock: Clock) -> None:
    stream = io.StringIO()
    progress = ReportProgress(stream, clock)
    for done in range(120):
        clock.now_s += 0.5
        progress("reading records: ranks", done, 120)
    progress.finish()
    lines = stream.getvalue().splitlines()
    assert lines[0] == f"distbench: reading records: ranks {round(QUIET_S / 0.5) - 1} of 120"
    assert len(lines) == 1 + (60 - QUIET_S) // LINE_EVERY_S
    assert "\x1b" not in stream.getvalue()


def test_what_cannot_be_counted_has_no_numbers(clock: Clock) -> None:
    stream = io.StringIO()
    progress = ReportProgress(stream, clock)
    clock.now_s += QUIET_S
    progress("working out the results")
    assert stream.getvalue() == "distbench: working out the results\n"
