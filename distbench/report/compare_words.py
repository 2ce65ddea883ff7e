"""The words of a comparison: what was compared, by how much B differs, and the answer."""

from __future__ import annotations

import math

from distbench import units
from distbench.analysis.cell_pairs import CellPair, Side
from distbench.analysis.compare import (
    FASTER,
    HIGHER,
    LOWER,
    NO_DIFFERENCE,
    NOT_RESOLVED,
    SLOWER,
    Comparison,
    Row,
)
from distbench.analysis.compared_launches import ComparedLaunch
from distbench.analysis.paired_quantities import EFFICIENCY
from distbench.analysis.summary import HEADLINE_PHASES

_LARGE_CHANGE = 10.0  # 1000 %, beyond which digits say nothing


def headline(comparison: Comparison) -> str:
    """The answer: the largest training step, then all of them; after a warning where there is one."""
    text = _all_steps(comparison)
    return f"{warning(comparison)}{_main_step(comparison)}{text[:1].upper()}{text[1:]}."


def warning(comparison: Comparison) -> str:
    """What stands before a headline or a table's title where the numbers may not be trusted."""
    if comparison.refusals:
        return "NOT COMPARABLE, see the differences: "
    return "SUSPECT, see the notes: " if comparison.is_suspect else ""


def _main_step(comparison: Comparison) -> str:
    """A sentence on the largest size's training step; '' where there are several cells or none."""
    if len(comparison.pairs) > 1:
        return ""
    for phase in HEADLINE_PHASES:
        rows = [row for row in comparison.rows if row.quantity == phase]
        if rows:
            row = max(rows, key=lambda row: row.size)
            return f"{place_text(row)}: B is {change_text(row)} ({interval_text(row)}): {row.verdict}. "
    return ""


def _all_steps(comparison: Comparison) -> str:
    steps = [row for row in comparison.rows if row.quantity != EFFICIENCY]
    sentences = []
    for verdict in (SLOWER, FASTER):
        rows = comparison.with_verdict(verdict)
        if rows:
            most = rows[0]
            where = f"most in {place_text(most)}, by {change_size(most.ratio)}"
            sentences.append(f"B is {verdict} than A in {len(rows)} of {len(steps)} steps, {where}")
    alike = [row for row in steps if row.verdict == NO_DIFFERENCE]
    open_rows = [row for row in steps if row.verdict == NOT_RESOLVED]
    if alike:
        matters = f"no difference that matters (over {threshold_text(comparison.threshold)})"
        count = "any" if len(alike) == len(steps) else str(len(alike))
        sentences.append(f"{matters} in {count} of {len(steps)} steps")
    if open_rows:
        sentences.append(f"{len(open_rows)} of {len(steps)} steps are not resolved")
    return "; ".join(sentences)


def pair_text(pair: CellPair) -> str:
    """What was run on what; both sides where they differ."""
    a, b = ({launch_text(one) for one in side} for side in (pair.a, pair.b))
    if a == b:
        return " and ".join(sorted(a))
    return f"A {' and '.join(sorted(a))}; B {' and '.join(sorted(b))}"


def launch_text(launch: ComparedLaunch) -> str:
    """'VGG-D, 224×224, batch 32 per rank, on GPUs'."""
    return f"{launch.network}, {launch.batch}, on {launch.devices}"


def side_text(side: Side) -> str:
    """Where a side is and what was run there."""
    networks, batches, devices = (
        list(dict.fromkeys(values))
        for values in zip(*((one.network, one.batch, one.devices) for one in side.launches))
    )
    batch = batches[0] if len(batches) == 1 else "several batches"
    what = f"{' and '.join(networks)}, {batch}, on {' and '.join(devices)}"
    count = len(side.launches)
    launches = f"{count} launches" if count > 1 else f"run {side.launches[0].run_id}"
    return f"{side.name} ({what}; {launches})"


def place_text(row: Row) -> str:
    """Which step a row is about: 'train_step of 8 ranks'."""
    ranks = f"{row.size} rank{'s' if row.size > 1 else ''}"
    return f"{row.quantity} of {ranks}{f' ({row.cell})' if row.cell else ''}"


def threshold_text(threshold: float) -> str:
    """0.03 -> '3 %'"""
    return f"{100 * threshold:g} %"


def change_size(ratio: float) -> str:
    """How far a ratio is from 1, the same for a ratio and its inverse: 1.05 and 1 ÷ 1.05 -> '5.0 %'."""
    if math.isnan(ratio):
        return units.NOT_AVAILABLE
    size = max(ratio, 1 / ratio) - 1 if ratio > 0 else math.inf
    if size > _LARGE_CHANGE:
        return f"over {100 * _LARGE_CHANGE:.0f} %"
    return f"{100 * size:.{1 if size >= 0.00995 else 2}f} %"


def signed_change(ratio: float) -> str:
    """The same with its direction: '+' where B has more."""
    text = change_size(ratio)
    sign = "+" if ratio >= 1 else "−"
    return text if math.isnan(ratio) else f"{sign}{text}"


def change_text(row: Row) -> str:
    """'5.0 % slower'; of an efficiency '5.0 % lower'."""
    size = change_size(row.ratio)
    if size == change_size(1.0):
        return "as fast" if row.quantity != EFFICIENCY else "the same"
    more, less = (HIGHER, LOWER) if row.quantity == EFFICIENCY else (SLOWER, FASTER)
    return f"{size} {more if row.ratio > 1 else less}"


def interval_text(row: Row) -> str:
    """The interval that holds together with all others: '+4.1 % to +5.9 %'."""
    if math.isnan(row.together_low):
        return units.NOT_AVAILABLE
    return f"{signed_change(row.together_low)} to {signed_change(row.together_high)}"


def p_text(p: float) -> str:
    """A p-value with three decimals."""
    if math.isnan(p):
        return units.NOT_AVAILABLE
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def counts_text(row: Row) -> str:
    """What the row rests on: '6 rounds of A, 6 of B'."""
    return f"{row.count_a} {row.replication} of A, {row.count_b} of B"
