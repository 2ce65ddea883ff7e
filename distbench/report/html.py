"""report.html: everything about a run in one file that can be sent, with no address outside it."""

from __future__ import annotations

from collections.abc import Sequence

from distbench.report.findings import Findings, title
from distbench.report.html_answer import answer
from distbench.report.html_evidence import evidence_sections
from distbench.report.html_parts import Markup, joined, paragraph, section, tag
from distbench.report.html_sections import Section, result_sections
from distbench.report.html_style import style_sheet
from distbench.report.html_svg import HtmlChart

# No script, nothing loaded: styles stand in the page, images (the heat maps) in its charts.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'"
)


def html_report(findings: Findings, charts: Sequence[HtmlChart]) -> str:
    """The page about one run; `charts` are drawn in their sections, in the order given."""
    sections = [*result_sections(findings, charts), *evidence_sections(findings.run)]
    foot = f"Made by distbench from the raw records of run {findings.run.run_id}."
    return page(f"{findings.warning}{title(findings.run)}", answer(findings), sections, foot)


def page(name: str, top: str, sections: Sequence[Section], foot: str) -> str:
    """A whole document: what comes first, a table of contents, and the sections."""
    content = [section(one.identity, one.title, one.content) for one in sections]
    parts = [
        tag("header", top),
        tag("main", joined([_contents(sections), *content], "\n")),
        tag("footer", paragraph(foot)),
    ]
    body = tag("body", joined(parts, "\n"))
    return f"<!DOCTYPE html>\n{tag('html', _head(name), body, lang='en')}\n"


def _head(name: str) -> Markup:
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name_="color-scheme", content="light dark"),
        tag("title", f"{name} (distbench)"),
        tag("style", Markup(f"\n{style_sheet()}")),
    )


def _contents(sections: Sequence[Section]) -> Markup:
    links = (tag("li", tag("a", one.title, href=f"#{one.identity}")) for one in sections)
    return tag("nav", tag("h2", "Contents"), tag("ol", *links), aria_label="Contents")
