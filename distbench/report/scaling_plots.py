"""The charts of the curve: throughput, efficiency and step time by the number of ranks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from distbench import units
from distbench.analysis.communication import step_parts
from distbench.analysis.scaling import curve_points
from distbench.report.findings import Findings
from distbench.report.published import Published, comparable
from distbench.report.style import (
    GREY,
    LEGEND_LINE_INCHES,
    PART_COLOURS,
    PHASE_COLOURS,
    Drawn,
    interval_reach,
    legend_below,
    new_figure,
    rate_axis,
    size_axis,
    time_formatter,
)

PUBLISHED_MARKERS = "sD^v<>PXphH8d*"
LOW_EFFICIENCY = 0.2  # so near to the axis that its label stands above it


def scaling_figures(findings: Findings, published: Sequence[Published]) -> dict[str, Drawn]:
    """The charts of the curve; none where there is no curve of at least two sizes."""
    curve = findings.scaling
    if curve is None or len(curve) < 2:
        return {}
    published = comparable(findings.run.config, published)
    phase = str(curve["phase"].iloc[0])
    kind = findings.run.config.scaling
    drawn = {
        "scaling_throughput": (
            _throughput(findings, curve, published),
            f"Throughput by the number of ranks ({kind} scaling, {phase})",
        ),
        "scaling_efficiency": (
            _efficiency(findings, curve, published),
            f"Parallel efficiency by the number of ranks ({kind} scaling, {phase})",
        ),
    }
    step_time = _step_time(findings, curve, published)
    if step_time is not None:
        caption = "Where a step's time goes, by the number of ranks"
        drawn["scaling_step_time"] = (step_time, caption)
    return drawn


def _throughput(findings: Findings, curve: pd.DataFrame, published: Sequence[Published]) -> Figure:
    figure, axes = new_figure(
        findings, f"{_kind(findings)} scaling: throughput", height=4.8, of_curve=True
    )
    base = curve.iloc[0]
    per_rank = base["images_per_s"] / base["size"]
    reach = _sizes(curve, published)
    _with_interval(axes, curve, "images_per_s", _measured(findings, base))
    axes.plot(
        reach,
        [per_rank * size for size in reach],
        linestyle="--",
        color=GREY,
        label=f"ideal, from {base['baseline']}",
    )
    for row in curve.itertuples():
        if row.size != row.baseline_size and not np.isnan(row.efficiency):
            _annotate(axes, row.size, row.images_per_s, units.percent(row.efficiency))
    _publish(axes, published, "images_per_s")
    axes.set_xscale("log", base=2)
    size_axis(axes, reach)
    rate_axis(axes)
    _legend(figure, axes)
    return figure


def _efficiency(findings: Findings, curve: pd.DataFrame, published: Sequence[Published]) -> Figure:
    figure, axes = new_figure(
        findings, f"{_kind(findings)} scaling: parallel efficiency", height=4.3, of_curve=True
    )
    base = curve.iloc[0]
    _with_interval(axes, curve, "efficiency", _measured(findings, base))
    axes.axhline(1.0, linestyle="--", color=GREY, label=f"ideal: 100 % of {base['baseline']}")
    for row in curve.itertuples():
        above = row.efficiency < LOW_EFFICIENCY
        _annotate(axes, row.size, row.efficiency, units.percent(row.efficiency), above)
    _mark_nodes(axes, curve)
    _publish(axes, published, "efficiency")
    axes.set_xscale("log", base=2)
    size_axis(axes, _sizes(curve, published))
    top = np.nanmax([1.0, curve["efficiency"].max(), curve["efficiency_high"].max()])
    axes.set_ylim(0, 1.15 * top)
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1.0))
    axes.set_ylabel("parallel efficiency")
    _legend(figure, axes)
    return figure


def _step_time(
    findings: Findings, curve: pd.DataFrame, published: Sequence[Published]
) -> Figure | None:
    """None where the phases that tell the parts apart were not run."""
    parts = {
        point.size: step_parts(point.jobs)
        for point in curve_points(findings.all_jobs)
        if point.size in set(curve["size"])
    }
    if min(len(of_size) for of_size in parts.values()) < 2:
        return None
    figure, axes = new_figure(
        findings, "Where a step's time goes, by size", height=4.3, of_curve=True
    )
    positions = {size: position for position, size in enumerate(parts)}
    names = [name for name in PART_COLOURS if any(name in of_size for of_size in parts.values())]
    for name in names:
        for size, of_size in parts.items():
            _stack(axes, positions[size], of_size, name)
    for name in names:
        axes.bar(0, 0, color=PART_COLOURS[name], label=name)
    for size, of_size in parts.items():
        total = sum(of_size.values())
        axes.annotate(
            units.seconds(total, 3),
            (positions[size], max(_tops(of_size))),
            xytext=(0, 5),
            textcoords="offset points",
            ha="center",
            fontweight="bold",
        )
    _publish_steps(axes, published, positions, int(curve["batch_per_rank"].iloc[0]))
    axes.set_xticks(list(positions.values()), [str(size) for size in positions])
    axes.set_xlabel("ranks")
    axes.grid(axis="x", visible=False)
    axes.yaxis.set_major_formatter(time_formatter(digits=3))
    axes.set_ylabel("median job step, by part")
    axes.margins(y=0.12)
    _legend(figure, axes)
    return figure


def _stack(axes: Axes, position: int, parts: dict[str, float], name: str) -> None:
    """One part on top of those below it; a negative one hangs down from there."""
    if name in parts:
        below = sum(list(parts.values())[: list(parts).index(name)])
        axes.bar(position, parts[name], bottom=below, color=PART_COLOURS[name], width=0.6)


def _tops(parts: dict[str, float]) -> list[float]:
    return list(np.cumsum(list(parts.values())))


def _with_interval(axes: Axes, curve: pd.DataFrame, column: str, label: str) -> None:
    """The median of each size with its 95 % interval."""
    axes.errorbar(
        curve["size"],
        curve[column],
        yerr=interval_reach(curve, column),
        marker="o",
        color=PHASE_COLOURS["train_step"],
        ecolor="black",
        capsize=4,
        linewidth=2,
        label=f"{label} (median, 95 % interval)",
        zorder=3,
    )


def _annotate(axes: Axes, size: int, value: float, text: str, above: bool = False) -> None:
    """The number at its point: below the curve, unless the axis is there."""
    if not np.isnan(value):
        axes.annotate(
            text,
            (size, value),
            xytext=(7, 8) if above else (7, -17),
            textcoords="offset points",
            fontweight="bold",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8},
        )


def _mark_nodes(axes: Axes, curve: pd.DataFrame) -> None:
    """A line between two sizes where the number of nodes grows: the slope may change there."""
    labelled = False
    for before, after in zip(curve.itertuples(), list(curve.itertuples())[1:]):
        if after.nodes > before.nodes:
            axes.axvline(
                np.sqrt(before.size * after.size),
                color=GREY,
                linestyle=":",
                label=None if labelled else "the number of nodes grows between these sizes",
            )
            axes.annotate(
                f"{before.nodes} → {after.nodes} nodes",
                (np.sqrt(before.size * after.size), 0.02),
                xycoords=("data", "axes fraction"),
                xytext=(4, 0),
                textcoords="offset points",
                fontsize=9,
                color=GREY,
            )
            labelled = True


def _publish(axes: Axes, published: Sequence[Published], column: str) -> None:
    for marker, label in zip(
        cycle(PUBLISHED_MARKERS), dict.fromkeys(point.label for point in published)
    ):
        points = [point for point in published if point.label == label]
        values = [getattr(point, column) for point in points]
        if not np.all(np.isnan(values)):
            axes.plot(
                [point.ranks for point in points],
                values,
                linestyle="none",
                marker=marker,
                color=GREY,
                markerfacecolor="none",
                label=f"published VGG-16, not measured here: {label}",
            )


def _publish_steps(
    axes: Axes, published: Sequence[Published], positions: dict[int, int], batch: int
) -> None:
    """A step's time depends on the batch: only points of the same one."""
    for marker, label in zip(
        cycle(PUBLISHED_MARKERS), dict.fromkeys(point.label for point in published)
    ):
        points = [
            point
            for point in published
            if point.label == label and point.ranks in positions and point.batch_per_rank == batch
        ]
        if points:
            axes.plot(
                [positions[point.ranks] for point in points],
                [point.step_s for point in points],
                linestyle="none",
                marker=marker,
                color=GREY,
                markerfacecolor="white",
                label=f"published VGG-16, not measured here: {label}",
            )


def _sizes(curve: pd.DataFrame, published: Sequence[Published]) -> list[int]:
    return sorted({*map(int, curve["size"]), *(point.ranks for point in published)})


def _legend(figure: Figure, axes: Axes) -> None:
    """Below the chart, which grows by its lines; what was measured comes first, then the others."""
    _, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda index: _legend_place(labels[index]))
    figure.set_figheight(figure.get_figheight() + LEGEND_LINE_INCHES * len(labels))
    legend_below(figure, axes, order)


def _legend_place(label: str) -> int:
    return (
        0
        if label.startswith(("measured", "simulated"))
        else 2
        if label.startswith("published")
        else 1
    )


def _measured(findings: Findings, base: pd.Series) -> str:
    return f"{'simulated' if findings.run.is_simulated else 'measured'}, {base['phase']}"


def _kind(findings: Findings) -> str:
    return findings.run.config.scaling.capitalize()
