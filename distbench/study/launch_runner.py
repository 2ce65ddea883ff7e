"""Runs one launch of a cell in processes of its own, watches it, and ends it for certain.

A launch that fails, hangs or runs out of memory is recorded with its cause. What ends this process
itself, SIGKILL included, costs the running launch alone.
"""

from __future__ import annotations

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
from distbench.layout import AttemptLayout, LaunchesLayout
from distbench.study import processes, study_files
from distbench.study.run_evidence import problems_of_run
from distbench.study.study import MARK_VARIABLE, Cell, Study, command_of, launch_of
from distbench.study.study_causes import cause_of_failure, out_of_memory_kills
from distbench.study.study_files import Attempt, Verdict
from distbench.study.study_plan import Console, RunProgress, duration

LOOK_EVERY_S = 1.0  # at the running launch; seldom, since it is being timed
LEAVE_S = 5.0  # for processes of a launch that has ended to go by themselves


@dataclass
class Interrupts:
    """The signal that asked for an end; None while there was none."""

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


@dataclass(frozen=True)
class Limit:
    """When a launch that has not ended by itself is ended, and as what that counts."""

    after_s: float
    state: str = study_files.TIMEOUT
    cause: str = ""  # empty: that it was not finished by then


@dataclass
class LaunchRunner:
    """Runs launches of one directory whose lock this process holds.

    `what` is a study or a tuning, for sentences; `mark` names the processes.
    """

    study: Study
    layout: LaunchesLayout
    mark: str
    environ: Mapping[str, str]
    console: Console
    interrupts: Interrupts
    what: str = "study"

    def need_launcher(self, cell: Cell) -> None:
        """Raises MissingPartError where the launcher's program is not there."""
        program = launch_argv(launch_of(self.study, cell), ["python"])[0]
        if shutil.which(program, path=self.environ.get("PATH")) is None:
            raise MissingPartError(
                f"{program} is not there, which launcher = {self.study.launcher!r} needs; "
                "enter the environment that has it, or name another launcher in [study]"
            )

    def end_leftovers(self) -> None:
        """Ends processes of launches that a killed process left.

        Raises RankFailedError where one cannot be ended: nothing may be measured beside it.
        """
        left = processes.marked(MARK_VARIABLE, self.mark)
        if left:
            self.console.say(
                f"ending {len(left)} process(es) of an earlier launch of this {self.what}"
            )
            self._end_all()

    def launch(self, cell: Cell, number: int, where: str, limit: Limit | None = None) -> Attempt:
        """One launch, to its end; `limit` is the study's time limit unless given."""
        limit = limit or Limit(self.study.time_limit_s)
        layout = study_files.make_attempt(self.layout, cell, number)
        output = str(layout.run.directory.absolute())
        argv = launch_argv(launch_of(self.study, cell), command_of(cell, output, sys.executable))
        variables = {MARK_VARIABLE: self.mark, **cell.horovod}
        write_atomically(layout.argv, json_document({"argv": argv, "environment": variables}))
        kills_before, started_s = out_of_memory_kills(), time.monotonic()
        process = processes.start(argv, {**self.environ, **variables}, layout.log)
        why_ended, strays = study_files.INTERRUPTED, 0
        try:
            why_ended = self._watch(process, started_s, limit, RunProgress(layout.log), where)
        finally:
            strays = self._end_all(0.0 if why_ended else LEAVE_S)
            if process.poll() is None:  # it has hidden its environment
                process.kill()
            exit_code = process.wait(processes.KILL_WAIT_S)
        wall_s = round(time.monotonic() - started_s, 3)
        verdict = self._unfinished(layout, cell, why_ended, limit, wall_s) or self._verdict(
            layout, cell, exit_code, wall_s, kills_before
        )
        study_files.write_verdict(
            layout,
            verdict,
            launcher_exit_code=exit_code,
            strays=0 if why_ended else strays,
        )
        return Attempt(cell, number, layout, verdict)

    def _watch(
        self,
        process: processes.Process,
        started_s: float,
        limit: Limit,
        progress: RunProgress,
        where: str,
    ) -> str:
        """Waits for the launch; '' where it ended by itself, else as what its end counts."""
        shown_s = started_s
        while not processes.wait(process, LOOK_EVERY_S):
            now_s = time.monotonic()
            if self.interrupts.number is not None:
                return study_files.INTERRUPTED
            if now_s - started_s >= limit.after_s:
                return limit.state
            step = progress.look()
            text = f"{where}: {step or 'starting'}, {duration(now_s - started_s)}"
            if self.console.update(text, now_s - shown_s):
                shown_s = now_s
        return ""

    def _end_all(self, patience_s: float = 0.0) -> int:
        """Ends every process of this study; how many did not end by themselves in `patience_s`."""
        if processes.wait_until_gone(MARK_VARIABLE, self.mark, patience_s):
            return 0
        strays = len(processes.marked(MARK_VARIABLE, self.mark))
        left = processes.end_marked(MARK_VARIABLE, self.mark, processes.GRACE_S)
        if left:
            raise RankFailedError(
                f"process(es) {', '.join(map(str, left))} of this {self.what} cannot be ended, and "
                "nothing can be measured beside them; end them by hand, then go on with --resume"
            )
        return strays

    def _unfinished(
        self, layout: AttemptLayout, cell: Cell, why_ended: str, limit: Limit, wall_s: float
    ) -> Verdict | None:
        """The verdict on a launch that was ended before it was complete; None on any other."""
        if not why_ended or not problems_of_run(layout.run, cell.ranks, cell.settings):
            return None
        if self.interrupts.number is not None and why_ended == study_files.INTERRUPTED:
            name = signal.Signals(self.interrupts.number).name
            return Verdict(why_ended, f"the {self.what} was ended by {name}", wall_s)
        reached = RunProgress(layout.log).look() or "before its first step"
        cause = limit.cause or f"not finished after {duration(limit.after_s)}"
        return Verdict(why_ended, f"{cause} ({reached})", wall_s)

    def _verdict(
        self, layout: AttemptLayout, cell: Cell, exit_code: int, wall_s: float, kills_before: int
    ) -> Verdict:
        problems = problems_of_run(layout.run, cell.ranks, cell.settings)
        if not problems:
            return Verdict(study_files.COMPLETE, wall_s=wall_s)
        if read_object(layout.run.status).get("state") == "complete":
            return Verdict(study_files.FAILED, problems[0], wall_s)
        kills = out_of_memory_kills() - kills_before
        of_memory, cause = cause_of_failure(layout, exit_code, cell.ranks, kills)
        state = study_files.OUT_OF_MEMORY if of_memory else study_files.FAILED
        return Verdict(state, cause, wall_s)


def next_number(attempts: Sequence[Attempt]) -> int:
    """That of the launch after these."""
    return attempts[-1].number + 1 if attempts else 1


def ending(verdict: Verdict) -> str:
    """How a launch ended, for a person."""
    took = f" after {duration(verdict.wall_s)}" if verdict.wall_s is not None else ""
    if verdict.state == study_files.COMPLETE:
        return f"is complete{took}"
    return f"ended{took}: {verdict.state}: {verdict.cause}"
