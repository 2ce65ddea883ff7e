from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from distbench.analysis.collect import load_run
from distbench.report.build import find
from distbench.report.findings import Findings
from distbench.report.published import published_points
from distbench.report.scaling_plots import scaling_figures
from tests.fakes import ladder_blocks, study_config, write_run, write_study

NAMES = ["scaling_throughput", "scaling_efficiency", "scaling_step_time"]


def findings(directory: Path, nodes: tuple[int, ...] = (0, 0, 1, 1)) -> Findings:
    write_study(directory, study_config(), list(nodes))
    return find(load_run(directory))


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_curve_has_three_charts_that_name_what_was_run(run_directory: Path) -> None:
    made = scaling_figures(findings(run_directory), [])
    assert list(made) == NAMES
    for figure, caption in made.values():
        shown = figure.get_suptitle()
        assert shown.replace("\n", " ").endswith("on 1, 2 and 4 CPUs")
        assert "number of ranks" in caption


def test_throughput_has_the_ideal_line_from_the_named_baseline(run_directory: Path) -> None:
    found = findings(run_directory)
    figure = scaling_figures(found, [])["scaling_throughput"][0]
    axes = figure.axes[0]
    (ideal,) = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert found.scaling is not None
    base = found.scaling["images_per_s"].iloc[0]
    assert list(ideal.get_ydata()) == pytest.approx([base, 2 * base, 4 * base])
    measured = next(line for line in axes.lines if line.get_marker() == "o")
    assert list(measured.get_ydata()) == pytest.approx(found.scaling["images_per_s"].tolist())
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert legend(figure)[0] == "measured, train_step (median, 95 % interval)"
    assert "median step of 4 ranks, each alone" in legend(figure)[1]


def test_efficiency_marks_where_a_node_is_left(run_directory: Path) -> None:
    figure = scaling_figures(findings(run_directory), [])["scaling_efficiency"][0]
    words = [text.get_text() for text in figure.axes[0].texts]
    assert "1 → 2 nodes" in words
    assert "78.7 %" in words


def test_one_node_has_no_boundary(run_directory: Path) -> None:
    figure = scaling_figures(findings(run_directory, (0, 0, 0, 0)), [])["scaling_efficiency"][0]
    assert not any("nodes" in text.get_text() for text in figure.axes[0].texts)


def test_the_stack_of_each_size_is_as_high_as_its_step(run_directory: Path) -> None:
    found = findings(run_directory)
    figure = scaling_figures(found, [])["scaling_step_time"][0]
    assert found.scaling is not None
    for position, step_s in enumerate(found.scaling["step_s"]):
        tops = [
            bar.get_y() + bar.get_height()
            for bar in figure.axes[0].patches
            if bar.get_x() + bar.get_width() / 2 == pytest.approx(position)
        ]
        # a step of the ranks alone is a pooled median, of which the parts' difference is near
        assert max(tops) == pytest.approx(step_s, rel=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_published_points_are_a_layer_of_their_own_with_their_dates(
    run_directory: Path, name: str
) -> None:
    config = study_config(width_multiplier=1.0, fc_units=4096, batch_size=32, image_size=224)
    write_study(run_directory, config, [0, 0, 1, 1])
    found = find(load_run(run_directory))
    without = scaling_figures(found, [])[name][0]
    with_layer = scaling_figures(found, published_points())[name][0]
    assert not any("published" in text for text in legend(without))
    layer = [
        text
        for text in legend(with_layer)
        if text.startswith("published VGG-16, not measured here")
    ]
    assert any(
        "DGX-1 P100, NVLink, replicated NCCL (TensorFlow r1 benchmarks page, 2017-05)" in text
        for text in layer
    )
    added = len(with_layer.axes[0].lines) - len(without.axes[0].lines)
    assert added == len(layer)


def test_the_step_alone_has_no_parts_to_stack(run_directory: Path) -> None:
    write_study(run_directory, study_config(phases=("train_step",)), [0, 0, 1, 1])
    assert list(scaling_figures(find(load_run(run_directory)), [])) == NAMES[:2]


def test_a_plain_run_has_no_curve(run_directory: Path) -> None:
    write_run(run_directory, [ladder_blocks(), ladder_blocks()])
    assert scaling_figures(find(load_run(run_directory)), []) == {}
