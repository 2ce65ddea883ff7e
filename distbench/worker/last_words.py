"""What a rank leaves when it is ended from outside of its work: a record, the verdict, the stacks."""

from __future__ import annotations

import faulthandler
import os
import sys
from collections.abc import Callable
from typing import TextIO

from distbench.errors import DistbenchError, TimeLimitError
from distbench.rank_writer import RankWriter
from distbench.worker.run_directory import RunDirectory
from distbench.worker.stall import Cause, named
from distbench.worker.start_reports import StartReports

LOCK_PATIENCE_S = 1.0  # with a main thread that hangs in a slow disk


class Farewell:
    """Called by the watch before it ends the process; knows more of the run as the rank gets on."""

    def __init__(self, rank: int, reports: StartReports, stream: TextIO) -> None:
        self._rank = rank
        self._reports = reports
        self._stream = stream
        self.run: RunDirectory | None = None
        self.writer: RankWriter | None = None

    def __call__(self, cause: Cause, is_echo: bool) -> None:
        """Whatever fails in one part must not keep the others from being left."""
        is_echo = is_echo or self._is_told_already(cause)
        is_late = cause.error == TimeLimitError.__name__
        parts: list[Callable[[Cause, bool], None]] = [self._leave_verdict, self._leave_record]
        if is_late:
            parts.append(self._leave_stacks)
        for leave in (*parts[:1], self._say, *parts[1:]):
            try:
                leave(cause, is_echo)
            except (DistbenchError, OSError, ValueError) as problem:
                self._print(f"the end of rank {self._rank} could not be recorded: {problem}")
        if not is_late:  # else the rank that tells who came needs the files of the others
            self._reports.withdraw()

    def _is_told_already(self, cause: Cause) -> bool:
        """Where rank 0 is gone, each of the others judges; the first one tells."""
        return self._rank != 0 and self.run is not None and self.run.has_verdict_against(cause)

    def _say(self, cause: Cause, is_echo: bool) -> None:
        if is_echo or (self.run is None and self._reports.are_told()):
            return
        reported = self._reports.reported()
        started = f"; of this node {named(reported)} came so far" if reported else ""
        self._print(f"{cause.sentence}{started} (exit code {cause.exit_code})")
        self._reports.clear()

    def _print(self, text: str) -> None:
        clear = "\r\x1b[K" if self._stream.isatty() else ""  # the line that progress updates
        print(f"{clear}distbench: {text}", file=self._stream, flush=True)

    def _leave_record(self, cause: Cause, is_echo: bool) -> None:
        if self.writer is not None:
            self.writer.append(
                "failure",
                lock_timeout_s=LOCK_PATIENCE_S,
                error=cause.error,
                exit_code=cause.exit_code,
                sentence=cause.sentence,
                is_echo=is_echo,
                traceback="",
            )

    def _leave_verdict(self, cause: Cause, is_echo: bool) -> None:
        if self.run is not None:
            leave_verdict(self.run, cause)

    def _leave_stacks(self, cause: Cause, is_echo: bool) -> None:
        if self.run is None:
            faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
            return
        stacks = self.run.layout.stacks
        stacks.mkdir(exist_ok=True)
        path = stacks / f"rank-{self._rank:05d}.txt"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        try:
            faulthandler.dump_traceback(file=descriptor, all_threads=True)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def leave_verdict(run: RunDirectory, cause: Cause) -> None:
    """Writes status.json where this rank sees it and none stands there that is as good.

    What a rank did wrong stands against the signals that follow from it.
    """
    if run.is_shared and not run.has_verdict_against(cause):
        run.write_status(
            "failed",
            cause.exit_code,
            cause=cause.sentence,
            error=cause.error,
            rank=cause.ranks[0] if cause.ranks else None,
            ranks=list(cause.ranks),
        )
