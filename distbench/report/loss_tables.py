"""The loss budget as tables, and as one plain sentence per size: the largest part and what helps."""

from __future__ import annotations

from collections.abc import Sequence

from distbench import units
from distbench.analysis.loss import LARGE, LossBudget
from distbench.plain_text import aligned
from distbench.report.loss_advice import advice
from distbench.report.loss_shown import ShownBudget, shown
from distbench.report.text import markdown, markdown_table

LOSS_COLUMNS = ("part", "time", "95 % interval", "points of efficiency", "share of the loss")
WITHOUT_BASELINE_COLUMNS = ("part", "time", "95 % interval", "% of the step", "share")
FORMULA = (
    "Each part is the median over the rounds of what a rung of the phases costs more than at the "
    "baseline, inside one round; intervals rest on the rounds. The residual is measured − ideal − all "
    "other parts. A negative part gives time back."
)
WIRE_FORMULA = (
    "Exposed communication = forward_backward_allreduce − forward_backward. The wire explains of it "
    "what even perfect overlap cannot hide: max(0, wire's bound − backward)."
)


def loss_lines(budgets: Sequence[LossBudget]) -> list[str]:
    """One sentence or a few for each size: what is lost, the largest part, and what usually helps."""
    return [" ".join(_sentences(shown(budget))) for budget in budgets]


def loss_table(budgets: Sequence[LossBudget]) -> list[str]:
    """The largest size's budget for a terminal; nothing where there is none."""
    if not budgets:
        return []
    last = shown(budgets[-1])
    return [f"{_heading(last)}:", *aligned([loss_columns(last.budget), *loss_rows(last)])]


def loss_markdown(budgets: Sequence[LossBudget]) -> list[str]:
    """The section of report.md, with a table per size; nothing where there is none."""
    if not budgets:
        return []
    simulated = "SIMULATED: " if budgets[-1].is_simulated else ""
    lines = [f"## {simulated}Where the time goes: the loss budget", ""]
    lines += [f"- {markdown(line)}" for line in loss_lines(budgets)]
    for budget in budgets:
        text = shown(budget)
        lines += ["", f"### {markdown(_heading(text))}", ""]
        lines += markdown_table(loss_columns(budget), loss_rows(text))
    return [*lines, "", *(f"- {markdown(note)}" for note in loss_notes(budgets)), ""]


def loss_columns(budget: LossBudget) -> tuple[str, ...]:
    """The heads of `loss_rows`: without a baseline there is no efficiency."""
    return LOSS_COLUMNS if budget.has_baseline else WITHOUT_BASELINE_COLUMNS


def loss_rows(text: ShownBudget) -> list[tuple[str, ...]]:
    """Rows of text from the ideal step to the measured one, the parts and their sum between."""
    whole = "100 %" if text.is_lost else ""
    points = ("100.0", text.efficiency_points)
    first, last = points if text.budget.has_baseline else points[::-1]
    return [
        (_ideal_name(text.budget), text.ideal, "", first, ""),
        *(
            (_part_name(text, part.part.name), part.time, part.interval, part.points, part.of_loss)
            for part in text.parts
        ),
        (sum_name(text.budget), text.loss, text.loss_interval, text.loss_points, whole),
        (f"measured {text.budget.phase}", text.measured, "", last, ""),
    ]


def loss_notes(budgets: Sequence[LossBudget]) -> list[str]:
    """How the parts are made, and what could not be told apart."""
    notes = [FORMULA]
    if any(part.name.startswith("exposed") for budget in budgets for part in budget.parts):
        notes.append(WIRE_FORMULA)
    return [*notes, *dict.fromkeys(note for budget in budgets for note in budget.notes)]


def _ideal_name(budget: LossBudget) -> str:
    if not budget.has_baseline:
        return "the typical rank's own computing"
    return "ideal: as efficient as the baseline"


def sum_name(budget: LossBudget) -> str:
    """What the parts sum to."""
    return "lost in all" if budget.has_baseline else "beyond computing in all"


def _part_name(text: ShownBudget, name: str) -> str:
    is_flagged = text.is_lost and text.budget.residual_is_large
    if name != text.budget.residual.name or not is_flagged:
        return name
    return f"{name} (over {100 * LARGE:.0f} % of the loss)"


def _heading(text: ShownBudget) -> str:
    budget = text.budget
    simulated = "SIMULATED: " if budget.is_simulated else ""
    reached = f" reach {text.efficiency_points} %" if budget.has_baseline else ""
    return f"{simulated}{ranks_and_nodes(budget)}{reached}, {budget.phase}"


def ranks_and_nodes(budget: LossBudget) -> str:
    """'16 ranks on 4 nodes'."""
    return f"{budget.size} ranks on {budget.nodes} node{'s' if budget.nodes > 1 else ''}"


def _sentences(text: ShownBudget) -> list[str]:
    budget = text.budget
    simulated = "SIMULATED: " if budget.is_simulated else ""
    found = [simulated + _loss_sentence(text)]
    if text.is_lost:
        found.append(_largest_sentence(text))
        found += _give_back_sentences(text)
    found += _overlap_sentences(budget)
    if text.is_lost and budget.residual_is_large and budget.largest is not budget.residual:
        found.append(
            f"The residual of {text.of(budget.residual).time} is more than "
            f"{100 * LARGE:.0f} % of the loss: {advice(budget, budget.residual.name)}."
        )
    return found


def _loss_sentence(text: ShownBudget) -> str:
    budget = text.budget
    if not budget.has_baseline:
        return (
            f"{budget.size} ranks: of a step of {text.measured} ({budget.phase}), {text.ideal} are the "
            f"typical rank's own computing and {text.loss} are not (no baseline was measured)."
        )
    reached = f"{budget.size} ranks reach {text.efficiency_points} %"
    if not budget.is_clear:
        return (
            f"{reached} ({budget.phase}): the loss of {text.loss} in a step of {text.measured} (95 % "
            f"interval {text.loss_interval}) cannot be told from none."
        )
    if not text.is_lost:
        times = f"{text.measured}, ideal {text.ideal}"
        return f"{reached} ({budget.phase}; {times}): nothing to speak of is lost."
    return f"{reached} ({budget.phase}; {text.loss} of {text.measured} lost)."


def _largest_sentence(text: ShownBudget) -> str:
    largest = text.budget.largest
    part, unit = text.of(largest), "points" if text.budget.has_baseline else "% of the step"
    helps = advice(text.budget, largest.name)
    about = f"Largest part: {largest.name}, {part.time}, {part.points} {unit}"
    if largest.low_s <= 0:
        about += f" (95 % interval {part.interval}, which includes 0)"
    return f"{about}: {helps}."


def _give_back_sentences(text: ShownBudget) -> list[str]:
    parts = [text.of(part) for part in text.budget.giving_back]
    return [
        f"Negative is {part.part.name}, {part.time}: the whole step takes less than its parts when they "
        "are measured apart."
        for part in parts
    ]


def _overlap_sentences(budget: LossBudget) -> list[str]:
    """Overlap is not clipped: where it is negative, or more than all, that is said."""
    if budget.is_below_computing:
        return [
            f"Steps with communication are faster than computing alone, by "
            f"{units.seconds(-budget.exposed_s, 3)}, which communication cannot cause: see the checks."
        ]
    if not budget.is_disturbed:
        return []
    return [
        f"Communication disturbs computing (interference): {units.seconds(budget.exposed_s, 3)} of it "
        f"are exposed, more than the {units.seconds(budget.allreduce_s, 3)} of the allreduce alone."
    ]
