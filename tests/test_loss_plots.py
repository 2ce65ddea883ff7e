from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distbench.analysis.collect import Run, load_run
from distbench.analysis.loss import LossBudget
from distbench.analysis.loss_ladder import PARTS
from distbench.report.findings import Findings
from distbench.report.loss_plots import LOSS_COLOURS, loss_figures
from distbench.report.style import image_bytes, style
from tests.fakes import ladder_blocks, write_run
from tests.test_loss_shown import budget_of


@pytest.fixture
def run(run_directory: Path) -> Run:
    write_run(run_directory, [ladder_blocks(), ladder_blocks()])
    return load_run(run_directory)


def drawn(run: Run, *budgets: LossBudget) -> dict[str, Figure]:
    findings = SimpleNamespace(run=run, warning="SUSPECT: ", budgets=budgets)
    made = loss_figures(cast(Findings, findings))
    assert all(caption for _, caption in made.values())
    return {name: figure for name, (figure, _) in made.items()}


def labels(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


SLOW_WIRE = budget_of(0.06632, 0.0, 0.003, 0.002, 0.0123, 0.010, 0.0039)


def test_the_waterfall_goes_from_ideal_to_measured(run: Run) -> None:
    axes = drawn(run, SLOW_WIRE)["loss_waterfall"].axes[0]
    *parts, whole = axes.patches
    widths = [part.loss_s for part in SLOW_WIRE.parts]
    assert [bar.get_width() for bar in parts] == pytest.approx(widths)
    ends = [bar.get_x() + bar.get_width() for bar in parts]
    assert [bar.get_x() for bar in parts] == pytest.approx([0.0, *ends[:-1]])
    assert whole.get_x() == 0.0
    assert whole.get_width() == pytest.approx(SLOW_WIRE.loss_s)
    assert ends[-1] == pytest.approx(SLOW_WIRE.loss_s)
    words = [text.get_text() for text in axes.texts]
    assert words[0] == "66.32 ms   100.0 %"
    assert words[4] == "12.30 ms   12.6 points"
    assert words[-1] == "31.20 ms   32.0 points"
    assert labels(axes)[0] == "ideal step"
    assert labels(axes)[-1] == "lost in all:\ntrain_step takes 97.52 ms"


def test_every_bar_has_its_interval(run: Run) -> None:
    axes = drawn(run, SLOW_WIRE)["loss_waterfall"].axes[0]
    wire, whiskers = SLOW_WIRE.parts[3], [list(line.get_xdata()) for line in axes.lines]
    left = sum(part.loss_s for part in SLOW_WIRE.parts[:3])
    assert pytest.approx([left + wire.low_s, left + wire.high_s]) in whiskers
    assert [SLOW_WIRE.loss_low_s, SLOW_WIRE.loss_high_s] in whiskers


def test_a_part_that_gives_time_back_goes_back(run: Run) -> None:
    budget = budget_of(0.1, 0.02, 0.0, 0.0, 0.0, -0.015)
    bars = drawn(run, budget)["loss_waterfall"].axes[0].patches
    assert bars[4].get_x() + bars[4].get_width() == pytest.approx(0.005)
    assert bars[4].get_hatch()
    assert not bars[0].get_hatch()


def test_the_scale_above_is_in_points(run: Run) -> None:
    figure = drawn(run, SLOW_WIRE)["loss_waterfall"]
    (above,) = figure.axes[0].child_axes
    image_bytes(figure, "png")  # drawing sets its limits
    assert above.get_xlabel() == "points of efficiency"
    left, right = figure.axes[0].get_xlim()
    assert above.get_xlim() == pytest.approx((100 * left / 0.09752, 100 * right / 0.09752))


def test_all_sizes_are_stacked_in_points(run: Run) -> None:
    two = budget_of(0.1, 0.02, 0.01, 0.0, 0.0, -0.01, size=2)
    axes = drawn(run, two, SLOW_WIRE)["loss_by_size"].axes[0]
    first = axes.patches[: len(two.parts)]
    assert [bar.get_height() for bar in first] == pytest.approx(
        [100 * part.share for part in two.parts]
    )
    # 20 and 10 ms of 120 stand on each other, what gives back 10 hangs below
    assert first[1].get_y() == pytest.approx(100 * 0.02 / 0.12)
    assert first[4].get_y() == pytest.approx(0.0)
    totals = [line.get_ydata()[0] for line in axes.lines][:2]
    assert totals == pytest.approx([100 * 0.02 / 0.12, 100 * (1 - SLOW_WIRE.efficiency)])
    assert [text.get_text() for text in axes.texts] == ["83.3 %", "68.0 %"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["2", "8"]


def test_one_size_has_one_chart_and_no_budget_none(run: Run) -> None:
    assert list(drawn(run, SLOW_WIRE)) == ["loss_waterfall"]
    assert drawn(run) == {}


def test_without_a_baseline_no_chart_speaks_of_efficiency(run: Run) -> None:
    figure = drawn(run, budget_of(0.1, 0.0, 0.05, has_baseline=False))["loss_waterfall"]
    axes = figure.axes[0]
    words = [text.get_text() for text in axes.texts] + labels(axes)
    assert words[0] == "100.0 ms   66.7 %"
    assert not any("points" in word or "ideal" in word for word in words)
    assert "efficiency" not in figure.get_suptitle()


def test_a_loss_of_nothing_and_missing_intervals_can_be_drawn(run: Run) -> None:
    nan = float("nan")
    without = budget_of(0.1, loss_low_s=nan, loss_high_s=nan)
    for figure in drawn(run, without, budget_of(0.1)).values():
        assert image_bytes(figure, "png").startswith(b"\x89PNG")


def test_the_same_budgets_give_the_same_bytes(run: Run) -> None:
    with style():
        first, again = (
            [image_bytes(figure, "svg") for figure in drawn(run, SLOW_WIRE, SLOW_WIRE).values()]
            for _ in range(2)
        )
    assert first == again


def test_every_figure_names_what_was_run(run: Run) -> None:
    for figure in drawn(run, SLOW_WIRE, SLOW_WIRE).values():
        title = figure.get_suptitle()
        assert "SUSPECT" in title
        assert "NOT VGG" in title


def test_every_part_has_a_colour() -> None:
    assert tuple(LOSS_COLOURS) == PARTS
