from __future__ import annotations

import re

import numpy as np
from matplotlib.figure import Figure

from distbench.report.html_svg import HtmlChart, identity, inline_svg
from distbench.report.style import image_bytes, plain, style


def drawn(label: str = "node", name: str = "chart") -> HtmlChart:
    """A chart with all that matplotlib needs ids for: clip paths, glyphs, markers, hatches, an image."""
    with style():
        figure = Figure(figsize=(4, 3))
        axes = figure.subplots()
        axes.imshow(np.arange(12.0).reshape(3, 4), aspect="auto")
        axes.bar([0, 1], [1, 2], hatch="///", facecolor="none", edgecolor="#bd1f01")
        axes.plot([0, 1, 2], [0.123456, 1, 2], marker="o", color="black")
        axes.set_title(plain(label))
        svg = image_bytes(figure, "svg").decode()
    return HtmlChart(name, "A chart", svg)


def test_nothing_points_outside_and_nothing_runs() -> None:
    made = inline_svg(drawn("http://evil.example/<script>"), "label")
    without_images = re.sub(r'"data:image/png;base64,[A-Za-z0-9+/=]*"', '""', made)
    for forbidden in ("http", "//", "xmlns", "<script", "<metadata", "<style", "<!--", "<?xml"):
        assert forbidden not in without_images, forbidden
    assert without_images != made, "the image is embedded"
    assert not re.search(r"\son\w+=", made)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", made))


def test_ids_of_two_charts_never_meet_and_every_reference_is_answered() -> None:
    first, second = (inline_svg(drawn(name=name), "label") for name in ("heat_map", "Throughput"))
    ids = [re.findall(r'\bid="([^"]*)"', made) for made in (first, second)]
    assert ids[0]
    assert not set(ids[0]) & set(ids[1])
    for made, own in zip((first, second), ids):
        assert len(own) == len(set(own))
        targets = re.findall(r'(?:href="#|url\(#)([^")]*)', made)
        assert set(targets) == set(own), "ids that nobody needs are gone, and no other is missing"


def test_it_fills_its_column_and_says_what_it_is() -> None:
    made = inline_svg(drawn(), 'what "it" shows & more')
    start = made[: made.index(">")]
    assert 'viewBox="0 0 288 216"' in start
    assert 'role="img"' in start
    assert 'aria-label="what &quot;it&quot; shows &amp; more"' in start
    assert "width" not in start
    assert "height" not in start


def test_colours_follow_the_theme_where_it_knows_them() -> None:
    made = inline_svg(drawn(), "label")
    assert "stroke: var(--c000000)" in made
    assert "fill: var(--cffffff)" in made
    assert "#000000" not in made


def test_coordinates_are_no_finer_than_can_be_seen() -> None:
    made = inline_svg(drawn(), "label")
    assert not re.search(r' d="[^"]*\d\.\d{3}', made)
    assert len(made) < 0.9 * len(drawn().svg)


def test_hostile_svg_is_cut_down() -> None:
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        'viewBox="0 0 1 1" onload="a()"><script>a()</script><foreignObject/><a href="http://x"/>'
        '<image xlink:href="http://x/y.png"/><use xlink:href="javascript:a()"/>'
        '<g style="fill: url(http://x)" onclick="a()"><path d="M 0 0" fill="red"/></g></svg>'
    )
    made = inline_svg(HtmlChart("x", "caption", svg), "label")
    assert made == (
        '<svg viewBox="0 0 1 1" role="img" aria-label="label"><image /><use />'
        '<g><path d="M 0 0" fill="red" /></g></svg>'
    )


def test_an_identity_is_a_name_that_html_takes() -> None:
    assert identity("Heat_map <1>") == "chart-heat-map-1"
