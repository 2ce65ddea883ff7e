"""The sections below the answer: each says its result in a sentence, then shows charts and tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from distbench.report import html_takeaways
from distbench.report.findings import Findings
from distbench.report.html_parts import (
    NOTHING,
    Markup,
    bullets,
    flowing,
    joined,
    lead,
    paragraph,
    scrolling,
    table,
    tag,
)
from distbench.report.html_svg import HtmlChart, identity, inline_svg
from distbench.report.limit_tables import OWN_LINKS, limit_columns, limit_lines, limit_rows
from distbench.report.loss_shown import ShownBudget, shown
from distbench.report.loss_tables import (
    loss_columns,
    loss_lines,
    loss_notes,
    loss_rows,
    ranks_and_nodes,
)
from distbench.report.scaling_tables import (
    SCALING_COLUMNS,
    phases_title,
    scaling_lines,
    scaling_rows,
)
from distbench.report.straggler_tables import (
    STRAGGLER_COLUMNS,
    straggler_lines,
    straggler_method,
    straggler_rows,
)
from distbench.report.tables import (
    PHASE_COLUMNS,
    SKEW_NOTE,
    communication_lines,
    headline,
    phase_rows,
)

Charts = Sequence[HtmlChart]
MOST_CHECKS = 100  # a run of thousands of ranks that all stopped has more
_LEVEL_KINDS = {"invalid": "bad", "suspect": "warn", "note": ""}
_LEVEL_WORDS = {"invalid": "Invalid", "suspect": "Suspect", "note": "Note"}
# The section that a chart stands in, by how its name begins; the rest stand with the phases.
_PLACES = (
    ("scaling_step_time", "budget"),
    ("step_time_split", "budget"),
    ("loss", "budget"),
    ("waterfall", "budget"),
    ("scaling", "curve"),
    ("heat_map", "stragglers"),
    ("straggler", "stragglers"),
    ("arrival", "stragglers"),
    ("limit", "limits"),
    ("bound", "limits"),
)


class Section(NamedTuple):
    """One section: its address in the page, its title, and its content (empty: left out)."""

    identity: str
    title: str
    content: Markup


def result_sections(findings: Findings, charts: Charts) -> list[Section]:
    """The sections that show what was found, in the order in which questions come up."""
    made = []
    for name, title, make in _SECTIONS:
        content = make(findings, [chart for chart in charts if place(chart) == name])
        if content:
            made.append(Section(name, title, joined([_warning(findings, name), content])))
    return made


def _warning(findings: Findings, name: str) -> Markup:
    """What stands above every number that the checks found something about."""
    if not findings.warning or name == "checks":
        return NOTHING
    words = "SUSPECT" if findings.is_valid else "NOT VALID"
    link = tag("a", "see the checks", href="#checks")
    kind = "warn" if findings.is_valid else "bad"
    return tag("p", f"{words}: ", link, class_=f"badge {kind}")


def place(chart: HtmlChart) -> str:
    """The section that a chart stands in."""
    return next((where for start, where in _PLACES if chart.name.startswith(start)), "phases")


def figure(chart: HtmlChart, sentence: str) -> Markup:
    """A chart with what it says above it and what it is below it."""
    drawn = inline_svg(chart, f"{chart.caption}. {sentence}".strip())
    return tag(
        "figure",
        paragraph(sentence, class_="takeaway"),
        scrolling(drawn, chart.caption, class_="chart"),
        tag("figcaption", chart.caption),
        id=identity(chart.name),
    )


def _figures(findings: Findings, charts: Charts) -> Markup:
    return joined(
        (figure(chart, html_takeaways.takeaway(findings, chart.name)) for chart in charts), "\n"
    )


def _curve(findings: Findings, charts: Charts) -> Markup:
    if findings.scaling is None:
        return NOTHING
    kind = findings.run.config.scaling.capitalize()
    phase = findings.scaling["phase"].iloc[0]
    return joined(
        [
            _figures(findings, charts),
            table(
                f"{findings.warning}{kind} scaling, {phase}",
                SCALING_COLUMNS,
                scaling_rows(findings),
            ),
            bullets(scaling_lines(findings)),
        ],
        "\n",
    )


def _budget(findings: Findings, charts: Charts) -> Markup:
    budgets = findings.budgets
    lines = loss_lines(budgets) if budgets else []
    of_loss = [chart for chart in charts if chart.name.startswith("loss")]
    return joined(
        [
            lead(lines[-1] if lines else ""),
            _largest_budget(shown(budgets[-1])) if budgets else NOTHING,
            _figures(findings, of_loss),
            _all_budgets([shown(budget) for budget in budgets]) if len(budgets) > 1 else NOTHING,
            bullets(reversed(lines[:-1])),
            bullets(loss_notes(budgets), class_="quiet") if budgets else NOTHING,
            _figures(findings, [chart for chart in charts if chart not in of_loss]),
            bullets(communication_lines(findings)),
        ],
        "\n",
    )


def _largest_budget(text: ShownBudget) -> Markup:
    budget = text.budget
    title = f"From ideal to measured: {ranks_and_nodes(budget)}, {budget.phase}"
    return table(title, loss_columns(budget), loss_rows(text))


def _all_budgets(texts: Sequence[ShownBudget]) -> Markup:
    """One column per size: the time of each part in a step."""
    names = dict.fromkeys(part.part.name for text in texts for part in text.parts)
    of_sizes = [{part.part.name: part.time for part in text.parts} for text in texts]
    rows = [
        ("ideal", *(text.ideal for text in texts)),
        *((name, *(of_size.get(name, "") for of_size in of_sizes)) for name in names),
        ("measured", *(text.measured for text in texts)),
        ("efficiency", *(f"{text.efficiency_points} %" for text in texts)),
    ]
    columns = ("part of a step", *(f"{text.budget.size} ranks" for text in texts))
    return table("All sizes (loss.csv has the intervals)", columns, rows)


def _stragglers(findings: Findings, charts: Charts) -> Markup:
    found = findings.stragglers
    if found is None:
        return _figures(findings, charts)
    first, *others = straggler_lines(found)
    rows = straggler_rows(found)
    shown = f"the {len(rows)} slowest of {found.ranks}" if len(rows) < found.ranks else "all"
    return joined(
        [
            lead(first),
            bullets(others),
            _figures(findings, charts),
            table(f"Ranks: {shown}", STRAGGLER_COLUMNS, rows),
            bullets(straggler_method(found), class_="quiet"),
        ],
        "\n",
    )


def _limits(findings: Findings, charts: Charts) -> Markup:
    if findings.limits is None:
        return _figures(findings, charts)
    limits = findings.limits
    lines = limit_lines(limits)
    if not lines:
        return _figures(findings, charts)
    return joined(
        [
            paragraph(lines[0], class_="lead"),
            bullets(lines[1:]),
            table(
                "What each size reaches of its bounds", limit_columns(limits), limit_rows(limits)
            ),
            paragraph(OWN_LINKS if limits.links.is_measured else "", class_="quiet"),
            _figures(findings, charts),
        ],
        "\n",
    )


def _phases(findings: Findings, charts: Charts) -> Markup:
    return joined(
        [
            paragraph(headline(findings), class_="lead"),
            table(
                f"{findings.warning}{phases_title(findings)}",
                PHASE_COLUMNS,
                phase_rows(findings.summary),
            ),
            paragraph(SKEW_NOTE, class_="quiet"),
            _figures(findings, charts),
        ],
        "\n",
    )


def _checks(findings: Findings, charts: Charts) -> Markup:
    """The gravest first; each says its level in words."""
    items = [
        tag(
            "li",
            tag("strong", f"{_LEVEL_WORDS[check.level]}: "),
            tag("span", flowing(check.text)),
            class_=_LEVEL_KINDS[check.level],
        )
        for check in findings.checks[:MOST_CHECKS]
    ]
    hidden = len(findings.checks) - len(items)
    return joined(
        [
            paragraph(_verdict(findings), class_="lead"),
            tag("ul", *items, class_="checks"),
            paragraph(f"{hidden} more stand in report.md." if hidden else ""),
        ]
    )


def _verdict(findings: Findings) -> str:
    levels = [check.level for check in findings.checks]
    if not findings.is_valid:
        return "The numbers of this run may not be used: at least one check failed."
    suspect = levels.count("suspect")
    if suspect:
        return (
            f"{suspect} finding(s) may have changed the numbers: look into them before quoting any."
        )
    return "No check failed. What is noted here is good to know."


_SECTIONS: Sequence[tuple[str, str, Callable[[Findings, Charts], Markup]]] = (
    ("curve", "The scaling curve", _curve),
    ("budget", "Where the time goes", _budget),
    ("stragglers", "Stragglers", _stragglers),
    ("phases", "The phases of a step", _phases),
    ("limits", "Limits of the hardware", _limits),
    ("checks", "Checks", _checks),
)
