"""The scaling table: on a terminal, in report.md, and in the columns of NVIDIA's example READMEs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from distbench import units
from distbench.plain_text import aligned
from distbench.report.findings import Findings, arithmetic, title
from distbench.report.text import markdown, markdown_table

SCALING_COLUMNS = (
    "size",
    "nodes",
    "batch/rank",
    "images/s",
    "95 % interval",
    "speed-up",
    "efficiency",
    "95 % interval",
    "exposed",
    "busbw",
    "baseline",
)
# The columns of NVIDIA's DeepLearningExamples, so that the table can stand beside theirs.
NVIDIA_COLUMNS = (
    "GPUs",
    "Batch size / GPU",
    "Throughput - {arithmetic}",
    "Throughput - mixed precision",
    "Throughput speedup ({arithmetic} to mixed precision)",
    "{kind} scaling - {arithmetic}",
    "{kind} scaling - mixed precision",
)


def scaling_rows(findings: Findings) -> list[tuple[str, ...]]:
    """One row of text per size, under SCALING_COLUMNS."""
    if findings.scaling is None:
        return []
    return [
        (
            str(row.size),
            str(row.nodes),
            str(row.batch_per_rank),
            units.rate(row.images_per_s),
            interval_text(row.images_per_s_low, row.images_per_s_high, units.rate),
            times(row.speed_up),
            units.percent(row.efficiency),
            efficiency_interval(row),
            units.seconds(row.exposed_s, 3),
            units.bandwidth(row.busbw_bytes_per_s),
            f"size {row.baseline_size}" if row.baseline_size else "none",
        )
        for row in findings.scaling.itertuples()
    ]


def times(speed_up: float) -> str:
    """A speed-up: '3.15 ×'."""
    text = units.significant(speed_up, 3)
    return text if math.isnan(speed_up) else f"{text} ×"


def interval_text(low: float, high: float, text: Callable[[float], str]) -> str:
    """An interval, its ends written by `text`; one without an upper bound is 'over' its lower end."""
    if math.isnan(low) or math.isnan(high):
        return units.NOT_AVAILABLE
    return f"over {text(low)}" if math.isinf(high) else f"{text(low)} to {text(high)}"


def efficiency_interval(row: Any) -> str:
    """That of a row of a curve; the baseline's own is none."""
    if row.size == row.baseline_size:
        return "baseline"
    return interval_text(row.efficiency_low, row.efficiency_high, units.percent)


def scaling_table(findings: Findings) -> list[str]:
    """The scaling table for a terminal; nothing where there is no curve."""
    if findings.scaling is None:
        return []
    title = f"{_kind(findings)} scaling, {_phase(findings)}:"
    return [findings.warning + title, *aligned([SCALING_COLUMNS, *scaling_rows(findings)])]


def scaling_lines(findings: Findings) -> list[str]:
    """What speed-up and efficiency are measured against, and the controls, as sentences."""
    if findings.scaling is None:
        return []
    first, last = findings.scaling.iloc[0], findings.scaling.iloc[-1]
    lines = [f"Baseline of every speed-up: {first['baseline']}"]
    if first["baseline_size"]:
        lines[0] += f", {units.rate(first['images_per_s'])} images/s"
    lines[0] += "."
    if findings.devices:
        slowest = min(findings.devices, key=lambda device: device.images_per_s)
        fastest = max(findings.devices, key=lambda device: device.images_per_s)
        lines.append(
            f"Each rank alone: slowest rank {slowest.rank} on {slowest.host} with "
            f"{units.rate(slowest.images_per_s)} images/s, fastest rank {fastest.rank} on "
            f"{fastest.host} with {units.rate(fastest.images_per_s)}."
        )
    if not math.isnan(last["efficiency_against_independent"]):
        lines.append(
            f"Second control, all {last['size']} ranks at once without communication: "
            f"{units.seconds(last['independent_step_s'])} a step; against it the "
            f"{last['size']} ranks together reach "
            f"{units.percent(last['efficiency_against_independent'])}."
        )
    return lines


def scaling_markdown(findings: Findings) -> list[str]:
    """The scaling section of report.md; nothing where there is no curve."""
    if findings.scaling is None:
        return []
    return [
        f"## {findings.warning}{_kind(findings)} scaling, {_phase(findings)}",
        "",
        *markdown_table(SCALING_COLUMNS, scaling_rows(findings)),
        "",
        *(f"- {markdown(line)}" for line in scaling_lines(findings)),
        "- efficiency = (images/s ÷ ranks) ÷ (the baseline's images/s ÷ its ranks); intervals rest on "
        "the ratios of the rounds, each of which holds every size.",
        "",
        f"## {phases_title(findings)}",
        "",
    ]


def phases_title(findings: Findings) -> str:
    """Whose phases the tables and charts of one group show."""
    return f"Phases at {findings.ranks} rank{'s' if findings.ranks > 1 else ''}"


def nvidia_table(findings: Findings) -> str:
    """The curve as a Markdown table for a README; what was not measured is 'n/a'.

    Above it stands what was run, and whether the checks found something.
    """
    simulated = " (SIMULATED)" if findings.run.is_simulated else ""
    is_mixed = findings.run.config.precision != "float32"
    single = "FP32" if is_mixed else arithmetic(findings.run)
    words = {"arithmetic": single + simulated, "kind": _kind(findings)}
    columns = [column.format(**words) for column in NVIDIA_COLUMNS]
    if "GPU" not in findings.run.device_kind:
        columns = [column.replace("GPU", "CPU rank") for column in columns]
    none = units.NOT_AVAILABLE
    assert findings.scaling is not None
    rows = [
        (
            str(row.size),
            str(row.batch_per_rank),
            *_in_column(f"{units.rate(row.images_per_s)} img/s", is_mixed),
            none,
            *_in_column(units.significant(row.speed_up, 3), is_mixed),
        )
        for row in findings.scaling.itertuples()
    ]
    what = markdown(f"{findings.warning}{title(findings.run)}")
    return "\n".join([what, "", *markdown_table(columns, rows), ""])


def _in_column(text: str, is_mixed: bool) -> tuple[str, str]:
    """Under single or under mixed precision; the other was not measured."""
    none = units.NOT_AVAILABLE
    return (none, text) if is_mixed else (text, none)


def _kind(findings: Findings) -> str:
    return findings.run.config.scaling.capitalize()


def _phase(findings: Findings) -> str:
    assert findings.scaling is not None
    return str(findings.scaling["phase"].iloc[0])
