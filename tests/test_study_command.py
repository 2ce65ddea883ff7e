from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from distbench import cli
from distbench.errors import OutputError, RankFailedError, UsageError
from distbench.study import processes, study_files
from distbench.study.study import MARK_VARIABLE, cells_of, launch_order, read_study
from distbench.study.study_command import Options, Outcome, report, run_study
from distbench.study.study_plan import Console
from tests.study_fakes import (
    ROOT,
    SMALL_TOML,
    launched,
    set_rules,
    stand_in_launcher,
    verdicts,
)


class Command:
    """`distbench study` with a stand-in for the launcher, in this process or in one of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.environ = stand_in_launcher(self.bin)
        self.toml = folder / "study.toml"
        self.toml.write_text(SMALL_TOML)
        self.directory = folder / "study"
        self.out, self.err = io.StringIO(), io.StringIO()

    def __call__(self, **options: Any) -> Outcome:
        self.out, self.err = io.StringIO(), io.StringIO()
        given = Options(str(self.toml), str(self.directory), **options)
        return run_study(given, self.environ, Console(self.out, self.err))

    def in_a_process(self, *flags: str) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "distbench", "study", str(self.toml)]
        return subprocess.Popen(
            [*words, "--output", str(self.directory), *flags],
            env={**os.environ, **self.environ},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def change(self, before: str, after: str) -> None:
        text = self.toml.read_text()
        assert before in text
        self.toml.write_text(text.replace(before, after))

    @property
    def states(self) -> list[str]:
        return sorted(verdicts(self.directory).values())


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Command]:
    command = Command(tmp_path)
    yield command
    if (command.directory / "study.json").exists():
        mark = study_files.load(command.directory).mark
        left = processes.marked(MARK_VARIABLE, mark)
        processes.end_marked(MARK_VARIABLE, mark, grace_s=0)
        assert left == []


def test_a_dry_run_shows_the_plan_and_makes_nothing(study: Command) -> None:
    assert study(dry_run=True) == Outcome()
    lines = study.out.getvalue().splitlines()
    assert lines[0] == (
        "Study 'small': 4 cell(s), 1 launch(es) of each by local, in rounds shuffled with seed 0"
    )
    assert lines[2].split() == [
        "config",
        "A,",
        "batch_size",
        "2",
        "2",
        "7",
        "1",
        "0",
        "0",
        "unknown",
    ]
    assert lines[6].startswith("4 launch(es) to run: time unknown until the first launch")
    assert not study.directory.exists()
    assert launched(study.bin) == []


def test_a_study_runs_and_is_reported(study: Command) -> None:
    outcome = study()
    assert (outcome.exit_code, outcome.error) == (0, None)
    assert study.states == ["complete"] * 4
    assert "Study 'small'" in study.out.getvalue()
    assert outcome.record is not None
    text = report(outcome.record)
    assert text.splitlines()[0] == "small: 4 of 4 cells are complete"
    assert text.endswith(f"report: {study.directory}/derived/study.md")


def test_failures_are_told_at_the_end_and_resume_tries_them_again(study: Command) -> None:
    set_rules(study.bin, [("--config A", "fail")])
    outcome = study()
    assert isinstance(outcome.error, RankFailedError)
    assert outcome.error.exit_code == 4
    assert outcome.error.sentence == (
        "2 of 4 cells have failed, the first, config A, batch_size 2, by failed: the network holds "
        "a NaN (exit code 6); what was measured is kept, and --resume tries these again"
    )
    assert outcome.record is not None  # what there is is reported
    set_rules(study.bin, [])
    assert study(resume=True).error is None
    assert "2 of 4 cells are complete, 2 to run" in study.err.getvalue()
    assert study.states == ["complete"] * 4 + ["failed"] * 2
    assert study(resume=True).error is None
    assert "4 of 4 cells are complete, nothing to run" in study.err.getvalue()
    assert len(launched(study.bin)) == 6


def test_more_launches_of_each_cell_may_be_asked_for(study: Command) -> None:
    study()
    assert study(resume=True, repeat="2").error is None
    assert "0 of 4 cells are complete, 4 to run (4 of 8 launches)" in study.err.getvalue()
    assert study.states == ["complete"] * 8
    with pytest.raises(UsageError, match="--repeat is 1 and the study has 2 launches of each cell"):
        study(resume=True, repeat="1")
    study(resume=True)  # the file still says 1; what was begun counts
    assert "4 of 4 cells are complete, nothing to run (8 of 8 launches)" in study.err.getvalue()
    with pytest.raises(UsageError, match="--repeat is 'many'; it must be a whole number"):
        study(repeat="many")


def test_a_study_that_is_there_is_not_begun_again(study: Command) -> None:
    study()
    with pytest.raises(OutputError, match="exists already and a study is never overwritten"):
        study()


def test_a_changed_file_does_not_resume_another_study(study: Command) -> None:
    study()
    study.change("steps = 6", "steps = 7")
    study.change('["A", "D"]', '["A", "D", "E"]')
    with pytest.raises(UsageError) as refused:
        study(resume=True)
    assert refused.value.sentence == (
        f"{study.toml} does not describe the study in {study.directory} any more: axes.config is "
        "\"['A', 'D', 'E']\" and was \"['A', 'D']\" (and 1 more); put it back, or begin a new study"
    )


def test_the_time_limit_may_change(study: Command) -> None:
    study()
    study.change("ranks = 2", "ranks = 2\ntime_limit_s = 17")
    assert study(resume=True).error is None


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DISTBENCH_BATCH_SIZE", "4", "unset it (write batch_size into [run] of the study)"),
        ("DISTBENCH_OUTPUT", "x", "the environment holds DISTBENCH_OUTPUT"),
        ("DISTBENCH_FOO", "x", "unset it (it is no setting)"),
        ("DISTBENCH_STUDY_MARK", "x", "distbench study cannot be started by one of them"),
    ],
)
def test_a_variable_that_no_study_file_holds_is_refused(
    name: str, value: str, said: str, study: Command
) -> None:
    study.environ[name] = value
    with pytest.raises(UsageError) as refused:
        study()
    assert said in refused.value.sentence
    assert not study.directory.exists()


def test_a_study_is_no_rank_of_a_job(study: Command) -> None:
    study.environ.update({"HOROVOD_RANK": "0", "HOROVOD_SIZE": "2"})
    with pytest.raises(
        UsageError, match="horovodrun over Gloo has started it as 2 ranks; start it once"
    ):
        study()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_for_launches(study: Command, count: int) -> None:
    wait_for(lambda: len(launched(study.bin)) >= count)


def third_launch(study: Command) -> str:
    """Words of the command line of the study's third launch."""
    varied = launch_order(cells_of(read_study(study.toml)), 1, 0)[2][0].varied
    return f"--config {varied['config']} --batch-size {varied['batch_size']}"


