from __future__ import annotations

import json

from distbench.doctor.verdicts import (
    LONGEST_TEXT,
    NOTE,
    Section,
    count,
    document,
    last_line,
    lines_of,
    note,
    of_level,
    ok,
    problem,
)

SECTIONS = [
    Section("one", [ok("all is well", tick_s=1e-9), note("odd", "look at it")]),
    Section("two", [problem("broken", "mend it"), note("old", "renew it")]),
]


def test_lines_are_aligned_under_their_title() -> None:
    assert list(lines_of(SECTIONS[0])) == [
        "one",
        "  ok:      all is well",
        "  note:    odd; look at it",
    ]
    assert list(lines_of(SECTIONS[1]))[1] == "  problem: broken; mend it"


def test_the_last_line_counts_both() -> None:
    assert last_line(SECTIONS) == "doctor: 1 problem(s), 2 note(s)"
    assert last_line([]) == "doctor: 0 problem(s), 0 note(s)"
    assert count(SECTIONS, NOTE) == 2
    assert [one.found for one in of_level(SECTIONS, NOTE)] == ["odd", "old"]


def test_nothing_can_drive_a_terminal_or_fill_it() -> None:
    hostile = problem("\x1b[2J\nfound" + "x" * 10_000, "\rfix\x07")
    text = hostile.text
    assert text.isprintable()
    assert len(text) < 2 * LONGEST_TEXT
    assert text.startswith("?[2J?found")
    assert text.endswith("; ?fix?")
    shown = document([Section("s", [hostile])], 2)["sections"][0]["verdicts"][0]
    assert shown["found"].isprintable()
    assert shown["fix"].isprintable()


def test_the_document_says_the_same_as_the_lines() -> None:
    told = json.loads(json.dumps(document(SECTIONS, 4)))
    assert (told["format"], told["ranks"]) == ("distbench.doctor", 4)
    assert (told["problems"], told["notes"]) == (1, 2)
    said = [one for section in told["sections"] for one in section["verdicts"]]
    assert [one["level"] for one in said] == ["ok", "note", "problem", "note"]
    assert said[0]["numbers"] == {"tick_s": 1e-9}
    assert said[2]["fix"] == "mend it"
