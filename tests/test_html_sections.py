from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distbench.analysis.check import Check
from distbench.analysis.collect import load_run
from distbench.report.build import find
from distbench.report.findings import Findings
from distbench.report.html_sections import MOST_CHECKS, Section, figure, place, result_sections
from distbench.report.html_svg import HtmlChart
from distbench.report.tables import phase_rows
from tests.fakes import ladder_blocks, study_config, write_run, write_study
from tests.test_html_answer import budget

SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><g/></svg>'


def chart(name: str) -> HtmlChart:
    return HtmlChart(name, f"caption of {name}", SVG)


@pytest.fixture
def plain_run(run_directory: Path) -> Findings:
    write_run(run_directory, [ladder_blocks(), ladder_blocks()])
    return changed(find(load_run(run_directory)))


def changed(findings: Findings, **more: Any) -> Findings:
    values = {"checks": [], "budgets": (), "stragglers": None, "limits": None, **more}
    return dataclasses.replace(findings, **values)


def made(findings: Findings, *charts: HtmlChart) -> dict[str, Section]:
    return {one.identity: one for one in result_sections(findings, charts)}


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("scaling_throughput", "curve"),
        ("scaling_efficiency", "curve"),
        ("scaling_step_time", "budget"),
        ("step_time_split", "budget"),
        ("loss_waterfall", "budget"),
        ("heat_map", "stragglers"),
        ("throughput", "phases"),
        ("a_chart_of_tomorrow", "phases"),
    ],
)
def test_every_chart_has_its_section(plain_run: Findings, name: str, where: str) -> None:
    assert place(chart(name)) == where
    if where != "curve":  # which this run has none of
        assert f"caption of {name}" in made(plain_run, chart(name))[where].content


def test_sections_without_content_are_left_out(plain_run: Findings) -> None:
    assert list(made(plain_run)) == ["budget", "phases", "checks"]


def test_a_study_has_a_curve_with_its_table(run_directory: Path) -> None:
    write_study(run_directory, study_config(), [0, 0, 1, 1])
    found = changed(find(load_run(run_directory)))
    curve = made(found, chart("scaling_throughput"), chart("scaling_efficiency"))["curve"].content
    assert re.findall(r'<th scope="row">(\d+)</th>', curve) == ["1", "2", "4"]
    assert '<p class="caption">Weak scaling, train_step</p>' in curve
    assert "Baseline of every speed-up" in curve
    assert curve.index("<figure") < curve.index("<table")


def test_a_figure_says_its_sentence_above_and_its_caption_below() -> None:
    drawn = figure(chart("heat_map"), "Rank 3 is slow.")
    assert drawn.index("Rank 3 is slow.</p>") < drawn.index("<svg") < drawn.index("<figcaption>")
    assert 'aria-label="caption of heat_map. Rank 3 is slow."' in drawn


def test_the_table_of_the_phases_is_that_of_the_other_reports(plain_run: Findings) -> None:
    shown = made(plain_run)["phases"].content
    for row in phase_rows(plain_run.summary):
        assert "".join(f"<td>{cell}</td>" for cell in row[1:]) in shown


def test_checks_say_their_level_in_words_and_are_escaped(plain_run: Findings) -> None:
    checks = [Check("invalid", "<b>"), Check("suspect", "s"), Check("note", "n")]
    shown = made(changed(plain_run, checks=checks))["checks"].content
    assert re.findall(r"<strong>(.*?)</strong>", shown) == ["Invalid: ", "Suspect: ", "Note: "]
    assert "&lt;b&gt;" in shown
    assert "may not be used" in shown
    suspect = made(changed(plain_run, checks=checks[1:]))["checks"].content
    assert "1 finding(s) may have changed the numbers" in suspect
    assert "No check failed" in made(plain_run)["checks"].content


def test_thousands_of_checks_are_counted(plain_run: Findings) -> None:
    checks = [Check("invalid", f"rank {rank}") for rank in range(MOST_CHECKS + 5)]
    shown = made(changed(plain_run, checks=checks))["checks"].content
    assert shown.count("<strong>") == MOST_CHECKS
    assert "5 more stand in report.md." in shown


def test_numbers_that_may_not_be_trusted_are_marked_in_every_section(plain_run: Findings) -> None:
    broken = made(changed(plain_run, checks=[Check("invalid", "why")]))
    for name in ("budget", "phases"):
        assert broken[name].content.startswith('<p class="badge bad">NOT VALID: <a href="#checks">')
    assert "NOT VALID" not in broken["checks"].content
    assert "badge" not in made(plain_run)["phases"].content


def test_the_largest_budget_leads_and_all_sizes_stand_side_by_side(plain_run: Findings) -> None:
    small = dataclasses.replace(budget(), size=2, nodes=1)
    section = made(changed(plain_run, budgets=(small, budget())))["budget"].content
    assert section.index('<p class="lead">4 ranks reach 85.0&nbsp;%') < section.index(
        "<li>2 ranks reach"
    )
    first, second = re.findall(r'<p class="caption">(.*?)</p>', section)
    assert first == "From ideal to measured: 4 ranks on 2 nodes, train_step"
    assert second.startswith("All sizes")
    assert '<th scope="row">exposed communication</th><td>4.00 ms</td><td>4.00 ms</td>' in section
    assert '<th scope="row">efficiency</th><td>85.0 %</td><td>85.0 %</td>' in section
    alone = made(changed(plain_run, budgets=(budget(),)))["budget"].content
    assert "All sizes" not in alone


def test_stragglers_lead_with_the_verdict(
    plain_run: Findings, monkeypatch: pytest.MonkeyPatch
) -> None:
    sections = "distbench.report.html_sections."
    monkeypatch.setattr(sections + "straggler_lines", lambda found: ["verdict", "<evidence>"])
    monkeypatch.setattr(sections + "straggler_rows", lambda found: [("3", "node-<1>")])
    monkeypatch.setattr(sections + "straggler_method", lambda found: ["how"])
    monkeypatch.setattr(sections + "STRAGGLER_COLUMNS", ("rank", "host"))
    shown = made(changed(plain_run, stragglers=SimpleNamespace(ranks=64)))["stragglers"].content
    assert '<p class="lead">verdict</p>' in shown
    assert "<li>&lt;evidence&gt;</li>" in shown
    assert ">Ranks: the 1 slowest of 64</p>" in shown
    assert "<td>node-&lt;1&gt;</td>" in shown
