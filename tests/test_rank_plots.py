from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from distbench.analysis.collect import load_run
from distbench.report import rank_plots
from distbench.report.build import find
from tests.fakes import ladder_blocks, study_config, write_run, write_study


def drawn(directory: Path, named: tuple[int, ...] = ()) -> Figure:
    found: Any = find(load_run(directory))
    values = {item.name: getattr(found, item.name) for item in dataclasses.fields(found)}
    values["stragglers"] = SimpleNamespace(named=[SimpleNamespace(rank=rank) for rank in named])
    shown = SimpleNamespace(**values, ranks=found.ranks, warning=found.warning)
    figure = rank_plots.heat_map(shown)  # type: ignore[arg-type]
    assert figure is not None
    return figure


def image_of(figure: Figure) -> Any:
    image = figure.axes[0].images[0].get_array()
    assert image is not None
    return image


def test_the_heat_map_has_a_row_per_rank_in_measured_order(run_directory: Path) -> None:
    scales = [1.0, 1.1, 1.2]
    write_run(
        run_directory, [[{**one, "group_size": 3} for one in ladder_blocks(k)] for k in scales]
    )
    figure = drawn(run_directory)
    image = image_of(figure)
    assert image.shape == (3, 12)
    assert image[1].tolist() == pytest.approx([0.0] * 12)  # rank 1 of 3 is the median
    assert image[2].tolist() == pytest.approx([0.1 / 1.1] * 12)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [
        "rank 0",
        "rank 1",
        "rank 2",
    ]


def test_rows_stand_by_host_with_a_line_between(run_directory: Path) -> None:
    write_study(run_directory, study_config(sizes=(4,)), [0, 1, 0, 1])
    figure = drawn(run_directory, named=(1,))
    axes = figure.axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["node-0: 0 … 2", "node-1: 1 … 3"]
    assert list(axes.get_yticks()) == [0.5, 2.5]
    assert image_of(figure)[2].min() > 0.019  # rank 1, which is 2 % slower
    black = [line for line in axes.lines if line.get_color() == "black"]
    assert [line.get_ydata()[0] for line in black] == [1.5]  # type: ignore[index]
    marks = {text.get_text(): text.xy[1] for text in axes.texts}  # type: ignore[attr-defined]
    assert marks == {"◀ rank 1": 2.0}


def test_findings_without_stragglers_are_drawn_too(run_directory: Path) -> None:
    write_run(run_directory, [ladder_blocks(), ladder_blocks()])
    figure = rank_plots.heat_map(find(load_run(run_directory)))
    assert figure is not None
    assert "forward_backward" in figure.texts[-1].get_text()
    assert not figure.axes[0].texts


def test_a_run_that_only_communicates_is_drawn_by_that(run_directory: Path) -> None:
    blocks = [one for one in ladder_blocks() if one["phase"] == "allreduce"]
    write_run(run_directory, [blocks, blocks])
    assert "allreduce" in drawn(run_directory).texts[-1].get_text()


def test_rows_are_pooled_within_hosts_and_keep_the_slowest_rank() -> None:
    hosts = [f"node-{rank // 8}" for rank in range(1024)]
    rows = rank_plots.row_starts(hosts)
    assert len(rows) <= rank_plots.MOST_ROWS
    assert {0, 8, 16, 1016} <= set(rows.tolist())  # each host begins a row
    lags = np.zeros((1024, 6))
    lags[701] = 0.05
    lags[702, 3] = 9.0  # one spike is not what makes a rank slow
    image = rank_plots.slowest_of_ranks(lags, rows)
    row = int(np.searchsorted(rows, 701, side="right")) - 1
    assert image[row].tolist() == [0.05] * 6
    assert np.count_nonzero(image.any(axis=1)) == 1
    many = rank_plots.row_starts([f"node-{rank}" for rank in range(4096)])
    assert len(many) <= rank_plots.MOST_ROWS
    assert np.diff(many).max() == np.diff(many).min() == 13


def test_columns_are_medians_of_steps() -> None:
    assert rank_plots.column_starts(250).tolist() == list(range(250))
    starts = rank_plots.column_starts(1000)
    assert len(starts) == 250
    lags = np.arange(2000.0).reshape(2, 1000)
    assert rank_plots.median_of_steps(lags, starts)[1, :2].tolist() == [1001.5, 1005.5]


def test_stragglers_side_by_side_share_a_mark(run_directory: Path) -> None:
    blocks = [{**one, "group_size": 6} for one in ladder_blocks()]
    write_run(run_directory, [blocks] * 6)
    texts = {text.get_text() for text in drawn(run_directory, named=(1, 2, 3, 5)).axes[0].texts}
    assert texts == {"◀ ranks 1–3", "◀ rank 5"}


def test_host_names_are_no_formulas_and_not_too_long(run_directory: Path) -> None:
    write_study(run_directory, study_config(sizes=(2,)), [0, 1])
    run = load_run(run_directory)
    long_name = {"node-0": "a-very-long-name-of-a-host-$x_1$-in-a-cluster"}
    run.steps["host"] = run.steps["host"].astype(str).replace(long_name)
    figure = rank_plots.heat_map(find(run))
    assert figure is not None
    label = figure.axes[0].get_yticklabels()[0].get_text()
    assert label == r"…host-\$x_1\$-in-a-cluster: 0"
