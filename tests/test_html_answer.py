from __future__ import annotations

import dataclasses
import html
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distbench.analysis.check import Check
from distbench.analysis.collect import load_run
from distbench.analysis.loss import LossBudget, LossPart
from distbench.analysis.loss_ladder import EXPOSED, OPTIMIZER, RESIDUAL
from distbench.report.build import find
from distbench.report.findings import Findings
from distbench.report.html_answer import MOST_CHECKS, answer
from tests.fakes import ladder_blocks, study_config, write_run, write_study

NAN = float("nan")


def plain(markup: str) -> str:
    """The text as it was before it was made to flow."""
    return html.unescape(re.sub(r"</?code>|<wbr>", "", markup)).replace("\xa0", " ")


def cards(findings: Findings) -> dict[str, tuple[str, str]]:
    """Each box's answer and details, by what it is about."""
    made = re.findall(r"<dt>(.*?)</dt><dd [^>]*>(.*?)</dd><dd [^>]*>(.*?)</dd>", answer(findings))
    texts = [[plain(text) for text in box] for box in made]
    return {about: (big, small) for about, big, small in texts}


def next_steps(findings: Findings) -> list[str]:
    listed = answer(findings).partition("What to do next")[2]
    return [plain(text) for text in re.findall(r"<li>(.*?)</li>", listed)]


def badges(findings: Findings) -> list[str]:
    return re.findall(r'<li class="badge[^>]*>(.*?)</li>', answer(findings))


@pytest.fixture
def study(run_directory: Path) -> Findings:
    """1, 2 and 4 ranks; nothing but notes, no straggler and no budget."""
    write_study(run_directory, study_config(), [0, 0, 1, 1])
    return changed(find(load_run(run_directory)), [])


def changed(findings: Findings, checks: list[Check], **more: Any) -> Findings:
    values = {"checks": checks, "budgets": (), "stragglers": None, **more}
    return dataclasses.replace(findings, **values)


def budget(lost_s: float = 0.006, low_s: float = 0.005) -> LossBudget:
    """Of 40 ms at 4 ranks, most of it exposed communication."""
    parts = [(EXPOSED, lost_s - 0.002), (OPTIMIZER, 0.001), (RESIDUAL, 0.001)]
    return LossBudget(
        size=4,
        nodes=2,
        phase="train_step",
        baseline="size 1",
        has_baseline=True,
        ideal_s=0.04 - lost_s,
        measured_s=0.04,
        efficiency=1 - lost_s / 0.04,
        loss_low_s=low_s,
        loss_high_s=0.007,
        parts=tuple(
            LossPart(name, time_s, NAN, NAN, time_s / 0.04, NAN, NAN) for name, time_s in parts
        ),
        exposed_s=NAN,
        exposed_low_s=NAN,
        exposed_high_s=NAN,
        allreduce_s=NAN,
        scaling="weak",
        device_kind="GPU",
        is_simulated=False,
        notes=(),
    )


def test_a_studys_four_answers(study: Findings) -> None:
    found = changed(study, [], budgets=(budget(),))
    assert found.scaling is not None
    row, shown = found.scaling.iloc[-1], cards(found)
    assert list(shown) == [
        "Throughput",
        "Parallel efficiency",
        "What limits it",
        "Can it be trusted?",
    ]
    assert shown["Throughput"][0] == f"{row['images_per_s']:.1f} images/s"
    assert shown["Throughput"][1].startswith("train_step on 4 CPUs; 95 % interval ")
    assert shown["Parallel efficiency"][0] == f"{100 * row['efficiency']:.1f} %"
    assert "weak scaling, 4 ranks against 1; 95 % interval" in shown["Parallel efficiency"][1]
    assert shown["What limits it"] == (
        "Exposed communication",
        "4.00 ms of each step of 40.00 ms, 10.0 points of efficiency at 4 ranks",
    )
    assert shown["Can it be trusted?"][0] == "Valid"
    assert "4 CPUs are 3" in answer(found)
    assert next_steps(found)[0].startswith(
        "4 ranks reach 85.0 % (train_step; 6.00 ms of 40.00 ms lost)"
    )
    assert "Largest part: exposed communication, 4.00 ms, 10.0 points" in next_steps(found)[0]


