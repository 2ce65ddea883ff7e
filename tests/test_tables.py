from __future__ import annotations

from pathlib import Path

from distbench.analysis.collect import load_run
from distbench.report import tables
from distbench.report.build import find
from distbench.report.findings import Findings
from tests.fakes import ladder_blocks, write_run

HOSTILE = "<script>|`x`\x1b[2J$\\frac$"


def findings(directory: Path, **changes: object) -> Findings:
    write_run(directory, [ladder_blocks(), ladder_blocks(1.1)], **changes)  # type: ignore[arg-type]
    return find(load_run(directory))


def test_the_terminals_table(run_directory: Path) -> None:
    text = tables.terminal_report(findings(run_directory))
    row = next(line for line in text.splitlines() if line.startswith("train_step"))
    # 8 images per 49.50 ms; block b takes 1.1 * (45 + b / 1000) ms
    for cell in ("12 in 6 blocks", "49.50 ms", "49.50 ms to 49.51 ms", "161.6", "80.80", "4.50 ms"):
        assert cell in row
    assert "NOT VGG" in text.splitlines()[0]


def test_lines_for_scrapers(run_directory: Path) -> None:
    # half of 8 / (1.1 * 45.001 ms) - 8 / (1.1 * 45.006 ms) is 0.009; with six blocks each bound lies
    # 5/14 of the way to the next one of five, so that 1 - 2/5 * 5/14 = 6/7 of it are left
    assert tables.scraper_lines(findings(run_directory)) == [
        "Total img/sec on 2 CPU(s): 161.6 +-0.0077",
        "total images/sec: 161.6",
    ]


def test_an_invalid_run_has_no_headline(run_directory: Path) -> None:
    broken = findings(run_directory, unfinished=[0])
    assert tables.headline(broken).startswith("No headline: this run may not be trusted")
    assert tables.scraper_lines(broken) == []


def test_communication_in_words(run_directory: Path) -> None:
    lines = "\n".join(tables.communication_lines(findings(run_directory)))
    assert "Exposed communication: 11.00 ms of a step (25.0 %" in lines
    assert "overlap 50.0 %" in lines
    assert "Allreduce of 1.000 MB: algbw 0.0454 GB/s, busbw 0.0454 GB/s" in lines


def test_markdown_shows_the_same_and_names_the_charts(run_directory: Path) -> None:
    text = tables.markdown_report(findings(run_directory), [("throughput.png", "Throughput")])
    assert "| train\\_step" not in text  # underscores need no escape inside words
    assert "| train_step | 12 in 6 blocks | 49.50 ms |" in text
    assert "![Throughput](throughput.png)" in text
    assert "train_step across 12 steps, 0.050 +/- 0.000 sec / batch" in text
    assert "| order of the blocks | shuffled in each of 6 rounds, seed 0 |" in text


def test_hostile_names_stay_text(run_directory: Path) -> None:
    hostile = findings(run_directory, header_changes={"host": HOSTILE})
    markdown = tables.markdown_report(hostile, [])
    assert "<script>" not in markdown.replace("\\<script\\>", "")
    assert "\x1b" not in markdown
    assert "\x1b" not in tables.terminal_report(hostile)


def test_phases_without_a_headline(run_directory: Path) -> None:
    blocks = [one for one in ladder_blocks() if one["phase"] == "forward"]
    write_run(run_directory, [blocks, blocks])
    found = find(load_run(run_directory))
    assert tables.headline(found).startswith("No headline: neither train_step nor")
    assert tables.communication_lines(found) == []
