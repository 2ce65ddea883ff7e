from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from distbench import cli
from distbench.errors import MissingPartError, RankFailedError, TimeLimitError, UsageError
from distbench.study import processes
from distbench.study.study import MARK_VARIABLE
from distbench.study.study_plan import Console
from distbench.tune import tune_files
from distbench.tune.tune_command import Options, Outcome, report, run_tune
from tests.study_fakes import ROOT, launched, set_rules, stand_in_launcher
from tests.tune_fakes import SMALL_TOML


class Command:
    """`distbench tune` with a stand-in for the launcher, in this process or in one of its own."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.environ = stand_in_launcher(self.bin)
        self.toml = folder / "tune.toml"
        self.toml.write_text(SMALL_TOML)
        self.directory = folder / "tuning"
        self.out, self.err = io.StringIO(), io.StringIO()

    def __call__(self, toml: bool = True, **options: Any) -> Outcome:
        self.out, self.err = io.StringIO(), io.StringIO()
        given = Options(str(self.toml) if toml else None, output=str(self.directory), **options)
        return run_tune(given, self.environ, Console(self.out, self.err))

    @property
    def words(self) -> list[str]:
        return ["tune", str(self.toml), "--output", str(self.directory)]


@pytest.fixture
def tune(tmp_path: Path) -> Iterator[Command]:
    command = Command(tmp_path)
    yield command
    if (command.directory / "tune.json").exists():
        mark = tune_files.load(command.directory).mark
        left = processes.marked(MARK_VARIABLE, mark)
        processes.end_marked(MARK_VARIABLE, mark, grace_s=0)
        assert left == []


def test_a_dry_run_shows_the_plan_and_makes_nothing(tune: Command) -> None:
    assert tune(dry_run=True) == Outcome()
    assert "Tuning 'small': images/s of train_step at 2 rank(s)" in tune.out.getvalue()
    assert not tune.directory.exists()
    assert launched(tune.bin) == []


def test_the_command_line_ends_with_the_winner_which_can_be_reported_again(
    tune: Command, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, value in tune.environ.items():
        monkeypatch.setenv(name, value)
    assert cli.main(tune.words) == 0
    printed = capfd.readouterr()
    assert "batch_size 4 gives the most images/s at 2 rank(s)" in printed.out
    assert "distbench run --preset quick --batch-size 4" in printed.out
    assert printed.out.splitlines()[-1] == f"report: {tune.directory}/derived/tune.md"
    sizes = [words for words in launched(tune.bin) if "--sizes" in words]
    assert len(sizes) == 2  # the efficiency of both
    before = {p.name: p.read_bytes() for p in (tune.directory / "derived").iterdir()}
    shutil.rmtree(tune.directory / "derived")
    assert cli.main(["report", str(tune.directory)]) == 0
    assert {p.name: p.read_bytes() for p in (tune.directory / "derived").iterdir()} == before
    assert cli.main(tune.words) == 9  # never overwritten
    count = len(launched(tune.bin))
    assert cli.main([*tune.words, "--resume"]) == 0
    assert len(launched(tune.bin)) == count  # nothing is missing


def test_what_is_wrong_is_told_before_anything_is_made(tune: Command) -> None:
    with pytest.raises(UsageError, match="--budget is 'soon'"):
        tune(budget="soon")
    with pytest.raises(UsageError, match="needs a number of ranks or a file"):
        tune(toml=False)
    tune.environ["DISTBENCH_BATCH_SIZE"] = "4"
    with pytest.raises(UsageError, match=r"write batch_size into \[run\] of the tuning"):
        tune()
    assert not tune.directory.exists()


def test_a_launcher_that_is_missing(tune: Command) -> None:
    tune.environ["PATH"] = "/nowhere"
    with pytest.raises(MissingPartError, match="horovodrun is not there"):
        tune()


def test_all_failures_are_an_error_and_a_report(tune: Command) -> None:
    set_rules(tune.bin, [("run", "fail")])
    outcome = tune()
    assert isinstance(outcome.error, RankFailedError)
    assert "every setting has failed, batch_size 2 by failed: the network holds a NaN" in str(
        outcome.error
    )
    assert outcome.record is not None
    assert "No setting could be measured." in report(outcome.record)


def test_a_budget_that_holds_no_launch(tune: Command) -> None:
    set_rules(tune.bin, [("run", "hang")])
    outcome = tune(budget="2s")
    assert isinstance(outcome.error, TimeLimitError)
    assert "no launch was complete within the budget of 2 s" in str(outcome.error)
    assert "the budget was spent before it ended" in str(outcome.error)
    assert len(launched(tune.bin)) == 1


def test_another_file_does_not_resume_this_tuning(tune: Command) -> None:
    set_rules(tune.bin, [("run", "fail")])
    tune()
    tune.toml.write_text(SMALL_TOML.replace("[2, 4]", "[2, 4, 8]"))
    with pytest.raises(UsageError, match="does not describe the tuning in"):
        tune(resume=True)
    assert tune(toml=False, resume=True).record is not None  # by its directory alone
    with pytest.raises(UsageError, match="--budget is"):
        tune(toml=False, resume=True, budget="never")


def test_a_signal_ends_it_with_what_is_known_and_resume_goes_on(tune: Command) -> None:
    """Sent while the second launch hangs, after the default's."""
    hanging = "candidates/batch_size-4"
    set_rules(tune.bin, [(hanging, "hang")])
    process = subprocess.Popen(
        [sys.executable, "-m", "distbench", *tune.words],
        env={**os.environ, **tune.environ},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not any(hanging in " ".join(words) for words in launched(tune.bin)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 143
    assert "the tuning was ended by SIGTERM; go on with --resume (exit code 143)" in err
    assert "NOT DECIDED: so far the best choice at 2 rank(s) is batch_size 2" in out
    set_rules(tune.bin, [])
    outcome = tune(resume=True)
    assert (outcome.exit_code, outcome.error) == (0, None)
    assert outcome.record is not None
    assert "batch_size 4 gives the most images/s" in report(outcome.record)


def test_a_plan_loads_nothing_heavy(tune: Command) -> None:
    code = (
        "import sys\nfrom distbench.cli import main\n"
        f"main(['tune', {str(tune.toml)!r}, '--dry-run'])\n"
        "print('loaded:', sorted({name.split('.')[0] for name in sys.modules}))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    loaded = ended.stdout.rpartition("loaded:")[2]
    assert "'distbench'" in loaded
    for package in ("tensorflow", "horovod", "mpi4py", "numpy", "pandas", "matplotlib"):
        assert f"'{package}'" not in loaded