def test_a_loss_that_is_none_is_not_explained(study: Findings) -> None:
    found = changed(study, [], budgets=(budget(low_s=-0.001),))
    assert cards(found)["What limits it"] == (
        "Nothing that shows",
        "the loss of 6.00 ms a step at 4 ranks cannot be told from none",
    )


def test_no_number_of_an_invalid_run_is_in_large_letters(study: Findings) -> None:
    found = changed(study, [Check("invalid", "INCOMPLETE: rank 1 died"), Check("note", "n")])
    shown = cards(found)
    for about in ("Throughput", "Parallel efficiency", "What limits it"):
        assert shown[about] == ("–", "not shown: the run is not valid")
    assert shown["Can it be trusted?"][0] == "Not valid"
    assert badges(found)[0] == "NOT VALID: no headline"
    assert "No headline" in answer(found)
    steps = next_steps(found)
    assert steps[0].startswith("Quote none of these numbers. Find the cause")
    assert steps[1:] == ["INCOMPLETE: rank 1 died."]


def test_a_suspect_run_says_what_to_look_at_first(study: Findings) -> None:
    found = changed(study, [Check("suspect", f"finding {number}.") for number in range(5)])
    steps = next_steps(found)
    assert steps[:MOST_CHECKS] == ["finding 0.", "finding 1.", "finding 2."]
    assert steps[MOST_CHECKS] == "2 more findings stand under Checks."
    assert cards(found)["Can it be trusted?"] == ("Suspect", "5 of the checks found something")
    assert badges(found)[0] == "SUSPECT: see what the checks found"
    assert cards(found)["Throughput"][0].endswith("images/s")


def test_a_straggler_is_what_to_do_something_about(study: Findings) -> None:
    told = SimpleNamespace(named=(1,), verdict="Rank 1 is slow; swap it.")
    assert next_steps(changed(study, [], stragglers=told))[0] == "Rank 1 is slow; swap it."
    nobody = SimpleNamespace(named=(), verdict="No straggler.")
    assert "No straggler." not in next_steps(changed(study, [], stragglers=nobody))


def test_one_size_leads_to_the_curve(run_directory: Path) -> None:
    write_run(run_directory, [ladder_blocks(), ladder_blocks()])
    found = changed(find(load_run(run_directory)), [])
    shown = cards(found)
    assert shown["Throughput"][0] == "177.8 images/s"
    assert shown["Parallel efficiency"][0] == "–"
    assert shown["What limits it"][0] == "25.0 % is exposed communication"
    assert any("--sizes auto" in step for step in next_steps(found))
    assert "177.8" in answer(found).partition("<dl")[0], (
        "the headline leads where there is no curve"
    )


def test_without_a_whole_step_there_is_no_throughput(run_directory: Path) -> None:
    only = [one for one in ladder_blocks() if one["phase"] == "forward"]
    write_run(run_directory, [only, only])
    found = changed(find(load_run(run_directory)), [])
    assert cards(found)["Throughput"] == ("–", "no phase of a whole step was run")
    assert cards(found)["What limits it"][0] == "–"


def test_a_missing_baseline_is_no_efficiency_of_100_percent(study: Findings) -> None:
    assert study.scaling is not None
    curve = study.scaling.assign(efficiency=float("nan"), baseline="none: size 1 is incomplete")
    shown = cards(dataclasses.replace(study, scaling=curve))
    assert shown["Parallel efficiency"] == ("–", "no baseline (none: size 1 is incomplete)")


def test_simulated_reduced_and_cpu_runs_are_marked(run_directory: Path) -> None:
    blocks = [ladder_blocks(), ladder_blocks()]
    write_run(run_directory, blocks, header_changes={"simulated": True})
    found = changed(find(load_run(run_directory)), [])
    assert badges(found) == [
        "VALID: no check failed",
        "SIMULATED: no device was measured",
        "measured on CPUs, not GPUs",
        "NOT VGG: a reduced network",
    ]
    assert cards(found)["Can it be trusted?"][0] == "Simulated"
