"""What each chart says, in one sentence with its numbers, so that nobody must read it off the axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from distbench import units
from distbench.analysis.summary import headline_phase
from distbench.report.findings import Findings
from distbench.report.loss_shown import shown
from distbench.report.scaling_tables import times


def takeaway(findings: Findings, chart: str) -> str:
    """The sentence above a chart, by its name; empty where there is nothing to say."""
    say = _SENTENCES.get(chart)
    return say(findings) if say else ""


def curve_sentence(findings: Findings) -> str:
    """How fast the largest size is, against the baseline and against the ideal."""
    last = _last(findings)
    if last is None or math.isnan(last["speed_up"]):
        return ""
    ideal = last["size"] / last["baseline_size"]
    kind, base = findings.run.device_kind, last["baseline_size"]
    baseline = f"1 {kind}" if base == 1 else f"{base} {kind}s"
    return (
        f"{last['size']} {kind}s are {times(last['speed_up'])} as fast as {baseline}; "
        f"ideal would be {ideal:g} ×."
    )


def _throughput(findings: Findings) -> str:
    last = _last(findings)
    if last is None or not last["baseline_size"]:
        return ""
    assert findings.scaling is not None
    base = findings.scaling.iloc[0]
    ideal = base["images_per_s"] / base["size"] * last["size"]
    return (
        f"From {units.rate(base['images_per_s'])} images/s at size {base['size']} to "
        f"{units.rate(last['images_per_s'])} at {last['size']}; ideal is {units.rate(ideal)}, on the "
        "dashed line."
    )


def _efficiency(findings: Findings) -> str:
    """From where to where the efficiency goes, and between which sizes it falls most."""
    last = _last(findings)
    if last is None or math.isnan(last["efficiency"]):
        return ""
    assert findings.scaling is not None
    rows = list(findings.scaling.itertuples())
    text = f"{last['size']} ranks keep {units.percent(last['efficiency'])} of the baseline's rate per rank"
    steps = [
        (before.efficiency - after.efficiency, before, after) for before, after in pairwise(rows)
    ]
    fall, before, after = max(steps, key=lambda step: step[0])
    if len(rows) < 3 or not fall > 0:
        return f"{text}."
    text += f"; the largest fall is {100 * fall:.1f} points, between {before.size} and {after.size} ranks"
    if after.nodes > before.nodes:
        text += f", where the nodes grow from {before.nodes} to {after.nodes}"
    return f"{text}."


def _last(findings: Findings) -> Any:
    return None if findings.scaling is None else findings.scaling.iloc[-1]


def _exposed(findings: Findings) -> str:
    if findings.scaling is None:
        return ""
    known = findings.scaling.dropna(subset=["exposed_s"])
    if known.empty:
        return ""
    first, last = known.iloc[0], known.iloc[-1]
    text = f"{units.seconds(last['exposed_s'], 3)} of a step at {last['size']} ranks"
    if len(known) > 1:
        text = f"{units.seconds(first['exposed_s'], 3)} of a step at {first['size']} ranks, {text}"
    return f"Exposed communication takes {text}."


def _rates(findings: Findings) -> str:
    rates = findings.summary.set_index("phase")["images_per_s"]
    whole = headline_phase(findings.summary)
    if whole is None or "forward_backward" not in rates.index:
        return ""
    share = rates[whole] / rates["forward_backward"]
    return (
        f"{whole} reaches {units.rate(rates[whole])} images/s, {units.percent(share)} of "
        "forward_backward, which neither communicates nor updates."
    )


def _parts(findings: Findings) -> str:
    parts = findings.parts
    if len(parts) < 2:
        return ""
    name = max(parts, key=lambda part: parts[part])
    whole_s = sum(parts.values())
    return (
        f"{name.capitalize()} is the largest part: {units.seconds(parts[name], 3)} of "
        f"{units.seconds(whole_s, 3)}, {units.percent(parts[name] / whole_s)}."
    )


def _heat_map(findings: Findings) -> str:
    return (
        "A red row is a rank that is slower than the others all the time, a red spot one slow step."
    )


def _distribution(findings: Findings) -> str:
    phase = headline_phase(findings.summary)
    if phase is None:
        return ""
    steps = findings.jobs.loc[findings.jobs["phase"] == phase, "step_s"]
    return (
        f"Half of the steps of {phase} end within {units.seconds(steps.median())}; the slowest of "
        f"{len(steps)} took {units.seconds(steps.max())}, {steps.max() / steps.median():.2f} × that."
    )


def _largest_part(findings: Findings) -> str:
    if not findings.budgets:
        return ""
    text = shown(findings.budgets[-1])
    if not text.is_lost:
        return ""
    largest = text.of(text.budget.largest)
    whole = "the loss" if text.budget.has_baseline else "what is not computing"
    return (
        f"{largest.of_loss} of {whole} is the part {largest.part.name!r}: {largest.time} of "
        f"{text.loss}."
    )


def _loss_by_size(findings: Findings) -> str:
    if len(findings.budgets) < 2:
        return ""
    first, last = shown(findings.budgets[0]), shown(findings.budgets[-1])
    return (
        f"{first.budget.size} ranks lose {first.loss_points} points of efficiency, {last.budget.size} "
        f"ranks {last.loss_points}."
    )


_SENTENCES: dict[str, Callable[[Findings], str]] = {
    "scaling_throughput": _throughput,
    "scaling_efficiency": _efficiency,
    "scaling_step_time": _exposed,
    "loss_waterfall": _largest_part,
    "loss_by_size": _loss_by_size,
    "throughput": _rates,
    "step_time_split": _parts,
    "heat_map": _heat_map,
    "distribution": _distribution,
}
