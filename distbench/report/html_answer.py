"""The top of the page: the answer in four boxes, how far to trust it, and what to do next."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from distbench import units
from distbench.analysis.summary import headline_phase
from distbench.report.findings import Findings, title
from distbench.report.html_parts import Markup, bullets, flowing, joined, paragraph, tag
from distbench.report.html_takeaways import curve_sentence
from distbench.report.loss_shown import ShownBudget, shown
from distbench.report.loss_tables import loss_lines
from distbench.report.scaling_tables import interval_text
from distbench.report.tables import headline

MOST_CHECKS = 3  # that are told at the top; their section holds all
_NONE = "–"


class Card(NamedTuple):
    """One box: what it is about, the answer in large letters, and what must stand beside it."""

    about: str
    answer: str
    details: str
    in_words: bool = False


def answer(findings: Findings) -> Markup:
    """The answer: title, badges, boxes, and what to do next."""
    boxes = [_throughput(findings), _efficiency(findings), _limit(findings), _trust(findings)]
    return joined(
        [
            paragraph(f"distbench, run {findings.run.run_id}", class_="kicker"),
            tag("h1", title(findings.run)),
            _badges(findings),
            tag(
                "div",
                paragraph(_lead(findings), class_="lead"),
                tag("dl", *map(_box, boxes), class_="cards"),
                tag(
                    "div",
                    tag("h2", "What to do next"),
                    bullets(_steps(findings), ordered=True),
                    class_="next",
                ),
                class_="answer",
            ),
        ],
        "\n",
    )


def _lead(findings: Findings) -> str:
    """The answer in one sentence: the speed-up where there is a curve, else the headline."""
    return (findings.is_valid and curve_sentence(findings)) or headline(findings)


def _box(card: Card) -> Markup:
    return tag(
        "div",
        tag("dt", card.about),
        tag("dd", flowing(card.answer), class_="big words" if card.in_words else "big"),
        tag("dd", flowing(card.details), class_="small"),
    )


def _throughput(findings: Findings) -> Card:
    phase = headline_phase(findings.summary)
    if not findings.is_valid or phase is None:
        why = "not shown: the run is not valid" if phase else "no phase of a whole step was run"
        return Card("Throughput", _NONE, why)
    row = findings.summary.set_index("phase").loc[phase]
    interval = interval_text(row["images_per_s_low"], row["images_per_s_high"], units.rate)
    return Card(
        "Throughput",
        f"{units.rate(row['images_per_s'])} images/s",
        f"{phase} on {_devices(findings)}; 95 % interval {interval}; "
        f"{units.rate(row['images_per_s_per_rank'])} per rank",
    )


def _devices(findings: Findings) -> str:
    plural = "" if findings.ranks == 1 else "s"
    return f"{findings.ranks} {findings.run.device_kind}{plural}"


def _efficiency(findings: Findings) -> Card:
    about = "Parallel efficiency"
    row = largest_size(findings)
    if row is None:
        return Card(about, _NONE, "not measured: one size has nothing to compare with")
    if not findings.is_valid:
        return Card(about, _NONE, "not shown: the run is not valid")
    if math.isnan(row["efficiency"]):
        return Card(about, _NONE, f"no baseline ({row['baseline']})")
    interval = interval_text(row["efficiency_low"], row["efficiency_high"], units.percent)
    return Card(
        about,
        units.percent(row["efficiency"]),
        f"{findings.run.config.scaling} scaling, {row['size']} ranks against {row['baseline_size']}; "
        f"95 % interval {interval}",
    )


def largest_size(findings: Findings) -> Any:
    """The last row of a curve of two sizes or more, else None."""
    curve = findings.scaling
    return None if curve is None or len(curve) < 2 else curve.iloc[-1]


def _limit(findings: Findings) -> Card:
    about = "What limits it"
    if not findings.is_valid:
        return Card(about, _NONE, "not shown: the run is not valid")
    if findings.budgets:
        return _largest_part(about, shown(findings.budgets[-1]))
    cost = findings.communication
    if findings.ranks > 1 and not math.isnan(cost.exposed_s):
        return Card(
            about,
            f"{units.percent(cost.share_of_step)} is exposed communication",
            f"{units.seconds(cost.exposed_s)} of each forward_backward_allreduce; "
            "a curve with size 1 would tell the other losses",
            in_words=True,
        )
    return Card(about, _NONE, "not measured: it takes sizes 1 and more, and all phases")


def _largest_part(about: str, text: ShownBudget) -> Card:
    """The part of the loss that costs most, where there is a loss."""
    budget = text.budget
    if not text.is_lost:
        return Card(
            about,
            "Nothing that shows",
            f"the loss of {text.loss} a step at {budget.size} ranks cannot be told from none",
            in_words=True,
        )
    name, part = budget.largest.name, text.of(budget.largest)
    points = "points of efficiency" if budget.has_baseline else "% of the step"
    return Card(
        about,
        name[:1].upper() + name[1:],
        f"{part.time} of each step of {text.measured}, {part.points} {points} at {budget.size} ranks",
        in_words=True,
    )


def _trust(findings: Findings) -> Card:
    about = "Can it be trusted?"
    levels = [check.level for check in findings.checks]
    suspect, invalid = levels.count("suspect"), levels.count("invalid")
    if invalid:
        return Card(about, "Not valid", f"{invalid} of the checks failed; see below", in_words=True)
    if suspect:
        return Card(about, "Suspect", f"{suspect} of the checks found something", in_words=True)
    if findings.run.is_simulated:
        return Card(
            about, "Simulated", "no device was measured; the cluster is stated", in_words=True
        )
    return Card(about, "Valid", "every proof passed before and after timing", in_words=True)


def _badges(findings: Findings) -> Markup:
    items = (tag("li", text, class_=f"badge {kind}".strip()) for text, kind in _marks(findings))
    return tag("ul", *items, class_="badges", aria_label="What to know first")


def _marks(findings: Findings) -> Iterator[tuple[str, str]]:
    """What no reader may miss, and how grave it is."""
    levels = {check.level for check in findings.checks}
    if "invalid" in levels:
        yield "NOT VALID: no headline", "bad"
    if "suspect" in levels:
        yield "SUSPECT: see what the checks found", "warn"
    if not levels & {"invalid", "suspect"}:
        yield "VALID: no check failed", "good"
    if findings.run.is_simulated:
        yield "SIMULATED: no device was measured", "warn"
    if findings.run.device_kind != "GPU":
        yield "measured on CPUs, not GPUs", "warn"
    if not findings.run.config.is_vgg:
        yield "NOT VGG: a reduced network", "warn"


def _steps(findings: Findings) -> Iterator[str]:
    """What to do next, the gravest first: what makes numbers wrong, then what makes the job slow."""
    grave = [check.text for check in findings.checks if check.level != "note"]
    if not findings.is_valid:
        yield (
            "Quote none of these numbers. Find the cause, in the launcher's output and below, then run "
            "the same command again."
        )
    for text in grave[:MOST_CHECKS]:
        yield f"{text.rstrip('.')}."
    if len(grave) > MOST_CHECKS:
        yield f"{len(grave) - MOST_CHECKS} more findings stand under Checks."
    if not findings.is_valid:
        return
    if findings.stragglers and findings.stragglers.named:
        yield findings.stragglers.verdict
    if findings.budgets:
        yield loss_lines(findings.budgets)[-1]
    if largest_size(findings) is None:
        yield (
            "Measure the curve: the same command with --sizes auto on several ranks gives the "
            "efficiency and where the loss comes from."
        )
    yield "Send this file: it holds its method, its environment, and how to reproduce it."
