"""The tables and files of a study: study.html and .md, cells.csv, curves.csv, and a chart of all curves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from distbench import units
from distbench.analysis.checks import MOST_EFFICIENCY
from distbench.analysis.curve_keys import differing
from distbench.analysis.studies import (
    Curve,
    FinishedLaunch,
    LaunchResult,
    common_title,
    curves_frame,
    curves_of,
    read_launch,
)
from distbench.durable_files import write_atomically
from distbench.errors import OutputError
from distbench.layout import StudyLayout
from distbench.plain_text import aligned, printable
from distbench.report.html_study import StudyPart, study_html
from distbench.report.html_svg import HtmlChart
from distbench.report.scaling_tables import efficiency_interval, interval_text, times
from distbench.report.text import csv_text, markdown, markdown_table

COLUMNS = (
    "size",
    "nodes",
    "launches",
    "images/s",
    "95 % interval",
    "speed-up",
    "efficiency",
    "95 % interval",
    "interval from",
)
FAILURE_COLUMNS = ("cell", "launch", "how it ended", "cause")
COMMON_COLUMNS = ("what", "value")
NOT_COMPLETED = "Launches that were not completed"
COMMON = "Alike in all curves"
METHOD = (
    "efficiency = (images/s ÷ ranks) ÷ (the baseline's images/s ÷ its ranks). From launches: the mean of "
    "the launches' median steps ± Student's t · sd ÷ √K, ratios by their logarithms; from rounds: order "
    "statistics of the rounds of one launch."
)
_RATE_COLUMNS = 5  # the first of them need no baseline


@dataclass(frozen=True)
class LaunchStanding:
    """How one launch of a cell ended, in the study's words."""

    attempt: int
    state: str
    cause: str
    wall_s: float | None


@dataclass(frozen=True)
class CellStanding:
    """One cell of the study and what became of its launches."""

    cell_id: str
    label: str
    ranks: int
    hosts: str
    varied: Mapping[str, str]
    wanted: int  # launches
    complete: int
    failed: int
    launches: Sequence[LaunchStanding]


@dataclass(frozen=True)
class StudyFindings:
    """Everything that the report of a study shows."""

    name: str
    cells: Sequence[CellStanding]
    results: Sequence[LaunchResult]
    curves: Sequence[Curve]
    without_curve: int  # complete launches that ran no training step

    @property
    def headline(self) -> str:
        """How much of the study is there."""
        whole = sum(cell.complete >= cell.wanted for cell in self.cells)
        text = f"{whole} of {len(self.cells)} cells are complete"
        failed = sum(cell.failed for cell in self.cells)
        return f"{text}; {failed} launch(es) failed" if failed else text


def report_study(
    layout: StudyLayout,
    name: str,
    cells: Sequence[CellStanding],
    launches: Sequence[FinishedLaunch],
) -> str:
    """Writes every derived file of the study; returns the text for the terminal.

    The same cells give the same bytes. Raises OutputError where derived/ cannot be written.
    """
    read = [read_launch(launch) for launch in launches]
    results = [result for result in read if result is not None]
    without = len(read) - len(results)
    findings = StudyFindings(name, cells, results, curves_of(results), without)
    try:
        layout.derived.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{layout.derived} cannot be made ({error.strerror}); make the study writable"
        ) from error
    frames = {"cells.csv": cells_frame(cells), "curves.csv": curves_frame(findings.curves)}
    for file_name, frame in frames.items():
        write_atomically(layout.derived / file_name, csv_text(frame).encode())
    charts = _write_charts(layout, findings)
    texts = {
        "study.md": markdown_study(findings, charts),
        "study.html": study_html(name, findings.headline, _parts(findings), charts),
    }
    for file_name, text in texts.items():
        write_atomically(layout.derived / file_name, text.encode())
    return f"{terminal_study(findings)}\n\nreport: {layout.derived / 'study.md'}"


