from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pandas as pd
import pytest

from distbench.analysis.compare import compare
from distbench.analysis.compared_launches import ComparedLaunch
from distbench.errors import OutputError
from distbench.report import compare_report
from distbench.report.compare_report import (
    benchmark_entries,
    markdown_comparison,
    terminal_comparison,
    terminal_differences,
    write_files,
    write_json,
)
from tests.compare_fakes import FACTS, FORWARD, STEADY, STEP, compared, launch, side, times

HOSTILE = "<script>|`=cmd()`\x1b[2J"


def test_the_differences_stand_first_and_those_that_forbid_it_are_marked() -> None:
    text = terminal_differences(compared(facts={**FACTS, "device": "GPU: y", "seed": "1"}))
    lines = text.splitlines()
    assert lines[0] == "A: results/a (VGG-D, 224×224, batch 4 per rank, on CPUs; run run-a)"
    assert lines[3] == "A and B differ in:"
    assert re.fullmatch(r"device \(NOT COMPARABLE\) +CPU: x +GPU: y", lines[5])
    assert re.fullmatch(r"seed +0 +1", lines[6])
    assert terminal_differences(compared()).endswith("differ in nothing that was recorded.")


def test_the_table_shows_both_sides_and_what_it_rests_on() -> None:
    text = terminal_comparison(compared())
    row = next(line for line in text.splitlines() if "train_step  " in line)
    cells = re.split(r" {2,}", row)
    assert cells[:5] == ["2", "train_step", "40.00 ms", "42.00 ms", "5.0 % slower"]
    low, high = re.fullmatch(r"\+(.*) % to \+(.*) %", cells[5]).groups()  # type: ignore[union-attr]
    assert 4.5 < float(low) < 5.0 < float(high) < 5.5
    assert cells[6:] == ["<0.001", "slower"]
    assert "the 2 intervals hold all together with 95 % (Bonferroni)" in text
    assert "All of it rests on 6 rounds of A, 6 rounds of B." not in text
    assert "All of it rests on 6 rounds of A, 6 of B." in text
    assert "note: low confidence" in text


def test_rows_that_rest_on_different_counts_say_so() -> None:
    a = launch({FORWARD: STEADY, STEP: STEADY}, run_id="run-a")
    b = launch({FORWARD: STEADY[:4], STEP: STEADY}, run_id="run-b")
    text = terminal_comparison(compare(side(a), side(b)))
    assert "6 rounds of A, 4 of B" in text
    assert "All of it rests on" not in text


def test_warnings_stand_in_the_headline_and_in_every_table() -> None:
    suspect = compared(warnings=("8 threads on 2 cores",))
    text = terminal_comparison(suspect)
    assert text.startswith("SUSPECT, see the notes: train_step of 2 ranks: B is 5.0 % slower")
    assert "SUSPECT, see the notes: Job steps: VGG-D" in text
    assert "suspect: B: 8 threads on 2 cores" in text
    unlike = compared(facts={**FACTS, "device": "GPU: y"})
    assert terminal_comparison(unlike).count("NOT COMPARABLE, see the differences: ") == 2


def test_a_simulated_side_is_named_in_every_table() -> None:
    text = terminal_comparison(compared(network="SIMULATED: VGG-D"))
    assert "Job steps: A VGG-D, 224×224, batch 4 per rank, on CPUs; B SIMULATED: VGG-D" in text


def test_efficiency_has_a_table_of_its_own() -> None:
    def curve(factor: float, run_id: str) -> ComparedLaunch:
        steps = {(1, "train_step"): times(1), STEP: times(factor)}
        return launch(steps, measures_sizes_together=True, run_id=run_id)

    found = compare(side(curve(1.25, "run-a")), side(curve(2.0, "run-b")))
    text = terminal_comparison(found)
    table = text[text.index("Parallel efficiency: ") :].splitlines()
    assert re.split(r" {2,}", table[2])[:4] == ["2", "80.0 %", "50.0 %", "60.0 % lower"]
    assert table[2].endswith("  lower")
    assert all("efficiency" not in entry["name"] for entry in benchmark_entries(found))


