"""The limits of a run as sentences and as a table: each bound with its formula and its source."""

from __future__ import annotations

import math
from typing import Any

from distbench import units
from distbench.analysis.device_peaks import FLOPS_PER_TFLOP
from distbench.analysis.limits import Limits
from distbench.report.text import markdown, markdown_table

WIRE_COLUMNS = ("ranks on nodes", "wire's bound", "allreduce", "reaches of it")
WIRE_FORMULA = (
    "Wire's bound of n nodes with g ranks each: 2(g−1)/g · S/B_intra + 2(n−1)/n · (S/g)/B_inter, a ring "
    "inside the nodes and then one between them; the allreduce reaches bound ÷ its time. Above 100 % "
    "both kinds of links were busy at once."
)
MFU_FORMULA = (
    "MFU = images/s of a rank × FLOPs of an image ÷ peak of a device; a multiplication with its "
    "addition is 2 FLOPs."
)
WINOGRAD_NOTE = (
    " The FLOPs are those of direct sums; Winograd's convolutions took fewer, so that it may pass "
    "100 %."
)
OWN_LINKS = (
    "The bound rests on this run's own fastest allreduce, so that it tells sizes apart and not how fast "
    "the links could be; for that give --link-gb-per-s and --intra-link-gb-per-s."
)


def limit_lines(limits: Limits) -> list[str]:
    """What the largest size reaches of its bounds, and what those rest on, as sentences."""
    return [_label(limits) + line for line in _lines(limits)]


def limit_markdown(limits: Limits) -> list[str]:
    """The section of report.md; nothing where no bound is known."""
    if not _has_wire(limits) and not _has_mfu(limits):
        return []
    notes = _lines(limits)
    notes += [WIRE_FORMULA] if _has_wire(limits) else []
    notes += [OWN_LINKS] if _has_wire(limits) and limits.links.is_measured else []
    notes += [MFU_FORMULA] if _has_mfu(limits) else []
    return [
        f"## {_label(limits)}Limits of the hardware",
        "",
        *markdown_table(limit_columns(limits), limit_rows(limits)),
        "",
        *(f"- {markdown(note)}" for note in notes),
        "",
    ]


def limit_columns(limits: Limits) -> tuple[str, ...]:
    """The heads of `limit_rows`: those of the bounds that are known."""
    mfu = (f"MFU of {limits.frame['phase'].iloc[0]}",) if _has_mfu(limits) else ()
    return ("size", *(WIRE_COLUMNS if _has_wire(limits) else ()), *mfu)


def limit_rows(limits: Limits) -> list[tuple[str, ...]]:
    """One row of text per size, under `limit_columns`."""
    has_wire, has_mfu = _has_wire(limits), _has_mfu(limits)
    return [
        (
            str(row.size),
            *(_wire_cells(row) if has_wire else ()),
            *((units.percent(row.mfu),) if has_mfu else ()),
        )
        for row in limits.frame.itertuples()
    ]


def _wire_cells(row: Any) -> tuple[str, ...]:
    return (
        row.ranks_on_nodes,
        units.seconds(row.wire_bound_s if row.size > 1 else math.nan),
        units.seconds(row.allreduce_s),
        units.percent(row.of_wire_bound),
    )


def _label(limits: Limits) -> str:
    return "SIMULATED: " if limits.is_simulated else ""


def _has_wire(limits: Limits) -> bool:
    return not limits.frame.empty and bool(limits.frame["of_wire_bound"].notna().any())


def _has_mfu(limits: Limits) -> bool:
    return not limits.frame.empty and bool(limits.frame["mfu"].notna().any())


def _lines(limits: Limits) -> list[str]:
    if limits.frame.empty:
        return []
    row = limits.frame.iloc[-1]
    return [*_wire_lines(limits, row), *_mfu_lines(limits, row)]


def _wire_lines(limits: Limits, row: Any) -> list[str]:
    if math.isnan(row["of_wire_bound"]):
        return []
    links = limits.links
    speeds = [
        f"{units.bandwidth(speed)} {where}"
        for speed, where in (
            (links.inter_bytes_per_s, "between nodes"),
            (links.intra_bytes_per_s, "inside a node"),
        )
        if not math.isnan(speed)
    ]
    return [
        f"At {row['size']} ranks the allreduce takes {units.seconds(row['allreduce_s'])} and its links "
        f"need {units.seconds(row['wire_bound_s'])}: it reaches {units.percent(row['of_wire_bound'])} "
        f"of the wire's bound ({links.source}: {', '.join(speeds)} for each rank)."
    ]


def _mfu_lines(limits: Limits, row: Any) -> list[str]:
    if math.isnan(row["mfu"]):
        return []
    peak = units.significant(limits.peak_flops_per_s / FLOPS_PER_TFLOP, 3)
    return [
        f"MFU of {row['phase']} at {row['size']} rank(s): {units.percent(row['mfu'])} of {peak} TFLOP/s "
        f"for each device ({limits.peak_source})." + (WINOGRAD_NOTE if limits.is_winograd else "")
    ]