def cells_frame(cells: Sequence[CellStanding]) -> pd.DataFrame:
    """One row per launch; a cell that was not launched has one row, with the state 'missing'."""
    never = LaunchStanding(0, "missing", "", None)
    rows = [
        {
            "cell": cell.cell_id,
            "label": cell.label,
            **cell.varied,
            "ranks": cell.ranks,
            "hosts": cell.hosts,
            "attempt": launch.attempt,
            "state": launch.state,
            "wall_s": math.nan if launch.wall_s is None else launch.wall_s,
            "cause": printable(launch.cause),
        }
        for cell in cells
        for launch in cell.launches or (never,)
    ]
    return pd.DataFrame(rows)


def _write_charts(layout: StudyLayout, findings: StudyFindings) -> list[HtmlChart]:
    if not findings.curves:
        return []
    from distbench.report import study_plots  # matplotlib loads only where charts are drawn

    return study_plots.write_charts(layout, findings.name, findings.curves)


def curve_rows(curve: Curve) -> list[tuple[str, ...]]:
    """One row of text per size, under COLUMNS."""
    return [
        (
            str(row.size),
            str(row.nodes),
            str(row.launches),
            units.rate(row.images_per_s),
            interval_text(row.images_per_s_low, row.images_per_s_high, units.rate),
            times(row.speed_up),
            units.percent(row.efficiency),
            efficiency_interval(row),
            row.interval_from,
        )
        for row in curve.points.itertuples()
    ]


def terminal_study(findings: StudyFindings) -> str:
    """The whole report for a terminal."""
    sections = [[f"{findings.name}: {findings.headline}"]]
    for title, columns, rows, lines in _tables(findings):
        sections.append([title, *aligned([columns, *rows]), *lines])
    sections.append([*_failure_lines(findings), *_missing_lines(findings), *_notes(findings)])
    return "\n\n".join(
        "\n".join(printable(line) for line in section) for section in sections if section
    )


class Table(NamedTuple):
    """One table of the report: a curve of several sizes, or all that have one."""

    title: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, ...]]
    lines: Sequence[str]


def _tables(findings: StudyFindings) -> list[Table]:
    """A table for each curve of several sizes, and one for all those of a single size."""
    tables, single = [], []
    for number, curve in enumerate(findings.curves, start=1):
        if len(curve.points) > 1:
            title = _curve_title(number, curve)
            tables.append(Table(title, COLUMNS, curve_rows(curve), _curve_lines(curve)))
        else:
            suspect = "SUSPECT: " if curve.is_suspect else ""
            label = f"{suspect}{curve.label or curve.title}"
            single += [(label, *row[:_RATE_COLUMNS], row[-1]) for row in curve_rows(curve)]
    if single:
        columns = ("curve", *COLUMNS[:_RATE_COLUMNS], COLUMNS[-1])
        alone = [curve for curve in findings.curves if len(curve.points) == 1]
        title = f"One size was measured ({common_title(alone)}, {alone[0].points['phase'].iloc[0]})"
        tables.append(Table(title, columns, single, ["No speed-up: nothing to compare with."]))
    return tables


def _curve_title(number: int, curve: Curve) -> str:
    warning = "SUSPECT, see the notes: " if curve.is_suspect else ""
    what = f": {curve.label}" if curve.label else ""
    return f"{warning}Curve {number}{what} ({curve.title}, {curve.points['phase'].iloc[0]})"


def _curve_lines(curve: Curve) -> list[str]:
    first = curve.points.iloc[0]
    rate = f", {units.rate(first['images_per_s'])} images/s" if first["baseline_size"] else ""
    return [f"Baseline of every speed-up: {first['baseline']}{rate}."]


def _failure_lines(findings: StudyFindings) -> list[str]:
    return [
        f"{launch.state}: {cell.label}, launch {launch.attempt}: {launch.cause}"
        for cell, launch in _unsuccessful(findings)
    ]


