from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from distbench.analysis.check import Check
from distbench.analysis.studies import Curve, FinishedLaunch, LaunchResult
from distbench.report.study_plots import MOST_CURVES, along_sizes, side_by_side
from distbench.report.style import image_bytes, style

ABOUT = ("VGG-D, 224×224", "", "batch 32 per rank", "on GPUs")


def points(rates: Sequence[float], sizes: Sequence[int] = (1, 2, 4)) -> pd.DataFrame:
    rows = [
        {
            "size": size,
            "images_per_s": rate,
            "images_per_s_low": 0.9 * rate,
            "images_per_s_high": 1.2 * rate,
            "baseline_size": 1,
        }
        for size, rate in zip(sizes, rates)
    ]
    return pd.DataFrame(rows)


def curve(label: str, frame: pd.DataFrame, checks: tuple[Check, ...] = ()) -> Curve:
    launch: Any = FinishedLaunch("cell", 1, {}, "local", "", None)  # type: ignore[arg-type]
    return Curve(label, ABOUT, frame, (LaunchResult(launch, ABOUT, {}, frame, checks),))


def test_each_curve_is_a_line_with_its_ideal() -> None:
    curves = [curve("config A", points([10, 18, 32])), curve("config D", points([5, 10, 20]))]
    figure = along_sizes("a study", curves)
    (axes,) = figure.axes
    drawn = {tuple(line.get_ydata()) for line in axes.lines if len(line.get_xdata()) == 3}
    assert {(10, 18, 32), (10, 20, 40), (5, 10, 20)} <= drawn
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "config A (95 % interval)",
        "config D (95 % interval)",
        "ideal, from each curve's baseline",
    ]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert figure.get_suptitle() == "\nVGG-D, 224×224, batch 32 per rank, on GPUs"
    assert axes.get_xlabel() == "ranks"


def test_an_end_without_bound_or_without_value_is_not_drawn() -> None:
    frame = points([10, 18, 32])
    frame["images_per_s_high"] = [math.inf, math.nan, 40]
    frame["images_per_s_low"] = [5, math.nan, 30]
    with style():
        figure = along_sizes("a study", [curve("x", frame)])
        assert image_bytes(figure, "png") == image_bytes(figure, "png")
    (bars,) = figure.axes[0].collections
    ends = [segment[:, 1].tolist() for segment in bars.get_segments()]
    assert ends == [[5, 10], [18, 18], [30, 40]]


def test_cells_of_one_size_stand_side_by_side() -> None:
    curves = [
        curve("config A", points([10], [8])),
        curve("config $D$", points([30], [8]), (Check("suspect", "odd"),)),
    ]
    figure = side_by_side("a $study$", curves)
    (axes,) = figure.axes
    assert [patch.get_width() for patch in axes.patches] == [10, 30]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["config A", "SUSPECT: config \\$D\\$"]
    assert axes.get_xlabel().startswith("images/s of all 8 rank(s)")
    assert figure.texts[-1].get_text() == "a \\$study\\$: throughput"
    assert axes.get_xlim()[1] > 36  # the interval of the last is inside


@pytest.mark.parametrize("draw", [along_sizes, side_by_side])
def test_of_many_curves_the_first_are_shown_and_that_is_said(draw: Any) -> None:
    curves = [curve(f"seed {seed}", points([10 + seed], [2])) for seed in range(MOST_CURVES + 3)]
    figure = draw("a study", curves)
    assert figure.get_suptitle().endswith("; 20 of 23 shown")


def test_a_long_label_is_cut() -> None:
    figure = side_by_side("a study", [curve("x" * 500, points([10], [2]))])
    (label,) = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert label == "x" * 70 + "…"


def test_colours_that_come_again_have_another_marker() -> None:
    curves = [curve(f"seed {seed}", points([10, 20, 40])) for seed in range(11)]
    figure = along_sizes("a study", curves)
    lines = [line for line in figure.axes[0].lines if line.get_marker() in ("o", "s")]
    first, last = lines[0], lines[-1]
    assert first.get_color() == last.get_color()
    assert (first.get_marker(), last.get_marker()) == ("o", "s")
    assert np.isfinite(figure.axes[0].get_ylim()).all()
