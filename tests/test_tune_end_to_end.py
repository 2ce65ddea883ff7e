"""A tuning with real launches: two settings of a tiny network."""

from __future__ import annotations

from pathlib import Path

import pandas
import pytest

from distbench.study import processes
from distbench.study.study import MARK_VARIABLE
from distbench.tune import tune_files
from tests.launching import distbench, need, run

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
batch_size = [1, 2]
"""


@pytest.mark.real
def test_the_larger_batch_gives_more_images_per_second(tmp_path: Path) -> None:
    """Within a budget of a few launches; on a busy machine it holds one, and then nothing is compared."""
    (tmp_path / "tune.toml").write_text(TUNING)
    need("horovodrun")
    ended = run(distbench("tune", "tune.toml", "--budget", "90s", "--output", "tuning"), tmp_path)
    assert ended.returncode == 0, ended.stderr
    record = tune_files.load(tmp_path / "tuning")
    assert record.spent_s < 110
    assert processes.marked(MARK_VARIABLE, record.mark) == []
    table = pandas.read_csv(tmp_path / "tuning" / "derived" / "tune.csv")
    rates = dict(zip(table["label"], table["images_per_s"]))
    assert rates["batch_size 1"] > 0, ended.stdout
    assert not rates["batch_size 2"] < rates["batch_size 1"], ended.stdout  # may be NaN
    assert "images/s" in ended.stdout
