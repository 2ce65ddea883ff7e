from __future__ import annotations

from pathlib import Path

from distbench.analysis.collect import load_run
from distbench.analysis.stragglers import Stragglers, find_stragglers
from distbench.report import straggler_tables
from tests.fakes import study_config, write_study
from tests.test_stragglers import write_scaled


def found_in(directory: Path, *scales: float) -> Stragglers:
    write_scaled(directory, *scales)
    found = find_stragglers(load_run(directory))
    assert found is not None
    return found


def test_without_ranks_to_compare_there_is_nothing_to_show() -> None:
    assert straggler_tables.straggler_lines(None) == []
    assert straggler_tables.straggler_rows(None) == []
    assert straggler_tables.straggler_markdown(None) == []


def test_the_named_stand_first_and_the_slowest_among_the_others_next(run_directory: Path) -> None:
    found = found_in(run_directory, 1.0, 1.2, 0.999, 1.001, 1.0)
    rows = straggler_tables.straggler_rows(found, most=3)
    assert [row[0] for row in rows] == ["1", "3", "0"]
    named = dict(zip(straggler_tables.STRAGGLER_COLUMNS, rows[0]))
    assert named["host"] == "node"
    assert named["device"] == "a processor"
    assert named["slower by"] == "20.0 %"
    assert named["alone"] == "n/a"
    assert named["straggler"] == "yes"
    assert named["slowest in"] == "100.0 %"
    assert rows[1][-1] == ""


def test_the_lines_say_each_thing_once(run_directory: Path) -> None:
    found = found_in(run_directory, 1.0, 1.2, 1.0, 1.0)
    lines = straggler_tables.straggler_lines(found)
    assert lines[0] == found.verdict
    assert sum("computes 20.0 %" in line for line in lines) == 1
    assert lines[-1] == found.notes[-1]


def test_of_many_stragglers_a_few_are_written_out(run_directory: Path) -> None:
    found = found_in(run_directory, *[1.2] * 6, *[1.0] * 9)
    lines = straggler_tables.straggler_lines(found)
    assert sum(line.startswith("Rank ") for line in lines) == straggler_tables.MOST_REASONS
    assert "The same holds for 2 more ranks." in lines


def test_a_study_shows_each_ranks_lag_alone(run_directory: Path) -> None:
    write_study(run_directory, study_config(), [0] * 4)
    found = find_stragglers(load_run(run_directory))
    assert found is not None
    named = straggler_tables.straggler_rows(found)[0]
    assert (named[0], dict(zip(straggler_tables.STRAGGLER_COLUMNS, named))["alone"]) == (
        "1",
        "2.0 %",
    )
    assert "It is slow alone too (2.0 %)" in " ".join(straggler_tables.straggler_lines(found))


def test_the_markdown_holds_the_verdict_the_table_and_the_method(run_directory: Path) -> None:
    found = found_in(run_directory, *[1.0] * 11, 1.2)
    text = "\n".join(straggler_tables.straggler_markdown(found))
    assert text.startswith("## Stragglers\n\n**Rank 11 on node ")
    assert "The 10 slowest of 12 ranks:" in text
    assert text.count("\n| ") == 11  # the columns, and ten ranks
    assert "A rank is named if " in text


def test_host_names_cannot_break_the_markdown(run_directory: Path) -> None:
    found = found_in(run_directory, 1.0, 1.2, 1.0)
    found.scores["host"] = "a|b<c>"
    text = "\n".join(straggler_tables.straggler_markdown(found))
    assert "a|b" not in text
    assert r"a\|b\<c\>" in text
