"""The replications of every quantity that two cells have in common, and the ratio of the cells.

A quantity is the job step of a size and phase, or the parallel efficiency of a size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from distbench.analysis.cell_pairs import CellPair
from distbench.analysis.compared_launches import ComparedLaunch, Place, Timing
from distbench.analysis.log_ratios import Contrast, LogRatio, interval_half, log_ratio
from distbench.analysis.studies import FROM_LAUNCHES, FROM_ROUNDS

EFFICIENCY = "efficiency"
# Where one side has a single launch it borrows the spread of the other, which needs at least these.
LEAST_TO_LEND = 3


class _Sample(NamedTuple):
    """What one launch says of one quantity: its value, and that of each round."""

    value: float
    rounds: Sequence[float]


class _Part(NamedTuple):
    """The samples of both sides; with `sign` −1 the quantity divides by them."""

    b: Sequence[_Sample]
    a: Sequence[_Sample]
    sign: int = 1


class Measured(NamedTuple):
    """One comparison, before it is known how many there are.

    `quantity` is a phase, its values `a` and `b` in seconds, or EFFICIENCY, a fraction. They are
    geometric means over `replication` (launches or rounds), of which there are `count_a` and
    `count_b`; `b_half` is half the 95 % interval of `b`, NaN where there is none. `found` is b ÷ a.
    """

    cell: str
    size: int
    quantity: str
    a: float
    b: float
    b_half: float
    found: LogRatio
    replication: str
    count_a: int
    count_b: int


def measure(pair: CellPair) -> tuple[list[Measured], list[str], list[str]]:
    """The comparisons of a pair of cells, what only one side has, and what to know of them."""
    places_a, places_b = (_places(side) for side in (pair.a, pair.b))
    common = [place for place in places_a if place in places_b]
    rows = [
        _measured(
            (pair.label, *place),
            [_Part(_steps(pair.b, place), _steps(pair.a, place))],
        )
        for place in common
    ]
    apart = [
        *_only("A", pair.label, places_a, places_b),
        *_only("B", pair.label, places_b, places_a),
    ]
    efficiencies, notes = _efficiencies(pair)
    rows += efficiencies
    return [_certain(row) for row in rows] if _are_the_same(pair) else rows, apart, notes


def _only(side: str, label: str, own: Sequence[Place], other: Sequence[Place]) -> list[str]:
    phases: dict[int, list[str]] = {}
    for size, phase in own:
        if (size, phase) not in other:
            phases.setdefault(size, []).append(phase)
    of_cell = f" of {label}" if label else ""
    return [
        f"only {side} has {', '.join(names)} of {size} rank(s){of_cell}"
        for size, names in phases.items()
    ]


def _are_the_same(pair: CellPair) -> bool:
    """Whether both sides are the very same runs, of which nobody needs to ask whether they differ."""
    a, b = ([(one.run_id, one.timings) for one in side] for side in (pair.a, pair.b))
    return a == b


def _certain(row: Measured) -> Measured:
    return row._replace(found=LogRatio(0.0, 0.0, math.inf))


def _places(launches: Sequence[ComparedLaunch]) -> list[Place]:
    """Sizes ascending; phases in the ladder's order, as each launch holds them."""
    found = dict.fromkeys(place for launch in launches for place in launch.timings)
    return sorted(found, key=lambda place: place[0])


def _steps(launches: Sequence[ComparedLaunch], place: Place) -> list[_Sample]:
    timings = [one.timings[place] for one in launches if place in one.timings]
    return [_Sample(one.step_s, list(one.rounds_s.values())) for one in timings]


