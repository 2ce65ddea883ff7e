"""A comparison for people and for programs: terminal, compare.md, compare.csv, and JSON for CI."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from distbench import units
from distbench.analysis.cell_pairs import Side
from distbench.analysis.compare import Comparison, Row
from distbench.analysis.paired_quantities import EFFICIENCY
from distbench.durable_files import json_document, write_atomically
from distbench.errors import OutputError
from distbench.plain_text import aligned, printable
from distbench.report.compare_words import (
    change_text,
    counts_text,
    headline,
    interval_text,
    launch_text,
    p_text,
    pair_text,
    place_text,
    side_text,
    threshold_text,
    warning,
)
from distbench.report.text import csv_text, markdown, markdown_table

STEP_COLUMNS = ("ranks", "phase", "A", "B", "B is", "interval", "p", "from", "verdict")
EFFICIENCY_COLUMNS = tuple(name for name in STEP_COLUMNS if name != "phase")


class Table(NamedTuple):
    """One table of the comparison."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


def terminal_differences(comparison: Comparison) -> str:
    """What stands first: the two sides, and what they differ in."""
    lines = [f"{letter}: {side_text(side)}" for letter, side in _sides(comparison)]
    rows = _difference_rows(comparison)
    if rows:
        lines += ["", "A and B differ in:", *aligned([("", "A", "B"), *rows])]
    else:
        lines += ["", "A and B differ in nothing that was recorded."]
    return _safe([*lines, *comparison.obstacles])


def terminal_comparison(comparison: Comparison) -> str:
    """The tables, the sentence that sums them up, and what to know of them."""
    sections = [[headline(comparison)]]
    for title, columns, rows in _tables(comparison):
        sections.append([title, *aligned([columns, *rows])])
    sections.append([*_reading(comparison), *comparison.notes, *comparison.apart])
    return "\n\n".join(_safe(section) for section in sections)


def _safe(lines: Sequence[str]) -> str:
    return "\n".join(printable(line).rstrip() for line in lines)


def _sides(comparison: Comparison) -> tuple[tuple[str, Side], ...]:
    return ("A", comparison.a), ("B", comparison.b)


def _difference_rows(comparison: Comparison) -> list[tuple[str, str, str]]:
    rows = []
    for one, cells in comparison.differences:
        remarks = [*(["NOT COMPARABLE"] if one.refuses else []), *cells]
        name = f"{one.name} ({'; '.join(remarks)})" if remarks else one.name
        rows.append((name, one.a, one.b))
    return rows


def _tables(comparison: Comparison) -> list[Table]:
    """The steps of each pair of cells, then the efficiencies; each says what was run."""
    tables: list[Table] = []
    for pair in comparison.pairs:
        of_cell = f" of {pair.label}: {pair_text(pair)}" if pair.label else f": {pair_text(pair)}"
        rows = [row for row in comparison.rows if row.cell == pair.label]
        steps = [_step_cells(row) for row in rows if row.quantity != EFFICIENCY]
        shares = [_efficiency_cells(row) for row in rows if row.quantity == EFFICIENCY]
        for title, columns, cells in (
            (f"Job steps{of_cell}", STEP_COLUMNS, steps),
            (f"Parallel efficiency{of_cell}", EFFICIENCY_COLUMNS, shares),
        ):
            if cells:
                tables.append(_table(comparison, title, columns, cells))
    return tables


def _table(
    comparison: Comparison, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]
) -> Table:
    """Without the column `from` where a line below the tables says it for all rows."""
    kept = [name != "from" or _shared_counts(comparison) is None for name in columns]
    return Table(
        f"{warning(comparison)}{title}",
        tuple(compress(columns, kept)),
        [tuple(compress(row, kept)) for row in rows],
    )


def _shared_counts(comparison: Comparison) -> str | None:
    counts = {counts_text(row) for row in comparison.rows}
    return counts.pop() if len(counts) == 1 else None


def _step_cells(row: Row) -> tuple[str, ...]:
    values = units.seconds(row.a), units.seconds(row.b)
    return (str(row.size), row.quantity, *values, *_finding_cells(row))


def _efficiency_cells(row: Row) -> tuple[str, ...]:
    values = units.percent(row.a), units.percent(row.b)
    return (str(row.size), *values, *_finding_cells(row))


