"""test_rank holds what becomes of a rank's own failure; here is what the others change about it."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distbench.durable_files import read_object
from distbench.errors import DistbenchError, OutputError, RankFailedError, TimeLimitError
from distbench.records import read_rank_file
from distbench.worker import failures
from distbench.worker.failures import end_of_rank
from distbench.worker.last_words import leave_verdict
from distbench.worker.session import Session
from distbench.worker.stall import Cause, cause_of_loss
from tests.fakes import RUN_ID
from tests.test_rank import a_session

ECHO = RuntimeError("Horovod has been shut down")


class Watch:
    """Knows what another rank did."""

    def __init__(self, others: Cause | None) -> None:
        self._others = others
        self.told: list[DistbenchError] = []

    def others_failure(self) -> Cause | None:
        return self._others

    def tell_failure(self, error: DistbenchError) -> None:
        self.told.append(error)


def watched(tmp_path: Path, others: Cause | None) -> tuple[Session, Watch]:
    session, watch = a_session(tmp_path), Watch(others)
    session.watch = watch  # type: ignore[assignment]
    return session, watch


def test_what_horovod_says_gives_way_to_the_rank_that_was_lost(tmp_path: Path) -> None:
    session, watch = watched(tmp_path, cause_of_loss(2, "train_step, block 1"))
    raised = end_of_rank(session, ECHO)
    assert isinstance(raised, RankFailedError)
    assert raised.sentence.startswith("rank 2 was lost (last heard of in train_step, block 1)")
    assert not raised.is_echo  # nobody else can tell it
    status = read_object(session.run.layout.status)
    assert (status["rank"], status["exit_code"]) == (2, 4)
    failure = read_rank_file(session.writer.path, RUN_ID).failure
    assert failure is not None
    assert failure["is_echo"]
    assert watch.told == []


def test_a_failure_is_told_by_the_rank_that_failed_even_where_its_verdict_comes_late(
    tmp_path: Path,
) -> None:
    cause = Cause("rank 2 failed with ValueError: by two", 4, (2,), RankFailedError.__name__)
    session, _ = watched(tmp_path, cause)
    verdict = threading.Timer(0.2, leave_verdict, [session.run, cause])
    verdict.start()
    assert end_of_rank(session, ECHO).is_echo
    verdict.join()


@pytest.mark.parametrize(("code", "kind"), [(5, TimeLimitError), (9, OutputError)])
def test_the_others_kind_of_error_is_kept(
    tmp_path: Path, code: int, kind: type[DistbenchError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "TELLING_PATIENCE_S", 0.0)
    session, _ = watched(tmp_path, Cause("told", code, (1,), kind.__name__))
    assert isinstance(end_of_rank(session, ECHO), kind)


def test_a_rank_that_fails_first_tells_the_others(tmp_path: Path) -> None:
    session, watch = watched(tmp_path, None)
    raised = end_of_rank(session, ZeroDivisionError("by zero"))
    assert watch.told == [raised]
    assert read_object(session.run.layout.status)["rank"] == 0


def test_distbenchs_own_sentence_is_never_taken_for_an_echo(tmp_path: Path) -> None:
    session, watch = watched(tmp_path, cause_of_loss(2, ""))
    error = OutputError("the disk is full")
    assert end_of_rank(session, error) is error
    assert watch.told == [error]


def test_what_cannot_be_recorded_hides_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    session, _ = watched(tmp_path, None)

    def refuse(*_: Any, **__: Any) -> None:
        raise OutputError("no room for the record")

    monkeypatch.setattr(session, "writer", SimpleNamespace(append=refuse, close=lambda: None))
    assert "by zero" in end_of_rank(session, ZeroDivisionError("by zero")).sentence
    assert "the failure could not be recorded: no room" in capsys.readouterr().err
    assert read_object(session.run.layout.status)["state"] == "failed"
