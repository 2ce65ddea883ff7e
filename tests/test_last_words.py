from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path

import pytest

from distbench.durable_files import read_object
from distbench.rank_writer import RankWriter
from distbench.records import read_rank_file
from distbench.worker import run_directory
from distbench.worker.last_words import Farewell, leave_verdict
from distbench.worker.run_directory import RunDirectory
from distbench.worker.stall import Cause
from distbench.worker.start_reports import StartReports
from tests.fakes import RUN_ID, FakeWorld, header, small_config

CAUSE = Cause("no rank moved for 60 s: rank 1 is frozen", 5, (1,))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def run(run_directory_of_rank_0: RunDirectory) -> RunDirectory:
    return run_directory_of_rank_0


@pytest.fixture
def run_directory_of_rank_0(tmp_path: Path) -> RunDirectory:
    config = small_config(output=str(tmp_path / "run"))
    return run_directory.create(FakeWorld(0, 1), config, RUN_ID)


def farewell(run: RunDirectory, rank: int = 0, stream: io.StringIO | None = None) -> Farewell:
    found = Farewell(rank, StartReports({}, rank), stream or io.StringIO())
    found.run = run
    found.writer = RankWriter(run.layout.raw, RUN_ID, rank)
    found.writer.append("header", **header(rank, 2))
    return found


def test_the_record_the_verdict_and_the_stacks_are_left(run: RunDirectory) -> None:
    stream = io.StringIO()
    said = farewell(run, stream=stream)
    said(CAUSE, False)
    assert stream.getvalue() == f"distbench: {CAUSE.sentence} (exit code 5)\n"
    assert said.writer is not None
    records = read_rank_file(said.writer.path, RUN_ID)
    assert records.failure is not None
    assert (records.failure["sentence"], records.failure["is_echo"]) == (CAUSE.sentence, False)
    status = read_object(run.layout.status)
    assert (status["state"], status["exit_code"], status["rank"]) == ("failed", 5, 1)
    assert status["cause"] == CAUSE.sentence
    stacks = (run.layout.stacks / "rank-00000.txt").read_text()
    assert "test_last_words.py" in stacks


def test_an_echo_says_nothing_and_stacks_are_for_time_limits(run: RunDirectory) -> None:
    stream = io.StringIO()
    said = farewell(run, stream=stream)
    said(Cause("rank 1 received SIGTERM", 143, (1,), "SIGTERM"), True)
    assert stream.getvalue() == ""
    assert said.writer is not None
    failure = read_rank_file(said.writer.path, RUN_ID).failure
    assert failure is not None
    assert failure["is_echo"]
    assert not run.layout.stacks.exists()


def test_the_first_verdict_stands(run: RunDirectory) -> None:
    leave_verdict(run, CAUSE)
    leave_verdict(run, Cause("a later one", 4, (0,), "RankFailedError"))
    assert json.loads(run.layout.status.read_text())["cause"] == CAUSE.sentence


def test_a_signal_gives_way_to_what_it_followed_from(run: RunDirectory) -> None:
    signalled = Cause("rank 2 received SIGTERM", 143, (2,), "SIGTERM")
    leave_verdict(run, signalled)
    leave_verdict(run, Cause("rank 0 received SIGTERM", 143, (0,), "SIGTERM"))
    assert read_object(run.layout.status)["rank"] == 2
    stream = io.StringIO()
    farewell(run, stream=stream)(CAUSE, False)
    assert stream.getvalue().startswith(f"distbench: {CAUSE.sentence}")
    leave_verdict(run, signalled)
    assert read_object(run.layout.status)["cause"] == CAUSE.sentence


def test_a_directory_of_another_node_gets_no_verdict(run: RunDirectory) -> None:
    run.is_shared = False
    leave_verdict(run, CAUSE)
    assert not run.layout.status.exists()


def test_one_part_that_fails_keeps_no_other_from_being_left(run: RunDirectory) -> None:
    stream = io.StringIO()
    said = farewell(run, stream=stream)
    assert said.writer is not None
    said.writer.close()
    said(CAUSE, False)
    assert "the end of rank 0 could not be recorded" in stream.getvalue()
    assert (run.layout.stacks / "rank-00000.txt").exists()
    assert read_object(run.layout.status)["state"] == "failed"


def test_the_terminals_line_is_cleared() -> None:
    stream = Terminal()
    Farewell(0, StartReports({}, 0), stream)(CAUSE._replace(error="SIGINT"), False)
    assert stream.getvalue().startswith("\r\x1b[Kdistbench: ")


def test_before_the_run_the_first_of_a_node_says_who_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whichever of them ends first: the files stay until one has told of them, and are gone then."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    reports = {rank: StartReports({"PMIX_NAMESPACE": "job"}, rank) for rank in (0, 2, 3)}
    for one in reports.values():
        one.report()
    said = {rank: io.StringIO() for rank in reports}
    for rank in (2, 0, 3):
        Farewell(rank, reports[rank], said[rank])(CAUSE, False)
    came = "of this node ranks 0, 2 and 3 came so far"
    assert said[0].getvalue() == f"distbench: {CAUSE.sentence}; {came} (exit code 5)\n"
    assert said[2].getvalue() == said[3].getvalue() == ""
    assert list(tmp_path.iterdir()) == []
    assert "Current thread" in capfd.readouterr().err
