"""Two sides, A and B, size by size and phase by phase: by how much B's steps take longer than A's.

The unit of replication is the launch where there are enough of them (METHOD R2), else the round of a
launch. A ratio is that of geometric means over the replications, each of which is a median job step;
its interval is Welch's of the difference of mean logarithms (METHOD 3.5). With many comparisons some
would differ by chance: Holm's p-values decide, and the intervals (Bonferroni) hold all together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from distbench.analysis.cell_pairs import CellPair, Side, differences_of, pair_cells
from distbench.analysis.comparability import Difference
from distbench.analysis.log_ratios import holm, simultaneous_confidence
from distbench.analysis.paired_quantities import EFFICIENCY, Measured, measure
from distbench.analysis.statistics import CONFIDENCE
from distbench.analysis.studies import FROM_ROUNDS

DEFAULT_THRESHOLD = 0.01  # what launches of the same thing commonly differ by
SLOWER, FASTER, LOWER, HIGHER = "slower", "faster", "lower", "higher"
NO_DIFFERENCE, NOT_RESOLVED = "no difference that matters", "not resolved"


class Row(NamedTuple):
    """One comparison and what it says.

    `quantity` is a phase, its values in seconds, or EFFICIENCY, a fraction. `a` and `b` are geometric
    means over `replication` (launches or rounds), of which there are `count_a` and `count_b`;
    `b_half` is half the 95 % interval of `b`. `ratio` is b ÷ a with its own 95 % interval (`low`,
    `high`) and the one that holds together with those of all other rows (`together_low`,
    `together_high`); `p_holm` is corrected likewise. NaN where there is no interval.
    """

    cell: str
    size: int
    quantity: str
    a: float
    b: float
    b_half: float
    ratio: float
    low: float
    high: float
    together_low: float
    together_high: float
    p_holm: float
    verdict: str
    replication: str
    count_a: int
    count_b: int


@dataclass(frozen=True)
class Comparison:
    """Everything that was found; `threshold` is the change that matters, 0.03 for 3 %.

    `differences` are (fact, cells that it is about; none where it is about all). `obstacles` are
    reasons not to trust the times of a side. `apart` says what only one side has.
    """

    a: Side
    b: Side
    threshold: float
    pairs: tuple[CellPair, ...]
    differences: tuple[tuple[Difference, tuple[str, ...]], ...]
    obstacles: tuple[str, ...]
    apart: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    @property
    def refusals(self) -> tuple[str, ...]:
        """Why the two are not comparable; empty where they are."""
        different = [
            f"{one.name} (A: {one.a}, B: {one.b})" for one, _ in self.differences if one.refuses
        ]
        return (*self.obstacles, *different)

    @property
    def is_suspect(self) -> bool:
        """Whether a check of one of the launches found something that may make it wrong."""
        return any(one.warnings for side in (self.a, self.b) for one in side.launches)

    @property
    def counted(self) -> int:
        """How many comparisons have an interval, which is what they were corrected for."""
        return sum(not math.isnan(row.p_holm) for row in self.rows)

    def with_verdict(self, verdict: str) -> list[Row]:
        """The rows of one verdict, the largest change first."""
        rows = [row for row in self.rows if row.verdict == verdict]
        return sorted(rows, key=lambda row: -abs(math.log(row.ratio)))


def compare(a: Side, b: Side, threshold: float = DEFAULT_THRESHOLD) -> Comparison:
    """Compares what both sides have; whether they may be compared is told by `refusals`."""
    pairs, apart = pair_cells(a, b)
    measured: list[Measured] = []
    notes: list[str] = []
    for pair in pairs:
        own, own_apart, own_notes = measure(pair)
        measured += own
        apart += own_apart
        notes += own_notes
    rows = _judged(measured, threshold)
    return Comparison(
        a=a,
        b=b,
        threshold=threshold,
        pairs=tuple(pairs),
        differences=differences_of(pairs),
        obstacles=tuple(_obstacles(a, b)),
        apart=tuple(apart),
        rows=rows,
        notes=(*_notes(a, b, rows), *notes),
    )


def _judged(measured: Sequence[Measured], threshold: float) -> tuple[Row, ...]:
    p_values = holm([one.found.p_value for one in measured])
    together = simultaneous_confidence(sum(not math.isnan(p) for p in p_values))
    return tuple(_row(one, p, together, threshold) for one, p in zip(measured, p_values))


def _row(one: Measured, p_holm: float, together: float, threshold: float) -> Row:
    low, high = one.found.interval()
    together_low, together_high = one.found.interval(together)
    ends = (one.found.ratio, together_low, together_high)
    return Row(
        cell=one.cell,
        size=one.size,
        quantity=one.quantity,
        a=one.a,
        b=one.b,
        b_half=one.b_half,
        ratio=one.found.ratio,
        low=low,
        high=high,
        together_low=together_low,
        together_high=together_high,
        p_holm=p_holm,
        verdict=verdict(ends, p_holm, threshold, one.quantity == EFFICIENCY),
        replication=one.replication,
        count_a=one.count_a,
        count_b=one.count_b,
    )


def verdict(
    ends: tuple[float, float, float], p_holm: float, threshold: float, is_efficiency: bool = False
) -> str:
    """What a ratio with its interval, (ratio, low, high), says.

    A change is told where Holm's p is below 5 % and the ratio itself lies beyond the threshold; that
    no difference matters, where the whole interval lies within it. Else the data do not decide.
    Within means between 1 ÷ (1 + threshold) and 1 + threshold: the same if A and B change places.
    """
    ratio, low, high = ends
    least, most = 1 / (1 + threshold), 1 + threshold
    if p_holm < 1 - CONFIDENCE and ratio > most:
        return HIGHER if is_efficiency else SLOWER
    if p_holm < 1 - CONFIDENCE and ratio < least:
        return LOWER if is_efficiency else FASTER
    return NO_DIFFERENCE if least <= low and high <= most else NOT_RESOLVED


def _obstacles(a: Side, b: Side) -> Iterator[str]:
    """One sentence for each launch that is not valid: its gravest finding."""
    for letter, side in (("A", a), ("B", b)):
        for launch in side.launches:
            if launch.obstacles:
                of_launch = f" ({launch.name})" if launch.name else ""
                count = len(launch.obstacles) - 1
                more = f" (and {count} more)" if count else ""
                yield f"{letter} is not valid{of_launch}: {launch.obstacles[0]}{more}"


def _notes(a: Side, b: Side, rows: Sequence[Row]) -> list[str]:
    """What a reader of the rows must know, each once."""
    notes = []
    shared = {one.run_id for one in a.launches} & {one.run_id for one in b.launches}
    if shared:
        notes.append(f"note: A and B share the run {min(shared)}, which cannot differ from itself")
    if any(row.replication == FROM_ROUNDS for row in rows):
        notes.append(
            "note: low confidence: with so few launches the intervals rest on the rounds of a launch "
            "and do not hold what differs from launch to launch; compare 3 launches or more a side, "
            "such as studies with --repeat 5"
        )
    elif any(min(row.count_a, row.count_b) == 1 for row in rows):
        notes.append(
            "note: one side has a single launch, which is taken to vary as much as those of the other"
        )
    if any(row.verdict == NOT_RESOLVED for row in rows):
        notes.append(
            "note: not resolved means that the interval is too wide to tell; more rounds or launches "
            "narrow it"
        )
    for letter, side in (("A", a), ("B", b)):
        notes += [f"note: {letter} lacks {what}" for what in side.unfinished]
        for launch in side.launches:
            of_launch = f" ({launch.name})" if launch.name else ""
            notes += [f"suspect: {letter}{of_launch}: {warning}" for warning in launch.warnings]
    return list(dict.fromkeys(notes))
