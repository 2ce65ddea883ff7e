"""A chart's SVG file as a part of a page: no address, no name that two charts share, two themes.

Matplotlib writes files that stand alone. In one page their ids would meet, their metadata names
addresses outside, and black on white is all they know. Only known elements and attributes pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple
from xml.etree import ElementTree

from distbench.plain_text import printable
from distbench.report.html_parts import Markup
from distbench.report.html_style import CHART_COLOURS, variable


class HtmlChart(NamedTuple):
    """One chart of the page: its name, as its files are called, its caption, and the SVG's text."""

    name: str
    caption: str
    svg: str


_SHAPES = ("circle", "ellipse", "image", "line", "path", "polygon", "polyline", "rect", "text")
_GROUPING = ("clipPath", "defs", "g", "linearGradient", "pattern", "stop", "svg", "tspan", "use")
_ELEMENTS = frozenset((*_SHAPES, *_GROUPING))
_TARGET = re.compile(r"url\(#([^)]+)\)")
_ADDRESS = re.compile(r"url\((?!#)|\bimport\b", re.IGNORECASE)
_COLOUR = re.compile(r"#[0-9a-f]{6}\b")
_LONG_FRACTION = re.compile(r"-?\d+\.\d{3,}")
_EMBEDDED = "data:image/png;base64,"


def inline_svg(chart: HtmlChart, label: str) -> Markup:
    """The chart as an element of a page; `label` is read out to whoever cannot see it."""
    root = ElementTree.fromstring(chart.svg)  # drops comments, which repeat the labels
    used = {target for element in root.iter() for target in _targets(element)}
    _clean(root, identity(chart.name), used)
    for name in ("height", "version", "width"):  # it fills its column
        root.attrib.pop(name, None)
    root.attrib.update({"role": "img", "aria-label": printable(label)})
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def identity(name: str) -> str:
    """What a chart's ids begin with."""
    return "chart-" + re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _targets(element: ElementTree.Element) -> Iterator[str]:
    for name, value in element.attrib.items():
        yield from _TARGET.findall(value)
        if _local(name) == "href" and value.startswith("#"):
            yield value[1:]


def _clean(element: ElementTree.Element, prefix: str, used: set[str]) -> None:
    """Makes an element and what is in it safe, unique and short."""
    element.tag = _local(element.tag)
    element.attrib = {
        _local(name): _value(name, value, prefix)
        for name, value in element.attrib.items()
        if _may_stay(name, value, used)
    }
    element.tail = None
    if element.tag not in ("text", "tspan"):
        element.text = None
    for child in list(element):
        if _local(child.tag) in _ELEMENTS:
            _clean(child, prefix, used)
        else:
            element.remove(child)


def _local(name: str) -> str:
    """A name without its namespace, which HTML knows by itself."""
    return name.rpartition("}")[2]


def _may_stay(name: str, value: str, used: set[str]) -> bool:
    local = _local(name)
    if local == "href":
        return value.startswith(("#", _EMBEDDED))
    if local == "id":
        return value in used
    is_of_svg = not name.startswith("{")
    return is_of_svg and not local.lower().startswith("on") and not _ADDRESS.search(value)


def _value(name: str, value: str, prefix: str) -> str:
    local = _local(name)
    if local == "id":
        return f"{prefix}-{value}"
    if local == "href":
        return f"#{prefix}-{value[1:]}" if value.startswith("#") else "".join(value.split())
    if local == "d":
        # A hundredth of a point cannot be seen; glyphs come in whole numbers.
        value = _LONG_FRACTION.sub(lambda found: f"{float(found.group()):.2f}", value)
        return " ".join(value.split())
    value = _TARGET.sub(lambda found: f"url(#{prefix}-{found.group(1)})", value)
    return _COLOUR.sub(_themed, value) if local == "style" else value


def _themed(found: re.Match[str]) -> str:
    """A colour that the page's theme decides, where it knows it."""
    colour = found.group()
    return f"var({variable(colour)})" if colour in CHART_COLOURS else colour
