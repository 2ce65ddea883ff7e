from __future__ import annotations

from distbench.plain_text import aligned, printable


def test_a_terminals_table_has_its_numbers_on_the_right() -> None:
    rows = [("phase", "images/s"), ("forward", "5"), ("train_step", "1234")]
    assert list(aligned(rows)) == [
        "phase       images/s",
        "forward            5",
        "train_step      1234",
    ]


def test_short_cells_are_filled_up() -> None:
    assert list(aligned([("a", "b"), ("ccc", "10")])) == ["a     b", "ccc  10"]


def test_no_record_drives_a_terminal() -> None:
    assert printable("a\x1b[2Jb") == "a?[2Jb"
