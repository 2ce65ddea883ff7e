"""The look of every chart, by matplotlib's object interface: no pyplot, no state between calls."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from distbench import units
from distbench.report.findings import Findings, title
from distbench.report.scaling_tables import phases_title
from distbench.report.text import printable

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
SUBTITLE_CHARACTERS = 95  # as many as a line has room for
Drawn = tuple[Figure, str]  # a chart and its caption
STYLE: Any = {
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.titlecolor": "#444444",
    "axes.titlelocation": "left",
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
    name_figure(figure, name)
    axes.set_title(subtitle(findings, of_curve))
    return figure, axes


def name_figure(figure: Figure, name: str) -> None:
    """The name of the chart, above everything."""
    figure.suptitle(name, ha="left", x=0.01, fontweight="bold", fontsize=14)


def subtitle(findings: Findings, of_curve: bool = False) -> str:
    """What was run: no chart of a CPU, of a reduced network or of a broken run goes unmarked."""
    # matplotlib would read text between dollar signs as a formula.
    group = (
        f"; {phases_title(findings).lower()}" if findings.run.config.sizes and not of_curve else ""
    )
    text = f"{findings.warning}{printable(title(findings.run))}{group}".replace("$", r"\$")
    return textwrap.fill(text, SUBTITLE_CHARACTERS)
