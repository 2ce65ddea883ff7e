"""From an exception on a rank to what is left of it: the record, the verdict, the word to the others."""

from __future__ import annotations

import sys
import time
import traceback

from distbench.errors import ERROR_KINDS, DistbenchError, RankFailedError, first_line
from distbench.worker.last_words import leave_verdict
from distbench.worker.run_directory import RunDirectory, gather_records
from distbench.worker.session import Session
from distbench.worker.stall import Cause

TELLING_PATIENCE_S = 2.0  # for the verdict of a rank that has told the others of its failure


def failed(rank: int, error: Exception, where: str = "") -> RankFailedError:
    """A foreign exception as a failure of this rank."""
    return RankFailedError(
        f"rank {rank} failed with {type(error).__name__}: {first_line(error)}{where}"
    )


def end_of_rank(session: Session, error: Exception) -> DistbenchError:
    """The error to be raised for `error`, once it is on disk and the other ranks have been told.

    Horovod ends the collectives of all ranks when one leaves: the error that the others see then is no
    first cause, and gives way to it.
    """
    trace = traceback.format_exc()
    own = _own_cause(session, error)
    others = None if isinstance(error, DistbenchError) else _others_failure(session)
    raised = own if others is None else _because_of(others, session)
    if session.watch is not None and others is None and not raised.on_every_rank:
        session.watch.tell_failure(raised)
    for leave in (_leave_record, _leave_status):
        try:
            leave(session, raised, others, trace)
        except (DistbenchError, OSError, ValueError) as second:  # must not hide the first
            print(f"distbench: the failure could not be recorded: {second}", file=sys.stderr)
    return raised


def gather(session: Session) -> None:
    """Closes this rank's record and brings all of them to rank 0. To be called on every rank."""
    session.is_gathered = True
    session.writer.close()
    gathered = session.world.together(lambda: gather_records(session.world, session.run))
    if gathered is not None:
        session.run.status["gather"] = dict(gathered)


def _own_cause(session: Session, error: Exception) -> DistbenchError:
    if isinstance(error, DistbenchError):
        return error
    kept = f"; what was measured is in {session.run.layout.directory}"
    return failed(session.world.rank, error, kept)


def _others_failure(session: Session) -> Cause | None:
    return session.watch.others_failure() if session.watch is not None else None


def _because_of(cause: Cause, session: Session) -> DistbenchError:
    """Another rank's failure as this rank's error; rank 0 tells what nobody else could tell."""
    kind = ERROR_KINDS.get(cause.error, RankFailedError)
    raised = kind(f"{cause.sentence}; what was measured is in {session.run.layout.directory}")
    rank_0_tells = session.world.rank != 0 and cause.ranks != (0,)
    raised.is_echo = rank_0_tells or _is_told_already(cause, session.run)
    return raised


def _is_told_already(cause: Cause, run: RunDirectory) -> bool:
    """Whether a rank has told the cause; the one that failed tells the others before it tells the disk."""
    patience_s = TELLING_PATIENCE_S if cause.is_told_by_its_rank else 0.0
    patience_ends_s = time.monotonic() + patience_s
    while not run.has_verdict_against(cause):
        if time.monotonic() >= patience_ends_s:
            return False
        time.sleep(0.02)
    return True


def _leave_record(
    session: Session, error: DistbenchError, others: Cause | None, trace: str
) -> None:
    if session.is_gathered:
        return
    try:
        session.writer.append(
            "failure",
            error=type(error).__name__,
            exit_code=error.exit_code,
            sentence=error.sentence,
            is_echo=error.is_echo or others is not None,
            traceback=trace,
        )
    finally:
        if error.on_every_rank:  # all ranks are here, so that their records can still be brought
            gather(session)


def _leave_status(
    session: Session, error: DistbenchError, others: Cause | None, trace: str
) -> None:
    if error.on_every_rank and session.world.rank != 0:
        return
    ranks = () if error.on_every_rank else (session.world.rank,)
    own = Cause(error.sentence, error.exit_code, ranks, type(error).__name__)
    leave_verdict(session.run, others or own)