def cells_of_directory(study: Command) -> set[str]:
    return {path.name for path in (study.directory / "cells").iterdir()}


def test_a_killed_study_is_resumed_without_leftovers(
    study: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_rules(study.bin, [(third_launch(study), "hang with a child")])
    with study.in_a_process() as process:
        wait_for(lambda: (study.bin / "has_child").exists())
        process.send_signal(signal.SIGKILL)
    mark = study_files.load(study.directory).mark
    assert processes.marked(MARK_VARIABLE, mark)  # the child, which no signal has reached
    assert study.states == ["complete"] * 2
    set_rules(study.bin, [])
    monkeypatch.setattr(processes, "GRACE_S", 0.2)
    assert study(resume=True).error is None
    told = study.err.getvalue()
    assert "process(es) of an earlier launch of this study" in told
    assert "2 of 4 cells are complete, 2 to run" in told
    assert study.states == ["complete"] * 4 + ["interrupted"]
    assert len(launched(study.bin)) == 5
    assert processes.marked(MARK_VARIABLE, mark) == []
    (tmp_path / "undisturbed").mkdir()
    undisturbed = Command(tmp_path / "undisturbed")
    undisturbed()
    assert cells_of_directory(study) == cells_of_directory(undisturbed)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 138)]
)
def test_a_signal_ends_the_study_with_a_sentence(
    number: signal.Signals, code: int, study: Command
) -> None:
    set_rules(study.bin, [(third_launch(study), "hang")])
    with study.in_a_process() as process:
        wait_for_launches(study, 3)
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
    assert process.returncode == code
    assert told.splitlines()[-1] == (
        f"distbench: the study was ended by {number.name}; 2 of 4 cells are complete, 2 to run; "
        f"go on with --resume (exit code {code})"
    )
    assert study.states == ["complete", "complete", "interrupted"]
    assert not (study.directory / "derived").exists()


def test_a_second_study_in_the_same_directory_is_refused(study: Command) -> None:
    set_rules(study.bin, [(third_launch(study), "hang")])
    with study.in_a_process() as process:
        wait_for_launches(study, 3)
        with pytest.raises(OutputError, match="another distbench works on the study"):
            study(resume=True)
        assert process.poll() is None  # and it was left alone
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def test_the_command_line_ends_with_the_table_and_the_code(
    study: Command, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, value in study.environ.items():
        monkeypatch.setenv(name, value)
    set_rules(study.bin, [("--config D --batch-size 4", "fail")])
    arguments = ["study", str(study.toml), "--output", str(study.directory)]
    assert cli.main(arguments) == 4
    printed = capfd.readouterr()
    assert "small: 3 of 4 cells are complete; 1 launch(es) failed" in printed.out
    assert printed.out.splitlines()[-1] == f"report: {study.directory}/derived/study.md"
    assert printed.err.splitlines()[-1].startswith("distbench: 1 of 4 cells have failed")
    assert cli.main(["study"]) == 2
    assert cli.main(["study", str(study.folder / "none.toml")]) == 2
    assert cli.main([*arguments, "--emit", "pbs"]) == 2


def test_a_study_loads_nothing_heavy(study: Command) -> None:
    code = (
        "import sys\nfrom distbench.cli import main\n"
        f"main(['study', {str(study.toml)!r}, '--dry-run'])\n"
        "print('loaded:', sorted({name.split('.')[0] for name in sys.modules}))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    loaded = ended.stdout.rpartition("loaded:")[2]
    assert "'distbench'" in loaded
    for package in ("tensorflow", "horovod", "mpi4py", "numpy", "pandas", "matplotlib"):
        assert f"'{package}'" not in loaded