def test_the_json_is_what_github_action_benchmark_reads() -> None:
    entries = benchmark_entries(compared())
    assert [sorted(entry) for entry in entries] == [["extra", "name", "range", "unit", "value"]] * 2
    assert [entry["name"] for entry in entries] == [
        "VGG-D, 224×224, batch 4 per rank, on CPUs: forward of 2 ranks",
        "VGG-D, 224×224, batch 4 per rank, on CPUs: train_step of 2 ranks",
    ]
    step = entries[1]
    assert (step["unit"], step["value"]) == ("ms", pytest.approx(42, abs=1e-4))
    # its own pattern: a sign, then a number in the unit of the value
    half = re.fullmatch(r"± (\d.*)", step["range"])
    assert half is not None
    # 2.5706 · sd ÷ √6 of the six rounds, in ms: sd of (0, 1, −1, 0, 2, −2) · 0.042
    assert float(half[1]) == pytest.approx(
        2.5706 * 0.042 * math.sqrt(10 / 5) / math.sqrt(6), rel=1e-2
    )
    assert step["extra"].splitlines()[:2] == ["A: 40.00 ms", "B is 5.0 % slower: slower"]


def test_a_step_without_an_interval_has_no_range() -> None:
    a, b = launch([10.0]), launch([11.0], run_id="run-b")
    (entry,) = benchmark_entries(compare(side(a), side(b)))
    assert sorted(entry) == ["extra", "name", "unit", "value"]
    json.dumps(entry, allow_nan=False)


def test_files_are_written_whole_and_alike(tmp_path: Path) -> None:
    for folder in (tmp_path / "one", tmp_path / "two"):
        assert write_files(compared(), folder) == folder / "compare.md"
        write_json(compared(), folder / "bench.json")
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["bench.json", "compare.csv", "compare.md"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    frame = pd.read_csv(tmp_path / "one" / "compare.csv")
    assert frame["quantity"].tolist() == ["forward", "train_step"]
    assert frame["ratio"].tolist() == pytest.approx([1, 1.05])
    assert frame["verdict"].tolist() == ["no difference that matters", "slower"]
    assert frame["comparable"].all()
    assert json.loads((tmp_path / "one" / "bench.json").read_text()) == benchmark_entries(
        compared()
    )


def test_the_page_holds_what_the_terminal_shows() -> None:
    page = markdown_comparison(compared(facts={**FACTS, "seed": "1"}))
    assert page.startswith("# B compared with A\n\n**train_step of 2 ranks: B is 5.0 % slower (")
    assert "| seed | 0 | 1 |" in page
    assert "| 2 | train_step | 40.00 ms | 42.00 ms | 5.0 % slower |" in page
    assert "- note: low confidence" in page


def test_text_of_a_user_drives_neither_terminal_nor_page_nor_sheet(tmp_path: Path) -> None:
    axes = {"HOROVOD_CYCLE_TIME": HOSTILE}
    other = {"HOROVOD_CYCLE_TIME": "=2"}
    a = [
        launch(STEADY, run_id="a", varied=one, facts={**FACTS, "hosts": HOSTILE})
        for one in (axes, other)
    ]
    b = [launch(STEADY, run_id="b", varied=one, warnings=(HOSTILE,)) for one in (axes, other)]
    found = compare(side(*a, name=HOSTILE), side(*b))
    shown = f"{terminal_differences(found)}\n{terminal_comparison(found)}"
    assert "\x1b" not in shown
    assert "<script>" in shown  # as it is, but for what drives a terminal
    write_files(found, tmp_path / "out")
    page = (tmp_path / "out" / "compare.md").read_text()
    assert "\x1b" not in page
    assert "<script>" not in page.replace("\\<", "")
    assert "\x1b" not in (tmp_path / "out" / "compare.csv").read_text()
    assert all("\x1b" not in entry["name"] + entry["extra"] for entry in benchmark_entries(found))
    assert len({entry["name"] for entry in benchmark_entries(found)}) == 2


def test_a_cell_that_looks_like_a_formula_is_none(tmp_path: Path) -> None:
    runs = [launch(STEADY, varied={"=x": value}) for value in ("1", "2")]
    write_files(compare(side(*runs), side(*runs)), tmp_path)
    cells = pd.read_csv(tmp_path / "compare.csv")["cell"].tolist()
    assert cells == ["'=x 1", "'=x 2"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        write_files(compared(), tmp_path / "file" / "out")
    with pytest.raises(OutputError, match="cannot be written"):
        write_json(compared(), tmp_path / "missing" / "bench.json")


def test_nothing_is_drawn() -> None:
    assert "matplotlib" not in Path(compare_report.__file__).read_text()
