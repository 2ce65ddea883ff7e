"""Rows and words made safe to show: in Markdown, in CSV."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from distbench.plain_text import printable


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table; numbers stand right, the first column left."""
    lines = [_markdown_row(columns), "|" + "|".join([":--"] + ["--:"] * (len(columns) - 1)) + "|"]
    return lines + [_markdown_row(row) for row in rows]


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(markdown(cell) for cell in cells) + " |"


def markdown(text: str) -> str:
    """Text that Markdown shows as it is, whatever a host name holds."""
    return re.sub(r"([\\|<>`*\[\]])", r"\\\1", printable(text))


def csv_text(frame: pd.DataFrame) -> str:
    """A frame as CSV; a cell that a spreadsheet would take for a formula gets an apostrophe."""
    safe = frame.copy()
    for name in safe.columns:
        if not pd.api.types.is_numeric_dtype(safe[name]):
            safe[name] = safe[name].map(_csv_cell)
    return str(safe.to_csv(index=False, lineterminator="\n"))


def _csv_cell(value: Any) -> Any:
    if isinstance(value, str):
        value = printable(value)
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return "'" + value
    return value
