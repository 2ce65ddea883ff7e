from __future__ import annotations

import dataclasses
from typing import Any

from distbench.report.style import style
from distbench.report.tune_plots import MOST_SHOWN, draw
from tests.test_tune_report import findings, row


def texts(figure: Any) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_bars_of_rates_and_dots_of_efficiency() -> None:
    with style():
        figure = draw(findings())
    rates, efficiencies = figure.axes
    assert [round(bar.get_width()) for bar in rates.patches] == [100, 90]  # the failed one has none
    names = [label.get_text() for label in rates.get_yticklabels()]
    assert names == ["WINNER: batch_size 4", r"\$x\$ defaults"]
    assert "80.0 %" in texts(figure)
    assert "not measured" in texts(figure)
    assert efficiencies.get_xlabel() == "efficiency"


def test_without_efficiency_there_is_one_panel() -> None:
    alone = dataclasses.replace(findings(), candidates=[row("a", 100.0, True), row("b", 90.0)])
    with style():
        assert len(draw(alone).axes) == 1


def test_more_than_can_be_read_are_left_out_and_counted() -> None:
    many = dataclasses.replace(
        findings(), candidates=[row(f"setting {n}", 100.0 - n) for n in range(MOST_SHOWN + 3)]
    )
    with style():
        figure = draw(many)
    assert len(figure.axes[0].patches) == MOST_SHOWN
    subtitle = figure.get_suptitle()
    assert f"{MOST_SHOWN} of {MOST_SHOWN + 3} shown" in subtitle
