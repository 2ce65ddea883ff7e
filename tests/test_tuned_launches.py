from __future__ import annotations

import math
from pathlib import Path

import pytest

from distbench.analysis.studies import FinishedLaunch
from distbench.analysis.tuned_launches import TunedLaunch, read_tuned
from distbench.study.study import Cell
from tests.study_fakes import run_of_cell
from tests.tune_fakes import tuning_of


def read(folder: Path, cell: Cell, step_ms: dict[int, float], ranks: int = 2) -> TunedLaunch | None:
    run_of_cell(folder / "run", cell, step_ms, drift_ms=0.001)
    return read_tuned(FinishedLaunch("x", 1, {}, "local", "", folder / "run"), ranks)


def test_the_rate_of_a_launch(tmp_path: Path) -> None:
    found = read(tmp_path, tuning_of().cell((1,)), {2: 10.0})
    assert found is not None
    assert found.images_per_s == pytest.approx(8 / 0.0100035)
    assert math.isnan(found.efficiency.value)
    assert found.obstacles == ()
    assert found.about[0].startswith("NOT VGG")


def test_the_efficiency_is_against_one_rank_of_the_same_launch(tmp_path: Path) -> None:
    found = read(tmp_path, tuning_of().efficiency_cell((1,)), {1: 8.0, 2: 10.0})
    assert found is not None
    assert found.efficiency.value == pytest.approx(0.8, rel=1e-3)
    assert found.efficiency.low <= found.efficiency.value <= found.efficiency.high
    assert found.one_rank_images_per_s == pytest.approx(4 / 0.0080035)


def test_a_launch_of_other_ranks_tells_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, tuning_of().cell((1,)), {2: 10.0}, ranks=4) is None
