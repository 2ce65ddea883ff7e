"""A study with real launches: killed in its third cell, resumed, and compared with the plan."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from distbench.study import processes, study_files
from distbench.study.study import MARK_VARIABLE
from tests.launching import clean_environment, distbench, need
from tests.study_fakes import verdicts

STUDY = """\
[study]
name = "killed and resumed"
ranks = 2
time_limit_s = 150
[run]
preset = "quick"
phases = "train_step"
steps = 6
warmup_steps = 1
[axes]
config = ["A", "B"]
batch_size = [1, 2]
"""
pytestmark = pytest.mark.real


def begin(folder: Path, *flags: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        distbench("study", "study.toml", "--output", "study", *flags),
        cwd=folder,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_third_run(directory: Path) -> None:
    """Waits until the ranks of the third launch have begun to write."""
    deadline = time.monotonic() + 200
    while len(list(directory.glob("cells/*/*/run/raw/rank-00000.jsonl"))) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.timeout(600)
def test_a_study_killed_in_its_third_cell_is_resumed(tmp_path: Path) -> None:
    need("horovodrun")
    (tmp_path / "study.toml").write_text(STUDY)
    directory = tmp_path / "study"
    with begin(tmp_path) as process:
        wait_for_third_run(directory)
        process.send_signal(signal.SIGKILL)
    record = study_files.load(directory)
    assert sorted(verdicts(directory).values()) == ["complete", "complete"]
    with begin(tmp_path, "--resume") as process:
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "of 4 cells are complete" in err
    assert processes.marked(MARK_VARIABLE, record.mark) == []
    # the same set of cells as of a study that nobody interrupted: those of the plan
    attempts = record.all_attempts()
    assert {path.name for path in (directory / "cells").iterdir()} == set(attempts)
    assert len(attempts) == 4
    assert [study_files.completed(of_cell) for of_cell in attempts.values()] == [1] * 4
    assert "killed and resumed: 4 of 4 cells are complete" in out
    assert out.rstrip().endswith("report: study/derived/study.md")
    for name in ("cells.csv", "curves.csv", "study.md", "throughput.png", "throughput.svg"):
        assert (directory / "derived" / name).stat().st_size > 0
