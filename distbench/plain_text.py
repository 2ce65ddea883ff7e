"""Rows and words for a terminal. Standard library only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows of a table for a terminal; numbers stand right, the first column left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        first, *others = (text.ljust(width) for text, width in zip(row, widths))
        yield "  ".join([first, *(text.strip().rjust(len(text)) for text in others)]).rstrip()


def printable(text: str) -> str:
    """Without control characters, so that no record can drive a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)
