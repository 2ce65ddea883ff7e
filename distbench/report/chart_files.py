"""A drawn chart to its files: PNG for text that links it, SVG for print and for pages that hold it."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from distbench.durable_files import write_atomically
from distbench.report.html_svg import HtmlChart
from distbench.report.style import image_bytes


def write_chart(directory: Path, name: str, figure: Figure, caption: str) -> HtmlChart:
    """Writes `name`.png and `name`.svg below the directory; returns the chart for a page."""
    images = {kind: image_bytes(figure, kind) for kind in ("png", "svg")}
    for kind, image in images.items():
        write_atomically(directory / f"{name}.{kind}", image)
    return HtmlChart(name, caption, images["svg"].decode())
