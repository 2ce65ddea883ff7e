"""The charts of the loss budget: a waterfall of the largest size, and all sizes beside each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from distbench.analysis import loss_ladder as ladder
from distbench.analysis.loss import LossBudget, LossPart
from distbench.report.findings import Findings
from distbench.report.loss_shown import ShownBudget, shown
from distbench.report.loss_tables import ranks_and_nodes, sum_name
from distbench.report.style import (
    GREY,
    LEGEND_LINE_INCHES,
    PHASE_COLOURS,
    Drawn,
    new_figure,
    time_formatter,
)

DARK = "#444444"
ROOM_FOR_TEXT = 0.4  # beside the longest bar, of all that is drawn
SHORTEST_SPAN = 0.02  # of the step, so that a loss of nothing does not look like one
LEAST_POINTS = 5  # on the axis, for the same reason
# From the palette of the phases; what is communication stands together in it.
LOSS_COLOURS = {
    ladder.COMPUTING: PHASE_COLOURS["forward_backward"],
    ladder.WAITING: "#3f90da",
    ladder.OVERHEAD: "#832db6",
    ladder.WIRE: PHASE_COLOURS["allreduce"],
    ladder.BEYOND: "#e76300",
    ladder.EXPOSED: PHASE_COLOURS["allreduce"],
    ladder.OPTIMIZER: PHASE_COLOURS["train_step"],
    ladder.COMMUNICATION_AND_OPTIMIZER: PHASE_COLOURS["allreduce"],
    ladder.RESIDUAL: "#94a4a2",
}


def loss_figures(findings: Findings) -> dict[str, Drawn]:
    """The charts of the budgets; none where there is no budget."""
    budgets = findings.budgets
    if not budgets:
        return {}
    last = budgets[-1]
    what = "from the ideal step to the measured one" if last.has_baseline else "beyond computing"
    drawn = {
        "loss_waterfall": (
            waterfall(findings, last),
            f"Where the time of {ranks_and_nodes(last)} goes, {what}",
        )
    }
    if len(budgets) > 1:
        caption = "Points of efficiency lost, by part and number of ranks"
        drawn["loss_by_size"] = (by_size(findings, budgets), caption)
    return drawn


def waterfall(findings: Findings, budget: LossBudget) -> Figure:
    """What each part adds to the ideal step, each bar beginning where the one above ends."""
    text = shown(budget)
    figure, axes = new_figure(
        findings, _waterfall_name(text), height=2.8 + 0.44 * len(text.parts), of_curve=True
    )
    left, ends = 0.0, [0.0]
    for row, part in enumerate(budget.parts, start=1):
        _bar(axes, row, left, part)
        left += part.loss_s
        ends.append(left)
        axes.plot([left, left], [row - 0.3, row + 1.3], color=GREY, linewidth=0.8)
    last = len(budget.parts) + 1
    axes.barh(last, budget.loss_s, color=DARK, height=0.6)
    _whisker(axes, last, budget.loss_low_s, budget.loss_high_s, "#9a9a9a")
    axes.axvline(0.0, color=DARK, linewidth=1.2)
    _texts(axes, text, ends)
    labels = _row_labels(text)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(last + 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_formatter(time_formatter(digits=3))
    axes.set_xlabel("time of a step beyond the ideal one   (thin line: 95 % interval)")
    _points_axis(axes, budget)
    return figure


def _row_labels(text: ShownBudget) -> list[str]:
    parts = [one.part.name.replace(" (", "\n(") for one in text.parts]
    ideal = "ideal step" if text.budget.has_baseline else "typical rank's\nown computing"
    return [ideal, *parts, f"{sum_name(text.budget)}:\n{text.budget.phase} takes {text.measured}"]


def _waterfall_name(text: ShownBudget) -> str:
    if text.budget.has_baseline:
        return f"The loss at {text.budget.size} ranks: {text.efficiency_points} % efficiency"
    return f"Where a step of {text.budget.size} ranks goes, beyond computing"


def _bar(axes: Axes, row: int, left: float, part: LossPart) -> None:
    """One that gives time back runs to the left, and is hatched."""
    colour = LOSS_COLOURS[part.name]
    if part.loss_s < 0:
        axes.barh(
            row, part.loss_s, left=left, color=colour, height=0.6, hatch="////", edgecolor="white"
        )
    else:
        axes.barh(row, part.loss_s, left=left, color=colour, height=0.6)
    _whisker(axes, row, left + part.low_s, left + part.high_s)


def _whisker(axes: Axes, row: int, low: float, high: float, colour: str = "black") -> None:
    if math.isnan(low):
        return
    axes.plot([low, high], [row, row], color=colour, linewidth=1.4, zorder=3)
    for end in (low, high):
        axes.plot([end] * 2, [row - 0.12, row + 0.12], color=colour, linewidth=1.4, zorder=3)


def _texts(axes: Axes, text: ShownBudget, ends: Sequence[float]) -> None:
    """The numbers stand right of everything in their row, in room that is made for them."""
    budget, unit = text.budget, "points" if text.budget.has_baseline else "%"
    share = "100.0" if budget.has_baseline else text.efficiency_points
    words = [f"{text.ideal}   {share} %"]
    words += [f"{part.time}   {part.points} {unit}" for part in text.parts]
    words.append(f"{text.loss}   {text.loss_points} {unit}")
    reaches = [(0.0, 0.0)]
    reaches += [
        _reach(start, one.loss_s, one.low_s, one.high_s) for start, one in zip(ends, budget.parts)
    ]
    reaches.append(_reach(0.0, budget.loss_s, budget.loss_low_s, budget.loss_high_s))
    least, most = min(low for low, _ in reaches), max(high for _, high in reaches)
    span = max(most - least, SHORTEST_SPAN * budget.measured_s)
    axes.set_xlim(least - 0.03 * span, most + ROOM_FOR_TEXT * span)
    for row, (line, (_, right)) in enumerate(zip(words, reaches)):
        axes.annotate(
            line,
            (right, row),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            fontsize=10,
            fontweight="bold" if row in (0, len(words) - 1) else "normal",
        )


def _reach(start: float, value: float, low: float, high: float) -> tuple[float, float]:
    """Where a bar that begins at `start` and its interval end on the left and on the right."""
    ends = [end for end in (0.0, value, low, high) if not math.isnan(end)]
    return start + min(ends), start + max(ends)


def _points_axis(axes: Axes, budget: LossBudget) -> None:
    """The same scale above, in points of efficiency."""

    def points(time_s: Any) -> Any:
        return 100 * time_s / budget.measured_s

    def times_s(share: Any) -> Any:
        return share * budget.measured_s / 100

    above = axes.secondary_xaxis("top", functions=(points, times_s))
    above.set_xlabel("points of efficiency" if budget.has_baseline else "% of the step")


def by_size(findings: Findings, budgets: Sequence[LossBudget]) -> Figure:
    """The parts of every size stacked, in points of efficiency; those that give back hang below."""
    names = [name for name in LOSS_COLOURS if any(name in _names(budget) for budget in budgets)]
    figure, axes = new_figure(findings, "The loss by size", height=4.6, of_curve=True)
    figure.set_figheight(figure.get_figheight() + LEGEND_LINE_INCHES * -(-(len(names) + 1) // 2))
    for position, budget in enumerate(budgets):
        up = down = 0.0
        for part in budget.parts:
            points = 100 * part.share
            axes.bar(
                position,
                points,
                bottom=up if points > 0 else down,
                color=LOSS_COLOURS[part.name],
                width=0.6,
            )
            up, down = up + max(points, 0.0), down + min(points, 0.0)
        _mark_total(axes, position, budget, up)
    for name in names:
        axes.bar(0, 0, color=LOSS_COLOURS[name], label=name)
    axes.axhline(0.0, color=DARK, linewidth=1.2)
    axes.set_xticks(range(len(budgets)), [str(budget.size) for budget in budgets])
    axes.set_xlabel("ranks")
    axes.grid(axis="x", visible=False)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda points, _: f"{points:g}"))
    axes.set_ylabel("points of efficiency lost")
    axes.margins(y=0.12)
    axes.set_ylim(top=max(LEAST_POINTS, axes.get_ylim()[1]))
    figure.legend(loc="outside lower left", ncols=2, fontsize=9, frameon=False)
    return figure


def _mark_total(axes: Axes, position: int, budget: LossBudget, top: float) -> None:
    """The sum of all parts, which is below the stack's top where some give time back."""
    lost = 100 * (1 - budget.efficiency)
    axes.plot(
        [position - 0.38, position + 0.38],
        [lost, lost],
        color="black",
        linewidth=2,
        label="lost in all; above it, the efficiency" if position == 0 else None,
    )
    axes.annotate(
        f"{shown(budget).efficiency_points} %",
        (position, max(top, lost)),
        xytext=(0, 5),
        textcoords="offset points",
        ha="center",
        fontweight="bold",
    )


def _names(budget: LossBudget) -> set[str]:
    return {part.name for part in budget.parts}
