from __future__ import annotations

import re

import pytest

from distbench.report.html_style import CHART_COLOURS, PAGE_COLOURS, style_sheet, variable
from distbench.report.style import GREY, PART_COLOURS, PHASE_COLOURS

LEAST_CONTRAST = 4.5  # WCAG 2.2, 1.4.3, of text
LEAST_CONTRAST_OF_LINES = 3.0  # 1.4.11, of what must be seen in a chart
ON = {"good": "good-back", "warn": "warn-back", "bad": "bad-back"}


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    lighter, darker = sorted((luminance(first), luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_the_contrast_of_black_on_white() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_can_be_read_on_what_it_stands_on(theme: int) -> None:
    colours = {name: pair[theme] for name, pair in PAGE_COLOURS.items()}
    pairs = [(text, back) for text in ("ink", "quiet", "link") for back in ("page", "card")]
    pairs += [("ink", back) for back in ("plain-back", "good-back", "warn-back", "bad-back")]
    for text, back in [*pairs, *ON.items()]:
        assert contrast(colours[text], colours[back]) >= LEAST_CONTRAST, (text, back)


@pytest.mark.parametrize("text", ["#000000", "#444444", GREY])
def test_text_in_charts_can_be_read_in_the_dark(text: str) -> None:
    assert contrast(CHART_COLOURS[text], PAGE_COLOURS["card"][1]) >= LEAST_CONTRAST


def test_bars_and_lines_stand_out_in_the_dark() -> None:
    for colour in {*PHASE_COLOURS.values(), *PART_COLOURS.values()}:
        seen = CHART_COLOURS.get(colour, colour)
        assert contrast(seen, PAGE_COLOURS["card"][1]) >= LEAST_CONTRAST_OF_LINES, colour


def test_a_charts_background_is_the_cards() -> None:
    assert ("#ffffff", CHART_COLOURS["#ffffff"]) == PAGE_COLOURS["card"]


def test_every_property_that_is_used_is_set_in_both_themes() -> None:
    sheet = style_sheet()
    used = set(re.findall(r"var\((--[a-z0-9-]+)\)", sheet)) | set(map(variable, CHART_COLOURS))
    for theme in re.findall(r":root \{ (?:color-scheme: light dark; )?(--[^}]*)\}", sheet):
        assert used <= set(re.findall(r"(--[a-z0-9-]+):", theme))
    assert sheet.count("--ink:") == 2


def test_paper_is_light_and_nothing_is_loaded() -> None:
    sheet = style_sheet()
    assert "@media screen and (prefers-color-scheme: dark)" in sheet
    assert "@media print" in sheet
    assert "url(" not in sheet
    assert "@import" not in sheet
    assert sheet.count("{") == sheet.count("}")
