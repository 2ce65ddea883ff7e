"""Runs the launches of a study one after the other, each in processes of its own.

A launch that fails, hangs or runs out of memory is recorded and the rest go on. What ends the study
itself, SIGKILL included, costs the running launch alone: `--resume` ends what is left of it and runs
what is missing.
"""

from __future__ import annotations

import itertools
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from distbench.durable_files import json_document, read_object, write_atomically
from distbench.errors import MissingPartError, RankFailedError
from distbench.launchers import launch_argv
from distbench.layout import AttemptLayout
from distbench.study import processes, study_files
from distbench.study.run_evidence import problems_of_run
from distbench.study.study import MARK_VARIABLE, Cell, Study, command_of, launch_of, launch_order
from distbench.study.study_causes import cause_of_failure, out_of_memory_kills
from distbench.study.study_files import Attempt, StudyRecord, Verdict
from distbench.study.study_plan import Console, RunProgress, duration, finished_times, time_left

LOOK_EVERY_S = 1.0  # at the running launch; seldom, since it is being timed
LEAVE_S = 5.0  # for processes of a launch that has ended to go by themselves


@dataclass
class Interrupts:
    """The signal that asked the study to end; None while there was none."""

    number: int | None = None

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Notes signals that ask for an end instead of ending at once. A second one changes nothing.

        What is ignored stays ignored, as SIGHUP under nohup.
        """
        signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
        heeded = [number for number in signals if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, self._note) for number in heeded}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.number = self.number or number


@dataclass
class StudyRunner:
    """Runs what is missing of one study whose lock this process holds."""

    study: Study
    record: StudyRecord
    environ: Mapping[str, str]
    console: Console
    interrupts: Interrupts

    def end_leftovers(self) -> None:
        """Ends processes of launches that a killed study left, and notes that nobody saw their end.

        Raises RankFailedError where one cannot be ended: nothing may be measured beside it.
        """
        left = processes.marked(MARK_VARIABLE, self.record.mark)
        if left:
            self.console.say(f"ending {len(left)} process(es) of an earlier launch of this study")
            self._end_all()
        attempts = itertools.chain(*self.record.all_attempts().values())
        for attempt in attempts:
            unseen = not attempt.layout.verdict.exists()
            if unseen and attempt.verdict.state == study_files.INTERRUPTED:
                study_files.write_verdict(attempt.layout, attempt.verdict)

    def run_missing(self) -> dict[str, list[Attempt]]:
        """Runs every launch that is not complete, until a signal comes; returns all launches."""
        attempts = self.record.all_attempts()
        missing = launches_missing(self.record, attempts)
        self._need_launcher()
        for position, cell in enumerate(missing, start=1):
            if self.interrupts.number is not None:
                break
            where = f"launch {position} of {len(missing)} ({cell.label})"
            self.console.say(f"{where} begins")
            attempt = self._launch(cell, _next_number(attempts[cell.id]), where)
            attempts[cell.id].append(attempt)
            self.console.say(f"{where} {_ending(attempt.verdict)}")
            if self.interrupts.number is None:
                self._tell_time_left(missing[position:], attempts)
        return attempts

    def _need_launcher(self) -> None:
        program = launch_argv(launch_of(self.study, self.record.cells[0]), ["python"])[0]
        if shutil.which(program, path=self.environ.get("PATH")) is None:
            raise MissingPartError(
                f"{program} is not there, which launcher = {self.study.launcher!r} needs; "
                "enter the environment that has it, or name another launcher in [study]"
            )

    def _tell_time_left(
        self, rest: Sequence[Cell], attempts: Mapping[str, Sequence[Attempt]]
    ) -> None:
        finished = finished_times(one for of_cell in attempts.values() for one in of_cell)
        if rest:
            left = time_left(rest, finished, self.study.time_limit_s)
            self.console.say(f"{len(rest)} launch(es) left: {left}")

    def _launch(self, cell: Cell, number: int, where: str) -> Attempt:
        layout = study_files.new_attempt(self.record, cell, number)
        output = str(layout.run.directory.absolute())
        argv = launch_argv(launch_of(self.study, cell), command_of(cell, output, sys.executable))
        variables = {MARK_VARIABLE: self.record.mark, **cell.horovod}
        write_atomically(layout.argv, json_document({"argv": argv, "environment": variables}))
        kills_before, started_s = out_of_memory_kills(), time.monotonic()
        process = processes.start(argv, {**self.environ, **variables}, layout.log)
        why_ended, strays = study_files.INTERRUPTED, 0
        try:
            why_ended = self._watch(process, started_s, RunProgress(layout.log), where)
        finally:
            strays = self._end_all(0.0 if why_ended else LEAVE_S)
            if process.poll() is None:  # it has hidden its environment
                process.kill()
            exit_code = process.wait(processes.KILL_WAIT_S)
        wall_s = round(time.monotonic() - started_s, 3)
        verdict = self._verdict(layout, cell, why_ended, exit_code, wall_s, kills_before)
        study_files.write_verdict(
            layout,
            verdict,
            launcher_exit_code=exit_code,
            strays=0 if why_ended else strays,
        )
        return Attempt(cell, number, layout, verdict)

    def _watch(
        self, process: processes.Process, started_s: float, progress: RunProgress, where: str
    ) -> str:
        """Waits for the launch; '' where it ended by itself, else why it must be ended."""
        shown_s = started_s
        while not processes.wait(process, LOOK_EVERY_S):
            now_s = time.monotonic()
            if self.interrupts.number is not None:
                return study_files.INTERRUPTED
            if now_s - started_s >= self.study.time_limit_s:
                return study_files.TIMEOUT
            step = progress.look()
            text = f"{where}: {step or 'starting'}, {duration(now_s - started_s)}"
            if self.console.update(text, now_s - shown_s):
                shown_s = now_s
        return ""

    def _end_all(self, patience_s: float = 0.0) -> int:
        """Ends every process of this study; how many did not end by themselves in `patience_s`."""
        if processes.wait_until_gone(MARK_VARIABLE, self.record.mark, patience_s):
            return 0
        strays = len(processes.marked(MARK_VARIABLE, self.record.mark))
        left = processes.end_marked(MARK_VARIABLE, self.record.mark, processes.GRACE_S)
        if left:
            raise RankFailedError(
                f"process(es) {', '.join(map(str, left))} of this study cannot be ended, and nothing "
                "can be measured beside them; end them by hand, then go on with --resume"
            )
        return strays

    def _verdict(
        self,
        layout: AttemptLayout,
        cell: Cell,
        why_ended: str,
        exit_code: int,
        wall_s: float,
        kills_before: int,
    ) -> Verdict:
        problems = problems_of_run(layout.run, cell.ranks, cell.settings)
        if not problems:
            return Verdict(study_files.COMPLETE, wall_s=wall_s)
        if why_ended == study_files.TIMEOUT:
            reached = RunProgress(layout.log).look() or "before its first step"
            limit = duration(self.study.time_limit_s)
            return Verdict(why_ended, f"not finished after {limit} ({reached})", wall_s)
        if why_ended == study_files.INTERRUPTED:
            name = signal.Signals(self.interrupts.number or signal.SIGTERM).name
            return Verdict(why_ended, f"the study was ended by {name}", wall_s)
        if read_object(layout.run.status).get("state") == "complete":
            return Verdict(study_files.FAILED, problems[0], wall_s)
        kills = out_of_memory_kills() - kills_before
        of_memory, cause = cause_of_failure(layout, exit_code, cell.ranks, kills)
        state = study_files.OUT_OF_MEMORY if of_memory else study_files.FAILED
        return Verdict(state, cause, wall_s)


def launches_missing(record: StudyRecord, attempts: Mapping[str, Sequence[Attempt]]) -> list[Cell]:
    """The cells of the launches that are not complete, in the order in which they are to run."""
    done = {cell.id: study_files.completed(attempts[cell.id]) for cell in record.cells}
    order = launch_order(record.cells, record.repeat, record.order_seed)
    return [cell for cell, launch in order if launch > done[cell.id]]


def _next_number(attempts: Sequence[Attempt]) -> int:
    return attempts[-1].number + 1 if attempts else 1


def _ending(verdict: Verdict) -> str:
    took = f" after {duration(verdict.wall_s)}" if verdict.wall_s is not None else ""
    if verdict.state == study_files.COMPLETE:
        return f"is complete{took}"
    return f"ended{took}: {verdict.state}: {verdict.cause}"
