"""The chart of a study: images per second by the number of ranks, one line per curve."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distbench import units
from distbench.analysis.studies import Curve, common_title
from distbench.layout import StudyLayout
from distbench.report.chart_files import write_chart
from distbench.report.html_svg import HtmlChart
from distbench.report.style import (
    GREY,
    LEGEND_LINE_INCHES,
    SUBTITLE_CHARACTERS,
    interval_reach,
    legend_below,
    name_figure,
    plain,
    rate_axis,
    size_axis,
    style,
)

MOST_CURVES = 20  # more cannot be told apart
LONGEST_LABEL = 70
# petroff10, made for colour-blind readers.
COLOURS = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)


def write_charts(layout: StudyLayout, name: str, curves: Sequence[Curve]) -> list[HtmlChart]:
    """Writes the chart as PNG and SVG under derived/."""
    several_sizes = len({int(size) for curve in curves for size in curve.points["size"]}) > 1
    draw, what = (along_sizes, "by the number of ranks") if several_sizes else (side_by_side, "")
    with style():
        caption = f"Throughput {what}".strip()
        return [write_chart(layout.derived, "throughput", draw(name, curves), caption)]


def _figure(name: str, curves: Sequence[Curve], height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(9, height), layout="constrained")
    axes = figure.subplots()
    left_out = f"; {MOST_CURVES} of {len(curves)} shown" if len(curves) > MOST_CURVES else ""
    what = textwrap.fill(plain(common_title(curves) + left_out), SUBTITLE_CHARACTERS)
    name_figure(figure, plain(f"{name}: throughput"), what)
    return figure, axes


def along_sizes(name: str, curves: Sequence[Curve]) -> Figure:
    """Images per second against size on logarithmic axes, each curve with its ideal line."""
    shown = curves[:MOST_CURVES]
    figure, axes = _figure(name, curves, height=4.6 + LEGEND_LINE_INCHES * (len(shown) + 1))
    for index, curve in enumerate(shown):
        _draw(axes, curve, COLOURS[index % len(COLOURS)], index >= len(COLOURS))
    axes.plot([], [], linestyle="--", color=GREY, label="ideal, from each curve's baseline")
    sizes = sorted({int(size) for curve in shown for size in curve.points["size"]})
    axes.set_xscale("log", base=2)
    size_axis(axes, sizes)
    rate_axis(axes)
    entries = len(axes.get_legend_handles_labels()[1])
    legend_below(
        figure, axes, [*range(1, entries), 0]
    )  # the ideal, without interval, is first there
    return figure


def side_by_side(name: str, curves: Sequence[Curve]) -> Figure:
    """Images per second of cells that all have the same number of ranks, one bar each."""
    shown = curves[:MOST_CURVES]
    figure, axes = _figure(name, curves, height=1.6 + 0.5 * len(shown))
    for position, curve in enumerate(shown):
        point = curve.points.iloc[0]
        rate = point["images_per_s"]
        axes.barh(position, rate, color=COLOURS[0], height=0.55)
        reach = interval_reach(curve.points, "images_per_s")
        axes.errorbar(rate, position, xerr=reach, fmt="none", ecolor="black", capsize=4)
        end = (rate + float(reach[1, 0]), position)
        axes.annotate(
            units.rate(rate),
            end,
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontweight="bold",
        )
    axes.set_yticks(range(len(shown)), [_name(curve) for curve in shown])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlim(0, axes.get_xlim()[1] * 1.08)
    ranks = int(shown[0].points["size"].iloc[0])
    axes.set_xlabel(f"images/s of all {ranks} rank(s)   (bar: median; line: 95 % interval)")
    return figure


def _name(curve: Curve) -> str:
    label = curve.label or "measured"
    short = label if len(label) <= LONGEST_LABEL else f"{label[:LONGEST_LABEL]}…"
    return plain(f"{'SUSPECT: ' if curve.is_suspect else ''}{short}")


def _draw(axes: Axes, curve: Curve, colour: str, again: bool) -> None:
    points = curve.points
    axes.errorbar(
        points["size"],
        points["images_per_s"],
        yerr=interval_reach(points, "images_per_s"),
        marker="s" if again else "o",
        color=colour,
        capsize=4,
        linewidth=1.8,
        label=f"{_name(curve)} (95 % interval)",
    )
    base = points.iloc[0]
    if base["baseline_size"] and len(points) > 1:
        ideal = base["images_per_s"] / base["size"] * points["size"]
        axes.plot(points["size"], ideal, linestyle="--", linewidth=0.9, color=colour)
