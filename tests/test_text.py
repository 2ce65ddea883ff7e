from __future__ import annotations

import pandas as pd
import pytest

from distbench.report import text


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x"])
def test_csv_cells_are_no_formulas(cell: str) -> None:
    shown = text.csv_text(pd.DataFrame({"host": [cell], "value": [-1.5]}))
    assert shown == f"host,value\n'{cell},-1.5\n"


@pytest.mark.parametrize("cell", ["\tx", "\rx", "\x1bx"])
def test_csv_cells_hold_no_control_character(cell: str) -> None:
    assert text.csv_text(pd.DataFrame({"host": [cell]})) == "host\n?x\n"


def test_markdown_shows_what_it_is_given() -> None:
    assert text.markdown_table(("a", "b"), [("x|y", "<b>")]) == [
        "| a | b |",
        "|:--|--:|",
        "| x\\|y | \\<b\\> |",
    ]
