from __future__ import annotations

from pathlib import Path

import pytest

from distbench.analysis.collect import load_run
from distbench.report import plots
from distbench.report.build import find
from distbench.report.findings import Findings
from tests.fakes import ladder_blocks, study_config, write_run, write_study


def findings(directory: Path, ranks: int = 2, **changes: object) -> Findings:
    scales = [1.0 + 0.1 * rank for rank in range(ranks)]
    blocks = [[{**one, "group_size": ranks} for one in ladder_blocks(scale)] for scale in scales]
    write_run(directory, blocks, **changes)  # type: ignore[arg-type]
    return find(load_run(directory))


def test_every_figure_names_what_was_run(run_directory: Path) -> None:
    made = plots.figures(findings(run_directory))
    assert set(made) == {*plots.FIGURES, "loss_waterfall"}
    for figure, _ in made.values():
        shown = figure.get_suptitle()
        assert "NOT VGG" in shown
        assert "2 CPUs" in shown


def test_a_studys_charts_of_one_group_name_that_group(run_directory: Path) -> None:
    write_study(run_directory, study_config(sizes=(1, 2)), [0] * 4)
    found = find(load_run(run_directory))
    for name, (figure, _) in plots.figures(found).items():
        shown = figure.get_suptitle()
        assert ("phases at 2 ranks" in shown.replace("\n", " ")) == (name in plots.FIGURES)


def test_a_broken_run_is_marked_in_every_figure(run_directory: Path) -> None:
    for figure, _ in plots.figures(findings(run_directory, unfinished=[1])).values():
        shown = figure.get_suptitle()
        assert "NOT VALID" in shown


def test_bars_are_as_long_as_the_rates(run_directory: Path) -> None:
    found = findings(run_directory)
    figure = plots.throughput(found)
    assert figure is not None
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    rates = found.summary["images_per_s"].dropna().tolist()
    assert widths == pytest.approx(rates)


def test_the_waterfall_ends_at_the_step(run_directory: Path) -> None:
    found = findings(run_directory)
    figure = plots.step_time_split(found)
    assert figure is not None
    parts, whole = figure.axes[0].patches[:4], figure.axes[0].patches[4]
    assert parts[-1].get_x() + parts[-1].get_width() == pytest.approx(whole.get_width())
    assert whole.get_width() == pytest.approx(1.1 * 45.0035e-3)


def test_one_phase_alone_has_no_split(run_directory: Path) -> None:
    blocks = [one for one in ladder_blocks() if one["phase"] == "allreduce"]
    write_run(run_directory, [blocks, blocks])
    made = plots.figures(find(load_run(run_directory)))
    assert set(made) == {"heat_map", "distribution"}
