from __future__ import annotations

import io
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from distbench.errors import MissingPartError, RankFailedError
from distbench.study import launch_runner, processes, study_files
from distbench.study.launch_runner import Interrupts
from distbench.study.study import MARK_VARIABLE, Study
from distbench.study.study_files import StudyRecord
from distbench.study.study_plan import Console
from distbench.study.study_runner import StudyRunner, launches_missing
from tests.study_fakes import launched, set_rules, stand_in_launcher, study_of, verdicts

FOUR = {"config": ["A", "D"], "batch_size": [2, 4]}


@pytest.fixture
def marks() -> Iterator[list[str]]:
    """Marks whose processes must all be gone when the test ends."""
    marks: list[str] = []
    yield marks
    left = [pid for mark in marks for pid in processes.marked(MARK_VARIABLE, mark)]
    for mark in marks:
        processes.end_marked(MARK_VARIABLE, mark, grace_s=0)
    assert left == []


class Runs:
    """A study with a stand-in for the launcher, and what it told."""

    def __init__(self, folder: Path, study: Study, marks: list[str]) -> None:
        self.bin = folder / "bin"
        self.environ = stand_in_launcher(self.bin)
        self.study = study
        self.directory = folder / "study"
        self.record: StudyRecord = study_files.create(study, str(self.directory), "")
        self.err = io.StringIO()
        self.interrupts = Interrupts()
        marks.append(self.record.mark)

    def runner(self) -> StudyRunner:
        console = Console(io.StringIO(), self.err)
        return StudyRunner(self.study, self.record, self.environ, console, self.interrupts)

    def run(self, *rules: tuple[str, str]) -> dict[str, str]:
        """The state of each launch by 'cell/attempt', after all that is missing was run."""
        set_rules(self.bin, rules)
        self.runner().run_missing()
        return verdicts(self.directory)

    def note(self, cell: str, attempt: int = 1) -> dict[str, object]:
        (path,) = self.directory.glob(f"cells/{cell}*/attempt-{attempt}/verdict.json")
        document: dict[str, object] = json.loads(path.read_text())
        return document


@pytest.fixture
def runs(tmp_path: Path, marks: list[str]) -> Runs:
    return Runs(tmp_path, study_of(axes=FOUR), marks)


def test_every_cell_is_launched_once_in_the_shuffled_order(runs: Runs) -> None:
    assert set(runs.run().values()) == {"complete"}
    outputs = [words[words.index("--output") + 1] for words in launched(runs.bin)]
    order = launches_missing(runs.record, {cell.id: [] for cell in runs.record.cells})
    wanted = [runs.directory / "cells" / cell.id / "attempt-1" / "run" for cell in order]
    assert outputs == [str(path) for path in wanted]
    first = launched(runs.bin)[0]
    assert first[:5] == ["--gloo", "-np", "2", "-H", "localhost:2"]
    assert first[5:9] == [sys.executable, "-m", "distbench", "run"]
    told = runs.err.getvalue()
    assert told.count(" begins\n") == told.count(" is complete after ") == 4
    assert "3 launch(es) left: about " in told
    assert "launch 4 of 4 (" in told
    # what was started is on record, with the variables that were set for it
    started = json.loads((wanted[0].parent / "argv.json").read_text())
    assert started["argv"] == ["horovodrun", *first]
    assert started["environment"] == {MARK_VARIABLE: runs.record.mark}


def test_a_cell_that_fails_is_recorded_with_its_cause_and_the_rest_go_on(runs: Runs) -> None:
    found = runs.run(
        ("--config A --batch-size 2", "fail"),
        ("--config A --batch-size 4", "run out of memory"),
        ("--config D --batch-size 2", "be killed"),
    )
    assert sorted(found.values()) == ["complete", "failed", "failed", "out of memory"]
    failed = runs.note("config-A_batch_size-2")
    assert failed["cause"] == "the network holds a NaN (exit code 6)"
    assert (failed["launcher_exit_code"], failed["strays"]) == (1, 0)
    memory = runs.note("config-A_batch_size-4")
    assert memory["state"] == "out of memory"
    assert (
        memory["cause"] == "rank 1 failed with ResourceExhaustedError: OOM when allocating tensor"
    )
    killed = runs.note("config-D_batch_size-2")
    assert killed["launcher_exit_code"] == -signal.SIGKILL
    assert "a process was ended by SIGKILL" in str(killed["cause"])
    assert "failed: the network holds a NaN" in runs.err.getvalue()


