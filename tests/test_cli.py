from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from distbench import cli
from distbench.config import PHASES, Overrides
from distbench.errors import MissingPartError, RankFailedError, UsageError
from distbench.worker import rank, world
from tests.fakes import ladder_blocks, write_run


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Overrides]:
    """What `run` would have been started with; nothing is run."""
    started: list[Overrides] = []

    def run_rank(overrides: Overrides) -> None:
        started.append(overrides)

    monkeypatch.setattr(rank, "run_rank", run_rank)
    return started


@pytest.mark.parametrize("arguments", [[], ["run"]])
def test_no_command_means_run(ran: list[Overrides], arguments: list[str]) -> None:
    assert cli.main(arguments) == 0
    assert ran == [{}]


def test_flags_without_a_command_are_those_of_run(ran: list[Overrides]) -> None:
    assert cli.main(["--config", "E", "--batch-size", "4", "--tensorflow-log"]) == 0
    assert ran[0] == {"config": "E", "batch_size": 4, "tensorflow_log": True}


def test_every_setting_has_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["run", "--help"])
    text = capsys.readouterr().out
    for name in ("--preset", "--width-multiplier", "--threads-per-rank", "--toml", *PHASES):
        assert name in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--config", "F"],
            "--config is 'F'; it must be one of A, A-LRN, B, C, D, E (exit code 2)",
        ),
        (["--colour", "red"], "unrecognized arguments: --colour red"),
        (["--batch", "3"], "unrecognized arguments: --batch 3"),
        (["fly"], "invalid choice: 'fly'"),
        (["--steps", "2", "--blocks", "3"], "--blocks is 3 and --steps is 2"),
        (["report"], "the following arguments are required: directory"),
    ],
)
def test_bad_usage_is_one_sentence_and_code_2(
    ran: list[Overrides], capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert cli.main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    assert len(printed.err.splitlines()) == 1
    assert ran == []


@pytest.mark.parametrize("command", ["collect", "report"])
def test_an_empty_directory_has_nothing_to_report(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([command, str(tmp_path)]) == 10
    printed = capsys.readouterr().err
    assert "config.json cannot be read" in printed
    assert len(printed.splitlines()) == 1


def test_collect_and_report_say_where_their_files_are(
    run_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(run_directory, [ladder_blocks(), ladder_blocks()])
    assert cli.main(["collect", str(run_directory)]) == 0
    assert (
        capsys.readouterr().out == f"130 rows of 2 rank(s): {run_directory}/derived/steps.parquet\n"
    )
    assert cli.main(["report", str(run_directory)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"report: {run_directory}/derived/report.md"


def test_an_incomplete_run_is_reported_with_code_4(
    run_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(run_directory, [ladder_blocks(), ladder_blocks()], unfinished=[1])
    assert cli.main(["report", str(run_directory)]) == 4
    printed = capsys.readouterr()
    assert "report: " in printed.out
    assert "the run is incomplete: rank 1 has no end line" in printed.err


def as_rank(monkeypatch: pytest.MonkeyPatch, number: int) -> list[float]:
    slept: list[float] = []
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", str(number))
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    monkeypatch.setattr(cli.time, "sleep", slept.append)
    monkeypatch.setattr(world, "leave_alone", slept.append)
    return slept


def test_rank_0_speaks_at_once(monkeypatch: Any, capsys: Any) -> None:
    done = as_rank(monkeypatch, 0)
    assert cli._tell(UsageError("it rains")) == 2
    assert capsys.readouterr().err == "distbench: it rains (exit code 2)\n"
    assert done == [2]  # it did not wait, and left without a farewell


def test_other_ranks_wait_and_are_silent_about_what_all_know(monkeypatch: Any, capsys: Any) -> None:
    slept = as_rank(monkeypatch, 1)
    error = MissingPartError("it rains")
    error.on_every_rank = True
    assert cli._tell(error) == 8
    assert capsys.readouterr().err == ""
    assert slept == [cli.WAIT_FOR_RANK_0_S]


def test_what_only_one_rank_knows_is_not_lost(monkeypatch: Any, capsys: Any) -> None:
    as_rank(monkeypatch, 1)
    assert cli._tell(UsageError("it rains")) == 2
    assert capsys.readouterr().err == "distbench: rank 1: it rains (exit code 2)\n"


def test_a_rank_that_failed_alone_leaves_without_farewell(monkeypatch: Any, capsys: Any) -> None:
    done = as_rank(monkeypatch, 1)
    cli._tell(RankFailedError("rank 1 failed"))
    assert done == [4]
    assert "rank 1 failed" in capsys.readouterr().err


def test_the_echo_of_another_ranks_failure_is_not_told(monkeypatch: Any, capsys: Any) -> None:
    done = as_rank(monkeypatch, 0)
    echo = RankFailedError("Horovod has been shut down")
    echo.is_echo = True
    assert cli._tell(echo) == 4
    assert capsys.readouterr().err == ""
    assert done == [4]


def test_a_failing_report_does_not_change_the_runs_exit_code(
    monkeypatch: Any, capfd: Any, tmp_path: Path
) -> None:
    monkeypatch.setattr(rank, "run_rank", lambda overrides: str(tmp_path / "gone"))
    assert cli.main([]) == 0
    assert "its report failed (10); make it again with: distbench report" in capfd.readouterr().err


def test_ctrl_c_of_a_command_is_one_sentence(monkeypatch: Any, capsys: Any) -> None:
    def interrupted(_: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_report", interrupted)
    assert cli.main(["report", "somewhere"]) == 130
    told = capsys.readouterr().err
    assert told == "distbench: ended by SIGINT; what was on disk is as it was\n"


def test_a_reader_that_has_had_enough_is_no_error(run_directory: Path) -> None:
    """As `distbench report … | head -1`: the pipe is closed before anything is printed."""
    write_run(run_directory, [ladder_blocks(), ladder_blocks()])
    command = [sys.executable, "-m", "distbench", "report", str(run_directory)]
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert ended.returncode == 128 + signal.SIGPIPE
    assert "Traceback" not in ended.stderr
    assert "BrokenPipe" not in ended.stderr
    assert (run_directory / "derived" / "report.md").exists()


def test_python_m_distbench_is_the_command() -> None:
    command = [sys.executable, "-m", "distbench", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.startswith(
        "dist"
    )
