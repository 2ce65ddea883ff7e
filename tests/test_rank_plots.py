from __future__ import annotations

from pathlib import Path

import pytest

from distbench.analysis.collect import load_run
from distbench.report import rank_plots
from distbench.report.build import find
from tests.fakes import ladder_blocks, write_run


def test_the_heat_map_has_a_row_per_rank_in_measured_order(run_directory: Path) -> None:
    scales = [1.0, 1.1, 1.2]
    write_run(
        run_directory, [[{**one, "group_size": 3} for one in ladder_blocks(k)] for k in scales]
    )
    figure = rank_plots.heat_map(find(load_run(run_directory)))
    assert figure is not None
    grid = figure.axes[0].images[0].get_array()
    assert grid is not None
    assert grid.shape == (3, 12)
    assert grid[1, 0] == pytest.approx(1.0, rel=1e-3)  # rank 1 of 3 is the median
    assert grid[2, 0] > grid[0, 0]
