"""The charts of one group: throughput, where a step's time goes, every rank's steps, distribution."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from distbench import units
from distbench.analysis.summary import block_medians
from distbench.report.findings import Findings
from distbench.report.loss_plots import loss_figures
from distbench.report.published import Published
from distbench.report.rank_plots import heat_map
from distbench.report.scaling_plots import scaling_figures
from distbench.report.style import (
    GREY,
    PART_COLOURS,
    PHASE_COLOURS,
    Drawn,
    drawn_phases,
    new_figure,
    time_formatter,
)


def figures(findings: Findings, published: Sequence[Published] = ()) -> dict[str, Drawn]:
    """Every figure that this run's phases allow, as name -> (figure, caption); the curve first.

    `published` are results of others, drawn in the charts of the curve as a layer of their own.
    """
    drawn = {**scaling_figures(findings, published), **loss_figures(findings)}
    for name, (draw, caption) in FIGURES.items():
        figure = draw(findings)
        if figure is not None:
            drawn[name] = (figure, caption)
    return drawn


def throughput(findings: Findings) -> Figure | None:
    """Images per second by phase: median with its 95 % interval, and every block as a dot."""
    rows = findings.summary[findings.summary["images_per_step"] > 0]
    if rows.empty:
        return None
    figure, axes = new_figure(findings, "Throughput by phase", height=1.6 + 0.75 * len(rows))
    jobs = findings.jobs
    for position, row in enumerate(rows.itertuples()):
        colour = PHASE_COLOURS[row.phase]
        axes.barh(position, row.images_per_s, color=colour, height=0.55, alpha=0.85)
        low, high = row.images_per_s_low, row.images_per_s_high
        if not np.isnan(low):
            axes.plot([low, high], [position, position], color="black", linewidth=2, zorder=3)
            for end in (low, high):
                axes.plot([end] * 2, [position - 0.12, position + 0.12], color="black", zorder=3)
        medians = block_medians(jobs[jobs["phase"] == row.phase])
        axes.plot(
            row.images_per_step / medians,
            np.full(len(medians), position + 0.36),
            linestyle="none",
            marker="o",
            markersize=3.5,
            color=GREY,
        )
        axes.annotate(
            units.rate(row.images_per_s),
            (max(row.images_per_s, np.nan_to_num(high)), position),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            fontweight="bold",
        )
    axes.set_yticks(range(len(rows)), [_phase_label(name) for name in rows["phase"]])
    axes.invert_yaxis()
    axes.set_xlim(0, axes.get_xlim()[1] * 1.12)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("images/s of all ranks   (bar: median; line: 95 % interval; dots: blocks)")
    return figure


def step_time_split(findings: Findings) -> Figure | None:
    """Where a training step's time goes, as a waterfall; the allreduce alone for comparison."""
    parts = findings.parts
    if len(parts) < 2:
        return None
    medians = findings.summary.set_index("phase")["step_s"]
    alone = "allreduce" in medians.index and findings.ranks > 1
    bars = len(parts) + 1 + alone
    figure, axes = new_figure(findings, "Where a step's time goes", height=1.7 + 0.5 * bars)
    left, labels = 0.0, []
    longest = max(medians.max(), sum(parts.values()))
    for position, (name, part_s) in enumerate(parts.items()):
        axes.barh(position, part_s, left=left, color=PART_COLOURS[name], height=0.6)
        _label_bar(axes, max(left, left + part_s), position, part_s, part_s / sum(parts.values()))
        left += part_s
        axes.plot([left, left], [position - 0.3, position + 1.3], color=GREY, linewidth=0.8)
        labels.append(_part_label(name, part_s, findings.ranks))
    axes.barh(len(parts), left, color="#444444", height=0.6)
    _label_bar(axes, left, len(parts), left, None)
    labels.append(f"{_last_phase(parts)}\n(whole step)")
    if alone:
        axes.barh(
            len(parts) + 1,
            medians["allreduce"],
            facecolor="none",
            edgecolor=PHASE_COLOURS["allreduce"],
            hatch="///",
            height=0.6,
        )
        _label_bar(axes, medians["allreduce"], len(parts) + 1, medians["allreduce"], None)
        labels.append("for comparison:\nallreduce alone")
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set_xlim(min(0.0, left), longest * 1.25)
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_formatter(time_formatter(digits=3))
    axes.set_xlabel("difference between the medians of neighbouring phases")
    return figure


def _part_label(part: str, part_s: float, ranks: int) -> str:
    if part == "exposed communication" and ranks == 1:
        part = "Horovod's tape\n(no communication)"
    return part + (" (negative)" if part_s < 0 else "")


def _label_bar(axes: Axes, end: float, position: int, value_s: float, share: float | None) -> None:
    text = units.seconds(value_s, 3)
    if share is not None:
        text += f"  ({100 * share:.0f} %)"
    axes.annotate(
        text, (end, position), xytext=(6, 0), textcoords="offset points", va="center", fontsize=10
    )


def distribution(findings: Findings) -> Figure | None:
    """The share of job steps that are done within a time, for each phase."""
    jobs = findings.jobs
    if jobs.empty:
        return None
    figure, axes = new_figure(findings, "Distribution of step times", height=4.6)
    for phase in drawn_phases(findings):
        times = jobs.loc[jobs["phase"] == phase, "step_s"]
        if len(times):
            label = f"{phase} (n = {len(times)})"
            axes.ecdf(times, color=PHASE_COLOURS[phase], linewidth=2, label=label)
    axes.set_xscale("log")
    _readable_time_axis(axes)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("share of steps that took at most this long")
    axes.set_xlabel("job step (slowest rank), logarithmic")
    figure.legend(loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    return figure


def _last_phase(parts: dict[str, float]) -> str:
    """The phase that the parts add up to."""
    whole = {
        "optimizer": "train_step",
        "exposed communication": "forward_backward_allreduce",
        "backward": "forward_backward",
    }
    return _phase_label(whole[list(parts)[-1]])


def _readable_time_axis(axes: Axes) -> None:
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(time_formatter(digits=1))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _phase_label(phase: str) -> str:
    return phase.replace("forward_backward_allreduce", "forward_backward\n_allreduce")


FIGURES: dict[str, tuple[Callable[[Findings], Figure | None], str]] = {
    "throughput": (throughput, "Throughput by phase"),
    "step_time_split": (step_time_split, "Where a step's time goes"),
    "heat_map": (heat_map, "Lag of every rank at every step"),
    "distribution": (distribution, "Distribution of step times"),
}
