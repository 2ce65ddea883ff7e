"""The tables and files of a tuning: tune.md, tune.csv, effects.csv, winner.toml and a chart."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from distbench import units
from distbench.durable_files import write_atomically
from distbench.errors import OutputError
from distbench.layout import TuneLayout
from distbench.plain_text import aligned, printable
from distbench.report.html_svg import HtmlChart
from distbench.report.scaling_tables import interval_text
from distbench.report.text import csv_text, markdown, markdown_table
from distbench.report.tune_rows import WINNER, CandidateRow, TuneFindings

CANDIDATE_COLUMNS = (
    "setting",
    "launches",
    "images/s",
    "95 % interval",
    "÷ winner",
    "interval of all together",
    "efficiency",
    "95 % interval",
    "what became of it",
)
MOST_RATIO = 1000
EFFECT_COLUMNS = ("setting", "level", "÷ default", "95 % interval", "")


def report_tune(layout: TuneLayout, findings: TuneFindings) -> str:
    """Writes every derived file of the tuning; returns the text for the terminal.

    The same findings give the same bytes. Raises OutputError where derived/ cannot be written.
    """
    try:
        layout.derived.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{layout.derived} cannot be made ({error.strerror}); make the tuning writable"
        ) from error
    charts = _write_charts(layout, findings)
    texts = {
        "tune.csv": csv_text(pd.DataFrame(list(findings.candidates), columns=_fields())),
        "effects.csv": csv_text(pd.DataFrame(list(findings.effects))),
        "tune.md": markdown_tune(findings, charts, layout),
    }
    if findings.toml:
        texts[layout.winner.name] = findings.toml
    for name, text in texts.items():
        write_atomically(layout.derived / name, text.encode())
    return f"{terminal_tune(findings, layout)}\n\nreport: {layout.derived / 'tune.md'}"


def _fields() -> list[str]:
    return list(CandidateRow.__dataclass_fields__)


def _write_charts(layout: TuneLayout, findings: TuneFindings) -> list[HtmlChart]:
    if not any(row.launches for row in findings.candidates):
        return []
    from distbench.report import tune_plots  # matplotlib loads only where charts are drawn

    return [tune_plots.write(layout.derived, findings)]


def candidate_rows(findings: TuneFindings) -> list[tuple[str, ...]]:
    """One row of text per setting, under CANDIDATE_COLUMNS."""
    return [
        (
            row.label,
            str(row.launches),
            units.rate(row.images_per_s),
            interval_text(row.images_per_s_low, row.images_per_s_high, units.rate),
            ratio_text(row.ratio),
            interval_text(row.ratio_low, row.ratio_high, ratio_text),
            units.percent(row.efficiency),
            interval_text(row.efficiency_low, row.efficiency_high, units.percent),
            row.outcome,
        )
        for row in findings.candidates
    ]


def effect_rows(findings: TuneFindings) -> list[tuple[str, ...]]:
    """One row of text per level, under EFFECT_COLUMNS."""
    return [
        (
            row.setting,
            row.level,
            ratio_text(row.ratio),
            interval_text(row.low, row.high, ratio_text),
            row.note,
        )
        for row in findings.effects
    ]


def ratio_text(ratio: float) -> str:
    """A ratio with three decimals; what is past all measure, as few launches leave it, in words."""
    if math.isnan(ratio):
        return units.NOT_AVAILABLE
    return f"{ratio:.3f}" if ratio < MOST_RATIO else f"over {MOST_RATIO}"


def terminal_tune(findings: TuneFindings, layout: TuneLayout) -> str:
    """The whole report for a terminal."""
    sections = [
        [f"{findings.name}: {findings.about}", findings.headline],
        [*aligned([CANDIDATE_COLUMNS, *candidate_rows(findings)])],
    ]
    if findings.effects:
        title = "What each level makes of the default's images/s, all else at the default"
        sections.append([title, *aligned([EFFECT_COLUMNS, *effect_rows(findings)])])
    sections.append(list(findings.notes))
    if findings.command:
        sections.append(
            [_command_title(findings), findings.command, f"or: distbench study {layout.winner}"]
        )
    return "\n\n".join(
        "\n".join(printable(line) for line in section) for section in sections if section
    )


def _command_title(findings: TuneFindings) -> str:
    is_decided = any(row.outcome == WINNER for row in findings.candidates)
    return "The winner:" if is_decided else "The best so far:"


def markdown_tune(findings: TuneFindings, charts: Sequence[HtmlChart], layout: TuneLayout) -> str:
    """tune.md, beside the chart's files."""
    lines = [f"# {markdown(findings.name)}", "", markdown(findings.about), ""]
    lines += [f"**{markdown(findings.headline)}**", ""]
    if findings.command:
        lines += ["```", findings.command, "```", ""]
        lines += [f"The same as a study file: [{layout.winner.name}]({layout.winner.name})", ""]
    for chart in charts:
        lines += [f"![{markdown(chart.caption)}]({chart.name}.png)", ""]
    lines += ["## Settings", ""]
    lines += [*markdown_table(CANDIDATE_COLUMNS, candidate_rows(findings)), ""]
    if findings.effects:
        lines += ["## Effects", ""]
        lines += ["What each level makes of the default's images/s, all else at the default.", ""]
        lines += [*markdown_table(EFFECT_COLUMNS, effect_rows(findings)), ""]
    if findings.notes:
        lines += ["## Notes", "", *(f"- {markdown(note)}" for note in findings.notes), ""]
    lines += ["## Method", "", *(f"- {markdown(line)}" for line in findings.method), ""]
    return "\n".join(lines)