def _unsuccessful(findings: StudyFindings) -> Iterator[tuple[CellStanding, LaunchStanding]]:
    for cell in findings.cells:
        for launch in cell.launches:
            if launch.state != "complete":
                yield cell, launch


def _missing_lines(findings: StudyFindings) -> list[str]:
    return [
        f"missing: {cell.label}: {cell.complete} of {cell.wanted} launch(es)"
        for cell in findings.cells
        if cell.complete < cell.wanted
    ]


def _notes(findings: StudyFindings) -> list[str]:
    """What a reader of the curves must know, each once."""
    notes: dict[str, None] = {}
    for result in findings.results:
        for check in result.checks:
            if check.level != "note":
                notes[f"{check.level}: {result.launch.cell}: {check.text}"] = None
    for number, curve in enumerate(findings.curves, start=1):
        for row in curve.points.itertuples():
            if row.efficiency > MOST_EFFICIENCY:
                notes[
                    f"suspect: curve {number}, size {row.size}: an efficiency of "
                    f"{units.percent(row.efficiency)} needs an explanation"
                ] = None
    keys = [dict(curve.launches[0].key) for curve in findings.curves]
    if "threads per rank" in differing(keys):
        notes[
            "note: curves differ in the threads of a rank, which share out the cores of a node; "
            "with threads_per_rank in [run] all sizes use the same"
        ] = None
    if findings.without_curve:
        notes[
            f"note: {findings.without_curve} launch(es) ran no phase that computes, so that they are "
            "on no curve"
        ] = None
    few = any((curve.points["launches"] < 2).any() for curve in findings.curves)
    if few:
        notes[
            "note: an interval from rounds does not hold what differs between launches; "
            "--repeat 5 gives one that does"
        ] = None
    return list(notes)


def _parts(findings: StudyFindings) -> list[StudyPart]:
    """The sections of study.html."""
    return [
        *(StudyPart(*table) for table in _tables(findings)),
        StudyPart(NOT_COMPLETED, FAILURE_COLUMNS, _failure_rows(findings), ()),
        StudyPart("Missing", (), (), _missing_lines(findings)),
        StudyPart("Notes", (), (), _notes(findings)),
        StudyPart(COMMON, COMMON_COLUMNS, _common_rows(findings), ()),
        StudyPart("Method", (), (), (METHOD,)),
    ]


def markdown_study(findings: StudyFindings, charts: Sequence[HtmlChart]) -> str:
    """study.md, beside the charts' files."""
    lines = [f"# {markdown(findings.name)}", "", f"**{findings.headline}.**", ""]
    for chart in charts:
        lines += [f"![{markdown(chart.caption)}]({chart.name}.png)", ""]
    for table in _tables(findings):
        lines += [f"## {markdown(table.title)}", "", *markdown_table(table.columns, table.rows)]
        lines += ["", *(f"- {markdown(line)}" for line in table.lines), ""]
    lines += _section(NOT_COMPLETED, _table(FAILURE_COLUMNS, _failure_rows(findings)))
    lines += _section("Missing", [f"- {markdown(line)}" for line in _missing_lines(findings)])
    lines += _section("Notes", [f"- {markdown(line)}" for line in _notes(findings)])
    lines += _section(COMMON, _table(COMMON_COLUMNS, _common_rows(findings)))
    lines += [METHOD, ""]
    return "\n".join(lines)


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"## {title}", "", *lines, ""] if lines else []


def _table(columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> list[str]:
    return markdown_table(columns, rows) if rows else []


def _failure_rows(findings: StudyFindings) -> list[tuple[str, ...]]:
    return [
        (cell.label, str(launch.attempt), launch.state, launch.cause)
        for cell, launch in _unsuccessful(findings)
    ]


def _common_rows(findings: StudyFindings) -> list[tuple[str, ...]]:
    keys = [dict(curve.launches[0].key) for curve in findings.curves]
    if not keys:
        return []
    apart = set(differing(keys))
    return [(name, value) for name, value in keys[0].items() if name not in apart]
