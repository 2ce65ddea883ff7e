"""The look of every chart, by matplotlib's object interface: no pyplot, no state between calls."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from distbench import units
from distbench.config import PHASES
from distbench.plain_text import printable
from distbench.report.findings import Findings, title
from distbench.report.scaling_tables import phases_title

# One colour per phase in every figure, from a palette made for colour-blind readers (petroff10).
PHASE_COLOURS = {
    "forward": "#3f90da",
    "forward_backward": "#ffa90e",
    "allreduce": "#bd1f01",
    "forward_backward_allreduce": "#832db6",
    "train_step": "#a96b59",
}
PART_COLOURS = {
    "forward": PHASE_COLOURS["forward"],
    "backward": PHASE_COLOURS["forward_backward"],
    "exposed communication": PHASE_COLOURS["allreduce"],
    "optimizer": PHASE_COLOURS["train_step"],
}
GREY = "#6b6b6b"
LEGEND_LINE_INCHES = 0.21
LAYOUT_GAP_INCHES = 3 / 72  # what the constrained layout leaves free at the edges
SUBTITLE_CHARACTERS = 95  # as many as a line has room for
Drawn = tuple[Figure, str]  # a chart and its caption
STYLE: Any = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e3e3",
    "figure.facecolor": "white",
    "savefig.dpi": 150,
    "svg.hashsalt": "distbench",  # the same ids in every SVG, so that files can be compared
    "svg.fonttype": "path",
}


@contextmanager
def style() -> Iterator[None]:
    """Distbench's look, for the figures made and saved inside."""
    with matplotlib.rc_context(STYLE):
        yield


def image_bytes(figure: Figure, image_format: str) -> bytes:
    """The figure as 'png' or 'svg', the same bytes for the same figure."""
    buffer = io.BytesIO()
    metadata = {"Date": None} if image_format == "svg" else {"Software": "distbench"}
    figure.savefig(buffer, format=image_format, metadata=metadata)
    return buffer.getvalue()


def time_formatter(digits: int) -> FuncFormatter:
    """Ticks of an axis in seconds, written in s, ms or µs."""
    return FuncFormatter(lambda value_s, _: units.seconds(value_s, digits))


def new_figure(
    findings: Findings, name: str, height: float, of_curve: bool = False
) -> tuple[Figure, Axes]:
    """An empty chart, `height` inches high, with its name and what was run above it.

    `of_curve` says that it shows all sizes; a chart of one group names that group's.
    """
    figure = Figure(figsize=(9, height), layout="constrained")
    axes = figure.subplots()
    name_figure(figure, name, subtitle(findings, of_curve))
    return figure, axes


def name_figure(figure: Figure, name: str, what: str) -> None:
    """The name of the chart and what was run, above everything and from the figure's left edge.

    A title of the axes would begin where they do, so that long names beside them push it over the
    right edge. The layout makes room for one title only: `what`, with a line left free for the name.
    """
    figure.suptitle(f"\n{what}", ha="left", x=0.01, color="#444444", fontsize=11, linespacing=1.4)
    figure.text(
        0.01,
        1 - LAYOUT_GAP_INCHES / figure.get_figheight(),
        name,
        va="top",
        fontweight="bold",
        fontsize=14,
        in_layout=False,
    )


def subtitle(findings: Findings, of_curve: bool = False) -> str:
    """What was run: no chart of a CPU, of a reduced network or of a broken run goes unmarked."""
    # matplotlib would read text between dollar signs as a formula.
    group = (
        f"; {phases_title(findings).lower()}" if findings.run.config.sizes and not of_curve else ""
    )
    text = plain(f"{findings.warning}{title(findings.run)}{group}")
    return textwrap.fill(text, SUBTITLE_CHARACTERS)


def drawn_phases(findings: Findings) -> list[str]:
    """The phases of a chart: with one rank `allreduce` reduces nothing, so that it is in no chart."""
    return [phase for phase in PHASES if phase != "allreduce" or findings.ranks > 1]


def plain(text: str) -> str:
    """Text without control characters, in which matplotlib sees no formula between dollar signs."""
    return printable(text).replace("$", r"\$")


def size_axis(axes: Axes, sizes: Sequence[int]) -> None:
    """The number of ranks below the chart, with a tick at each size."""
    axes.xaxis.set_major_locator(FixedLocator(list(sizes)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("ranks")


def rate_axis(axes: Axes) -> None:
    """Images per second on a logarithmic axis, with readable ticks."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda rate, _: units.significant(rate, 3)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel("images/s of all ranks, logarithmic")
    axes.margins(y=0.15)


def legend_below(figure: Figure, axes: Axes, order: Sequence[int]) -> None:
    """The legend's entries below the chart, in `order`."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        [handles[index] for index in order],
        [labels[index] for index in order],
        loc="outside lower left",
        fontsize=9,
        frameon=False,
    )


def interval_reach(points: pd.DataFrame, column: str) -> Any:
    """How far the intervals reach down and up from the values; 0 where an end is missing or unbounded."""
    values = points[column].to_numpy()
    low, high = points[f"{column}_low"].to_numpy(), points[f"{column}_high"].to_numpy()
    return np.nan_to_num(np.array([values - low, high - values]), posinf=0.0).clip(min=0)
