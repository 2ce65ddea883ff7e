"""The chart of a study: images per second by the number of ranks, one line per curve."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from distbench import units
from distbench.analysis.studies import Curve, common_title
from distbench.layout import StudyLayout
from distbench.records import write_atomically
from distbench.report.style import GREY, SUBTITLE_CHARACTERS, image_bytes, name_figure, style
from distbench.report.text import printable

MOST_CURVES = 20  # more cannot be told apart
LONGEST_LABEL = 70
LEGEND_LINE_INCHES = 0.21
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


def write_charts(layout: StudyLayout, name: str, curves: Sequence[Curve]) -> list[tuple[str, str]]:
    """Writes the chart as PNG and SVG under derived/; returns (file name, caption)."""
    several_sizes = len({int(size) for curve in curves for size in curve.points["size"]}) > 1
    draw, what = (along_sizes, "by the number of ranks") if several_sizes else (side_by_side, "")
    with style():
        figure = draw(name, curves)
        for image_format in ("png", "svg"):
            path = layout.derived / f"throughput.{image_format}"
            write_atomically(path, image_bytes(figure, image_format))
    return [("throughput.png", f"Throughput {what}".strip())]


def _figure(name: str, curves: Sequence[Curve], height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(9, height), layout="constrained")
    axes = figure.subplots()
    name_figure(figure, _plain(f"{name}: throughput"))
    left_out = f"; {MOST_CURVES} of {len(curves)} shown" if len(curves) > MOST_CURVES else ""
    axes.set_title(textwrap.fill(_plain(common_title(curves) + left_out), SUBTITLE_CHARACTERS))
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
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sizes))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda rate, _: units.significant(rate, 3)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("ranks")
    axes.set_ylabel("images/s of all ranks, logarithmic")
    axes.margins(y=0.15)
    handles, labels = axes.get_legend_handles_labels()
    order = [*range(1, len(labels)), 0]  # the ideal, which has no interval, is listed first
    figure.legend(
        [handles[index] for index in order],
        [labels[index] for index in order],
        loc="outside lower left",
        fontsize=9,
        frameon=False,
    )
    return figure


def side_by_side(name: str, curves: Sequence[Curve]) -> Figure:
    """Images per second of cells that all have the same number of ranks, one bar each."""
    shown = curves[:MOST_CURVES]
    figure, axes = _figure(name, curves, height=1.6 + 0.5 * len(shown))
    for position, curve in enumerate(shown):
        point = curve.points.iloc[0]
        rate = point["images_per_s"]
        axes.barh(position, rate, color=COLOURS[0], height=0.55)
        reach = _reach(curve.points)
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
    return _plain(f"{'SUSPECT: ' if curve.is_suspect else ''}{short}")


def _reach(points: pd.DataFrame) -> Any:
    """How far the intervals reach down and up from the rates; 0 where an end is missing or unbounded."""
    rates = points["images_per_s"].to_numpy()
    low, high = points["images_per_s_low"].to_numpy(), points["images_per_s_high"].to_numpy()
    return np.nan_to_num(np.array([rates - low, high - rates]), posinf=0.0).clip(min=0)


def _draw(axes: Axes, curve: Curve, colour: str, again: bool) -> None:
    points = curve.points
    axes.errorbar(
        points["size"],
        points["images_per_s"],
        yerr=_reach(points),
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


def _plain(text: str) -> str:
    """Text without control characters, in which matplotlib sees no formula between dollar signs."""
    return printable(text).replace("$", r"\$")
