"""Runs the launches of a study one after the other, each in processes of its own.

A launch that fails, hangs or runs out of memory is recorded and the rest go on. What ends the study
itself, SIGKILL included, costs the running launch alone: `--resume` ends what is left of it and runs
what is missing.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from distbench.study import study_files
from distbench.study.launch_runner import Interrupts, LaunchRunner, ending, next_number
from distbench.study.study import Cell, Study, launch_order
from distbench.study.study_files import Attempt, StudyRecord
from distbench.study.study_plan import Console, finished_times, time_left


@dataclass
class StudyRunner:
    """Runs what is missing of one study whose lock this process holds."""

    study: Study
    record: StudyRecord
    environ: Mapping[str, str]
    console: Console
    interrupts: Interrupts

    def _launches(self) -> LaunchRunner:
        return LaunchRunner(
            self.study,
            self.record.layout,
            self.record.mark,
            self.environ,
            self.console,
            self.interrupts,
        )

    def end_leftovers(self) -> None:
        """Ends processes of launches that a killed study left, and notes that nobody saw their end.

        Raises RankFailedError where one cannot be ended: nothing may be measured beside it.
        """
        self._launches().end_leftovers()
        attempts = itertools.chain(*self.record.all_attempts().values())
        for attempt in attempts:
            unseen = not attempt.layout.verdict.exists()
            if unseen and attempt.verdict.state == study_files.INTERRUPTED:
                study_files.write_verdict(attempt.layout, attempt.verdict)

    def run_missing(self) -> dict[str, list[Attempt]]:
        """Runs every launch that is not complete, until a signal comes; returns all launches."""
        attempts = self.record.all_attempts()
        missing = launches_missing(self.record, attempts)
        launches = self._launches()
        launches.need_launcher(self.record.cells[0])
        for position, cell in enumerate(missing, start=1):
            if self.interrupts.number is not None:
                break
            where = f"launch {position} of {len(missing)} ({cell.label})"
            self.console.say(f"{where} begins")
            attempt = launches.launch(cell, next_number(attempts[cell.id]), where)
            attempts[cell.id].append(attempt)
            self.console.say(f"{where} {ending(attempt.verdict)}")
            if self.interrupts.number is None:
                self._tell_time_left(missing[position:], attempts)
        return attempts

    def _tell_time_left(
        self, rest: Sequence[Cell], attempts: Mapping[str, Sequence[Attempt]]
    ) -> None:
        finished = finished_times(one for of_cell in attempts.values() for one in of_cell)
        if rest:
            left = time_left(rest, finished, self.study.time_limit_s)
            self.console.say(f"{len(rest)} launch(es) left: {left}")


def launches_missing(record: StudyRecord, attempts: Mapping[str, Sequence[Attempt]]) -> list[Cell]:
    """The cells of the launches that are not complete, in the order in which they are to run."""
    done = {cell.id: study_files.completed(attempts[cell.id]) for cell in record.cells}
    order = launch_order(record.cells, record.repeat, record.order_seed)
    return [cell for cell, launch in order if launch > done[cell.id]]