def _efficiencies(pair: CellPair) -> tuple[list[Measured], list[str]]:
    """Efficiency per size against the smallest size of each side, where that is the same one."""
    phases = {one.curve_phase for one in (*pair.a, *pair.b)}
    (phase,) = phases if len(phases) == 1 else (None,)
    if phase is None:
        return [], []
    sizes_a, sizes_b = (_sizes(side, phase) for side in (pair.a, pair.b))
    if min(len(sizes_a), len(sizes_b)) < 2:
        return [], []
    base = sizes_a[0]
    if base != sizes_b[0]:
        name = f" of {pair.label}" if pair.label else ""
        return [], [
            f"efficiency{name} is not compared: A's baseline is size {base}, B's size {sizes_b[0]}"
        ]
    of_size = {
        size: _efficiency_parts(pair, phase, size, base) for size in sizes_a[1:] if size in sizes_b
    }
    return [
        _measured((pair.label, size, EFFICIENCY), parts)
        for size, parts in of_size.items()
        if all(sample.rounds for part in parts for sample in (*part.a, *part.b))
        and all(part.a and part.b for part in parts)
    ], []


def _sizes(launches: Sequence[ComparedLaunch], phase: str) -> list[int]:
    return [size for size, name in _places(launches) if name == phase]


def _efficiency_parts(pair: CellPair, phase: str, size: int, base: int) -> list[_Part]:
    """One part where every launch measured its own baseline, else the rates of both sizes."""
    own, first = (size, phase), (base, phase)
    if all(one.measures_sizes_together for one in (*pair.a, *pair.b)):
        return [_Part(_own_ratios(pair.b, own, first), _own_ratios(pair.a, own, first))]
    return [
        _Part(_rates(pair.b, own), _rates(pair.a, own)),
        _Part(_rates(pair.b, first), _rates(pair.a, first), sign=-1),
    ]


def _own_ratios(launches: Sequence[ComparedLaunch], own: Place, base: Place) -> list[_Sample]:
    """Efficiencies within each launch; every round has its own, free of the drift between rounds."""
    return [
        _own_ratio(_rate(one.timings[own], own[0]), _rate(one.timings[base], base[0]))
        for one in launches
        if own in one.timings and base in one.timings
    ]


def _own_ratio(
    own: tuple[float, Mapping[int, float]], base: tuple[float, Mapping[int, float]]
) -> _Sample:
    both = [index for index in own[1] if index in base[1]]
    return _Sample(own[0] / base[0], [own[1][index] / base[1][index] for index in both])


def _rates(launches: Sequence[ComparedLaunch], place: Place) -> list[_Sample]:
    timings = [one.timings[place] for one in launches if place in one.timings]
    rates = [_rate(timing, place[0]) for timing in timings]
    return [_Sample(rate, list(rounds.values())) for rate, rounds in rates]


def _rate(timing: Timing, size: int) -> tuple[float, dict[int, float]]:
    """Images per second and rank: of the launch, and of each round."""
    images = timing.images / size
    rounds = {index: images / step_s for index, step_s in timing.rounds_s.items()}
    return images / timing.step_s, rounds


def _measured(what: tuple[str, int, str], parts: Sequence[_Part]) -> Measured:
    by_launch = all(_are_enough(len(part.a), len(part.b)) for part in parts)
    contrasts = [
        Contrast(_values(part.b, by_launch), _values(part.a, by_launch), part.sign)
        for part in parts
    ]
    a, b = 1.0, 1.0
    for contrast in contrasts:
        a *= _geometric_mean(contrast.base) ** contrast.sign
        b *= _geometric_mean(contrast.candidate) ** contrast.sign
    return Measured(
        *what,
        a=a,
        b=b,
        b_half=interval_half(contrasts[0].candidate) if len(contrasts) == 1 else math.nan,
        found=log_ratio(contrasts),
        replication=FROM_LAUNCHES if by_launch else FROM_ROUNDS,
        count_a=min(len(contrast.base) for contrast in contrasts),
        count_b=min(len(contrast.candidate) for contrast in contrasts),
    )


def _are_enough(a: int, b: int) -> bool:
    """Whether so many launches of the sides can be the unit of replication."""
    return min(a, b) >= 2 or (min(a, b) == 1 and max(a, b) >= LEAST_TO_LEND)


def _values(samples: Sequence[_Sample], by_launch: bool) -> list[float]:
    if by_launch:
        return [sample.value for sample in samples]
    return [value for sample in samples for value in sample.rounds]


def _geometric_mean(values: Sequence[float]) -> float:
    return math.exp(float(np.mean(np.log(values))))