def test_the_kernels_count_of_kills_makes_a_kill_one_of_memory(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = itertools.count()
    monkeypatch.setattr(launch_runner, "out_of_memory_kills", lambda: next(counts))
    found = runs.run(("--config A --batch-size 2", "be killed"))
    assert sorted(found.values()) == ["complete", "complete", "complete", "out of memory"]
    assert "for lack of memory" in str(runs.note("config-A_batch_size-2")["cause"])


def test_a_run_whose_records_are_torn_is_not_complete(runs: Runs) -> None:
    found = runs.run(("--config A --batch-size 2", "tear"))
    assert sorted(found.values()) == ["complete", "complete", "complete", "failed"]
    assert runs.note("config-A_batch_size-2")["cause"] == "rank 1 has no end line"


def test_a_cell_that_hangs_is_ended_at_its_limit(tmp_path: Path, marks: list[str]) -> None:
    runs = Runs(tmp_path, study_of(study={"time_limit_s": 3}, axes={"config": ["A", "D"]}), marks)
    started = time.monotonic()
    found = runs.run(("--config A", "hang"))
    assert time.monotonic() - started < 60
    assert sorted(found.values()) == ["complete", "timeout"]
    assert runs.note("config-A")["cause"] == "not finished after 3 s (step 10 of 42)"


def test_what_a_launch_leaves_behind_is_ended_before_the_next(
    tmp_path: Path, marks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch_runner, "LEAVE_S", 0.1)
    monkeypatch.setattr(processes, "GRACE_S", 0.1)
    runs = Runs(tmp_path, study_of(axes={"config": ["A", "D"]}), marks)
    seen = runs.run(("--config A", "measure and leave a child"))
    assert set(seen.values()) == {"complete"}
    assert runs.note("config-A")["strays"] == 1
    assert runs.note("config-D")["strays"] == 0


def test_only_what_is_missing_is_run_again_and_earlier_attempts_are_kept(runs: Runs) -> None:
    runs.run(("--config A", "fail"))
    assert len(launched(runs.bin)) == 4
    found = runs.run()
    assert len(launched(runs.bin)) == 6
    again = [f"{cell.id}/attempt-2" for cell in runs.record.cells[:2]]
    assert sorted(name for name in found if name.endswith("attempt-2")) == sorted(again)
    assert sorted(found.values()) == ["complete"] * 4 + ["failed"] * 2
    runs.run()
    assert len(launched(runs.bin)) == 6  # nothing is missing any more


def test_repeated_launches_are_interleaved(tmp_path: Path, marks: list[str]) -> None:
    runs = Runs(tmp_path, study_of(study={"repeat": 3}, axes={"config": ["A", "D"]}), marks)
    found = runs.run()
    assert len(found) == 6
    cells = [words[words.index("--config") + 1] for words in launched(runs.bin)]
    assert [set(cells[turn : turn + 2]) for turn in (0, 2, 4)] == [{"A", "D"}] * 3


def test_horovods_variables_and_the_mark_reach_the_launch(tmp_path: Path, marks: list[str]) -> None:
    study = study_of(horovod={"HOROVOD_CYCLE_TIME": [5]})
    runs = Runs(tmp_path, study, marks)
    show = tmp_path / "bin" / "horovodrun"
    show.write_text("#!/bin/sh\nenv\nexit 1\n")
    runs.run()
    (log,) = runs.directory.glob("cells/*/attempt-1/log")
    lines = log.read_text().splitlines()
    assert {"HOROVOD_CYCLE_TIME=5", f"{MARK_VARIABLE}={runs.record.mark}"} <= set(lines)
    assert f"PATH={runs.environ['PATH']}" in lines


def test_a_launcher_that_is_missing_is_told_before_anything_runs(runs: Runs) -> None:
    runs.environ["PATH"] = "/nowhere"
    with pytest.raises(MissingPartError, match="horovodrun is not there, which launcher = 'local'"):
        runs.run()
    assert verdicts(runs.directory) == {}
    assert not (runs.directory / "cells").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_running_launch_and_the_study(number: signal.Signals, runs: Runs) -> None:
    """Sent while the second launch hangs; a second signal changes nothing."""
    order = launches_missing(runs.record, {cell.id: [] for cell in runs.record.cells})
    second = (
        order[1].label.replace("config ", "--config ").replace(", batch_size ", " --batch-size ")
    )

    def interrupt() -> None:
        while len(launched(runs.bin)) < 2:
            time.sleep(0.02)
        for _ in range(2):
            os.kill(os.getpid(), number)

    sender = threading.Thread(target=interrupt)
    before = signal.getsignal(number)
    with runs.interrupts.caught():
        sender.start()
        found = runs.run((second, "hang"))
    sender.join()
    assert signal.getsignal(number) is before
    assert runs.interrupts.number == number
    assert sorted(found.values()) == ["complete", "interrupted"]
    assert runs.note(order[1].id)["cause"] == f"the study was ended by {number.name}"


def test_a_signal_before_the_first_launch_starts_none(runs: Runs) -> None:
    runs.interrupts.number = signal.SIGTERM
    assert runs.run() == {}
    assert launched(runs.bin) == []


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        interrupts = Interrupts()
        with interrupts.caught():
            os.kill(os.getpid(), signal.SIGHUP)
        assert interrupts.number is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_processes_that_cannot_be_ended_stop_the_study(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(100)"],
        env={**os.environ, MARK_VARIABLE: runs.record.mark},
        stdout=subprocess.PIPE,
    )
    with child, monkeypatch.context() as patched:
        assert child.stdout is not None
        child.stdout.readline()
        patched.setattr(processes, "end_marked", lambda *_: [child.pid])
        with pytest.raises(RankFailedError, match=f"process.* {child.pid} of this study cannot be"):
            runs.runner().end_leftovers()
        child.kill()


def test_leftovers_are_ended_and_unseen_ends_are_noted(runs: Runs) -> None:
    study_files.new_attempt(runs.record, runs.record.cells[0], 1)
    with subprocess.Popen(
        [sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(100)"],
        env={**os.environ, MARK_VARIABLE: runs.record.mark},
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        runs.runner().end_leftovers()
        assert child.wait(60) == -signal.SIGTERM
    assert "ending 1 process(es) of an earlier launch of this study" in runs.err.getvalue()
    assert runs.note(runs.record.cells[0].id)["state"] == "interrupted"
