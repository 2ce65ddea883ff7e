"""The chart of a tuning: images per second of every setting, and its efficiency beside it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distbench import units
from distbench.report.chart_files import write_chart
from distbench.report.html_svg import HtmlChart
from distbench.report.style import (
    GREY,
    PHASE_COLOURS,
    SUBTITLE_CHARACTERS,
    name_figure,
    plain,
    style,
)
from distbench.report.tune_rows import CandidateRow, TuneFindings

MOST_SHOWN = 24  # more cannot be read
LONGEST_LABEL = 96
LINE_CHARACTERS = 34  # of a name beside its bar
RATE_COLOUR, WINNER_COLOUR = PHASE_COLOURS["forward"], PHASE_COLOURS["forward_backward"]
NAME = "tune"


def write(directory: Path, findings: TuneFindings) -> HtmlChart:
    """Writes the chart as PNG and SVG."""
    with style():
        return write_chart(directory, NAME, draw(findings), "Images per second of every setting")


def draw(findings: TuneFindings) -> Figure:
    """Bars of images/s, best first, with 95 % intervals; dots of efficiency where it was measured."""
    measured = [row for row in findings.candidates if row.launches]
    shown = measured[:MOST_SHOWN]
    has_efficiency = any(not np.isnan(row.efficiency) for row in shown)
    figure = Figure(figsize=(9, 1.9 + 0.46 * len(shown)), layout="constrained")
    columns = 2 if has_efficiency else 1
    panels = figure.subplots(1, columns, sharey=True, squeeze=False, width_ratios=[3, 1][:columns])[
        0
    ]
    left_out = f"; {MOST_SHOWN} of {len(measured)} shown" if len(measured) > MOST_SHOWN else ""
    what = textwrap.fill(plain(findings.about + left_out), SUBTITLE_CHARACTERS)
    name_figure(figure, plain(f"{findings.name}: settings by images/s"), what)
    _draw_rates(panels[0], shown)
    if has_efficiency:
        _draw_efficiencies(panels[1], shown)
    return figure


def _draw_rates(axes: Axes, rows: Sequence[CandidateRow]) -> None:
    most = 2 * max(row.images_per_s for row in rows)  # an interval beyond runs out of the chart
    ends = [_end(row, most) for row in rows]
    for position, (row, end) in enumerate(zip(rows, ends)):
        colour = WINNER_COLOUR if row.is_winner else RATE_COLOUR
        axes.barh(position, row.images_per_s, color=colour, height=0.6)
        if not np.isnan(row.images_per_s_low):
            interval = [row.images_per_s_low, row.images_per_s_high]
            axes.plot(interval, [position] * 2, color="black", marker="|", markersize=8)
        axes.annotate(
            units.rate(row.images_per_s),
            (end, position),
            xytext=(6, 0 if end < most else 9),
            textcoords="offset points",
            va="center",
            fontsize=10,
            fontweight="bold" if row.is_winner else "normal",
        )
    axes.set_yticks(range(len(rows)), [_name(row) for row in rows], fontsize=9)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlim(0, 1.15 * max(ends))
    axes.set_xlabel("images/s of all ranks (line: 95 % interval from launches)")


def _end(row: CandidateRow, most: float) -> float:
    """How far to the right a row reaches."""
    high = row.images_per_s if np.isnan(row.images_per_s_high) else row.images_per_s_high
    return min(max(row.images_per_s, high), most)


def _name(row: CandidateRow) -> str:
    label = row.label if len(row.label) <= LONGEST_LABEL else f"{row.label[:LONGEST_LABEL]}…"
    text = plain(f"{row.outcome + ': ' if row.is_winner else ''}{label}")
    return textwrap.fill(text, LINE_CHARACTERS)


def _draw_efficiencies(axes: Axes, rows: Sequence[CandidateRow]) -> None:
    for position, row in enumerate(rows):
        if np.isnan(row.efficiency):
            axes.annotate("not measured", (0.02, position), va="center", fontsize=8, color=GREY)
            continue
        axes.plot([row.efficiency], [position], marker="o", color=GREY)
        if not np.isnan(row.efficiency_low):
            axes.plot(
                [row.efficiency_low, row.efficiency_high], [position] * 2, color=GREY, linewidth=2
            )
        axes.annotate(
            units.percent(row.efficiency),
            (row.efficiency, position),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    axes.set_xlim(0, max(1.1, 1.05 * axes.get_xlim()[1]))
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("efficiency")