def _finding_cells(row: Row) -> tuple[str, ...]:
    return change_text(row), interval_text(row), p_text(row.p_holm), counts_text(row), row.verdict


def _reading(comparison: Comparison) -> list[str]:
    """How to read the tables."""
    counts = _shared_counts(comparison)
    return [
        f"interval: of B ÷ A, + where B has more; the {comparison.counted} intervals hold all "
        "together with 95 % (Bonferroni); p: Holm's, corrected for as many.",
        "slower, faster (of an efficiency lower, higher): p below 0.05 and a change of more than "
        f"{threshold_text(comparison.threshold)}; no difference that matters: the whole interval "
        "within that.",
        *([f"All of it rests on {counts}."] if counts else []),
    ]


def markdown_comparison(comparison: Comparison) -> str:
    """compare.md: the same as on the terminal."""
    lines = ["# B compared with A", "", f"**{markdown(headline(comparison))}**", ""]
    lines += [f"- {letter}: {markdown(side_text(side))}" for letter, side in _sides(comparison)]
    lines += ["", "## What A and B differ in", ""]
    rows = _difference_rows(comparison)
    lines += markdown_table(("what", "A", "B"), rows) if rows else ["Nothing that was recorded."]
    for title, columns, table in _tables(comparison):
        lines += ["", f"## {markdown(title)}", "", *markdown_table(columns, table)]
    said = [*_reading(comparison), *comparison.notes, *comparison.apart]
    lines += ["", "## How to read it", "", *(f"- {markdown(line)}" for line in said)]
    lines += [
        "- A step is the median job step (the slowest rank counts), of several launches or rounds "
        "their geometric mean; intervals are Welch's of the difference of mean logarithms.",
        "",
    ]
    return "\n".join(lines)


def comparison_frame(comparison: Comparison) -> pd.DataFrame:
    """compare.csv: one row per comparison, unrounded; steps in seconds, efficiency as a fraction."""
    frame = pd.DataFrame(comparison.rows, columns=list(Row._fields))
    frame["cell"] = frame["cell"].map(printable)
    about = {pair.label: pair_text(pair) for pair in comparison.pairs}
    return frame.assign(
        about=[printable(about[row.cell]) for row in comparison.rows],
        threshold=comparison.threshold,
        comparable=not comparison.refusals,
        suspect=comparison.is_suspect,
    )


def benchmark_entries(comparison: Comparison) -> list[dict[str, Any]]:
    """B's steps as github-action-benchmark reads them (tool: customSmallerIsBetter).

    Every entry has name, unit and value, and range (± half the 95 % interval, in the same unit) where
    there is one; `extra` says what the comparison found. The unit is always ms, so that the history
    of a name never changes it.
    """
    return [_entry(comparison, row) for row in comparison.rows if row.quantity != EFFICIENCY]


def _entry(comparison: Comparison, row: Row) -> dict[str, Any]:
    (launch,) = (pair.b[0] for pair in comparison.pairs if pair.label == row.cell)
    found = (
        *([warning(comparison).rstrip(": ")] if warning(comparison) else []),
        f"A: {units.seconds(row.a)}",
        f"B is {change_text(row)}: {row.verdict}",
        f"interval: {interval_text(row)} (95 % for all {comparison.counted} comparisons together)",
        f"from {counts_text(row)}",
    )
    entry: dict[str, Any] = {
        "name": printable(f"{launch_text(launch)}: {place_text(row)}"),
        "unit": "ms",
        "value": round(1e3 * row.b, 6),
        "extra": "\n".join(printable(line) for line in found),
    }
    if math.isfinite(row.b_half):
        entry["range"] = f"± {units.significant(1e3 * row.b_half)}"
    return entry


def write_json(comparison: Comparison, path: Path) -> None:
    """Writes `benchmark_entries`. Raises OutputError where the file cannot be written."""
    write_atomically(path, json_document(benchmark_entries(comparison)))


def write_files(comparison: Comparison, directory: Path) -> Path:
    """Writes compare.md and compare.csv; returns the former's path. Raises OutputError."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{directory} cannot be made ({error.strerror}); name a directory that can with --output"
        ) from error
    text = csv_text(comparison_frame(comparison))
    write_atomically(directory / "compare.csv", text.encode())
    path = directory / "compare.md"
    write_atomically(path, markdown_comparison(comparison).encode())
    return path
