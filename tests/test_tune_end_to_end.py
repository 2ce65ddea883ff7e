"""A tuning with real launches: two settings of a tiny network."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from distbench.study import processes
from distbench.study.study import MARK_VARIABLE, cells_of, read_study
from distbench.tune import tune_files
from tests.launching import clean_environment, distbench, need

TUNING = """\
[study]
name = "two batches"
ranks = 2
time_limit_s = 120
[run]
preset = "quick"
steps = 6
warmup_steps = 1
[axes]
batch_size = [1, 8]
"""


@pytest.mark.real
@pytest.mark.timeout(600)
def test_the_larger_batch_gives_more_images_per_second(tmp_path: Path) -> None:
    need("horovodrun")
    (tmp_path / "tune.toml").write_text(TUNING)
    words = ["tune", "tune.toml", "--budget", "500s", "--output", "tuning"]
    ended = subprocess.run(
        distbench(*words),
        cwd=tmp_path,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=560,
    )
    assert ended.returncode == 0, ended.stderr
    assert "batch_size 8 gives the most images/s at 2 rank(s)" in ended.stdout
    record = tune_files.load(tmp_path / "tuning")
    assert record.spent_s < 520
    assert processes.marked(MARK_VARIABLE, record.mark) == []
    (cell,) = cells_of(read_study(tmp_path / "tuning" / "derived" / "winner.toml"))
    assert cell.settings["batch_size"] == 8
