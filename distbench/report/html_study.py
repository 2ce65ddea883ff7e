"""study.html: the curves of a study of many cells in one file, in the look of report.html."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from distbench.report.html import page
from distbench.report.html_parts import bullets, joined, paragraph, table, tag
from distbench.report.html_sections import Section, figure
from distbench.report.html_svg import HtmlChart


class StudyPart(NamedTuple):
    """One section of the page: a table, where it has columns, and sentences below it."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    lines: Sequence[str]


def study_html(
    name: str, headline: str, parts: Sequence[StudyPart], charts: Sequence[HtmlChart]
) -> str:
    """The page about a study: its headline, its charts, and a section for each part that has content."""
    top = joined(
        [
            paragraph("distbench, a study of several launches", class_="kicker"),
            tag("h1", name),
            tag("div", paragraph(f"{headline}.", class_="lead"), class_="answer"),
        ]
    )
    sections = []
    if charts:
        drawn = joined((figure(chart, "") for chart in charts), "\n")
        sections.append(Section("charts", "All curves", drawn))
    shown = [part for part in parts if part.rows or part.lines]
    sections += [_section(number, part) for number, part in enumerate(shown, start=1)]
    return page(name, top, sections, f"Made by distbench from the records of the study {name}.")


def _section(number: int, part: StudyPart) -> Section:
    content = [bullets(part.lines)]
    if part.rows:
        content.insert(0, table(part.title, part.columns, part.rows))
    return Section(f"part-{number}", part.title, joined(content, "\n"))
