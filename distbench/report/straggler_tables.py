"""What is said of stragglers, on a terminal and in report.md."""

from __future__ import annotations

import math

import pandas as pd

from distbench import units
from distbench.analysis.stragglers import Stragglers
from distbench.report.text import markdown, markdown_table

STRAGGLER_COLUMNS = (
    "rank",
    "host",
    "device",
    "slower by",
    "95 % interval",
    "in standard errors",
    "change over the run",
    "alone",
    "came last",
    "others waited",
    "slowest in",
    "straggler",
)
MOST_REASONS = 4  # ranks whose evidence is written out; the table has the others


def straggler_lines(stragglers: Stragglers | None) -> list[str]:
    """The verdict, the evidence for the ranks that it names, and the notes; none without ranks."""
    if stragglers is None:
        return []
    named = stragglers.named
    if len(named) == 1:  # the verdict holds the evidence
        reasons = [named[0].details]
    else:
        reasons = [f"{one.evidence} {one.details}".strip() for one in named[:MOST_REASONS]]
    if len(named) > MOST_REASONS:
        reasons.append(f"The same holds for {len(named) - MOST_REASONS} more ranks.")
    return [stragglers.verdict, *filter(None, reasons), *stragglers.notes]


def straggler_rows(stragglers: Stragglers | None, most: int = 10) -> list[tuple[str, ...]]:
    """One row of text under STRAGGLER_COLUMNS for each of the `most` slowest ranks, the named first."""
    if stragglers is None:
        return []
    shown = slowest_first(stragglers).head(most)
    return [
        (
            str(row.rank),
            row.host,
            row.device,
            units.percent(row.relative_lag),
            _interval(row.relative_lag_low, row.relative_lag_high),
            units.NOT_AVAILABLE if math.isnan(row.z) else f"{row.z:.1f}",
            units.percent(row.own_change),
            units.percent(row.alone_lag),
            f"{row.last_arrivals} of {row.meetings}" if row.meetings else units.NOT_AVAILABLE,
            units.seconds(row.median_wait_s, 2) if row.last_arrivals else "",
            units.percent(row.slowest_share),
            "yes" if row.is_straggler else "",
        )
        for row in shown.itertuples()
    ]


def slowest_first(stragglers: Stragglers) -> pd.DataFrame:
    """The scores, the named ranks first, and the slowest first among each."""
    return stragglers.scores.sort_values(
        ["is_straggler", "relative_lag"], ascending=False, kind="stable"
    )


def _interval(low: float, high: float) -> str:
    if math.isnan(low) or math.isnan(high):
        return units.NOT_AVAILABLE
    return f"{100 * low:.1f} to {units.percent(high)}"


def straggler_method(stragglers: Stragglers) -> list[str]:
    """How the ranks were compared, as sentences."""
    return [
        f"slower by: {stragglers.phase}, which needs no other rank, against the median of the other "
        f"ranks at the same step; {stragglers.steps_per_rank} steps a rank in {stragglers.units} runs "
        f"of consecutive steps, whose autocorrelation ({stragglers.autocorrelation:.2f}) is allowed "
        "for.",
        "A rank is named if its lag (or its lag's change over the run) is more than noise explains, "
        "by a t test for all ranks together at 5 %, if it stands out from the spread of the faster "
        "half of the ranks, and if it is 1 % at least.",
        "came last: who was the last at the meetings after the blocks of computing; a rank's time at "
        "a meeting is measured on its own clock, so that no clocks need to agree.",
    ]


def straggler_markdown(stragglers: Stragglers | None) -> list[str]:
    """The section of report.md; nothing where no ranks could be compared."""
    if stragglers is None:
        return []
    rows = straggler_rows(stragglers)
    first, *others = straggler_lines(stragglers)
    more = [f"The {len(rows)} slowest of {stragglers.ranks} ranks:", ""]
    return [
        "## Stragglers",
        "",
        f"**{markdown(first)}**",
        "",
        *(f"- {markdown(line)}" for line in others),
        "",
        *(more if len(rows) < stragglers.ranks else []),
        *markdown_table(STRAGGLER_COLUMNS, rows),
        "",
        *(f"- {markdown(line)}" for line in straggler_method(stragglers)),
        "",
    ]
