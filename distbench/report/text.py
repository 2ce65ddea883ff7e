"""Rows and words made safe to show: on a terminal, in Markdown, in CSV."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows of a table for a terminal; numbers stand right, the first column left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        first, *others = (text.ljust(width) for text, width in zip(row, widths))
        yield "  ".join([first, *(text.strip().rjust(len(text)) for text in others)]).rstrip()


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table; numbers stand right, the first column left."""
    lines = [_markdown_row(columns), "|" + "|".join([":--"] + ["--:"] * (len(columns) - 1)) + "|"]
    return lines + [_markdown_row(row) for row in rows]


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(markdown(cell) for cell in cells) + " |"


def markdown(text: str) -> str:
    """Text that Markdown shows as it is, whatever a host name holds."""
    return re.sub(r"([\\|<>`*\[\]])", r"\\\1", printable(text))


def printable(text: str) -> str:
    """Without control characters, so that no record can drive a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def csv_text(frame: pd.DataFrame) -> str:
    """A frame as CSV; a cell that a spreadsheet would take for a formula gets an apostrophe."""
    safe = frame.copy()
    for name in safe.columns:
        if not pd.api.types.is_numeric_dtype(safe[name]):
            safe[name] = safe[name].map(_csv_cell)
    return str(safe.to_csv(index=False, lineterminator="\n"))


def _csv_cell(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return "'" + value
    return value
