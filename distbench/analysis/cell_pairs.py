"""The two sides of a comparison, and which of their cells belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from distbench.analysis.comparability import NOT_SET, Difference, differences
from distbench.analysis.compared_launches import ComparedLaunch


@dataclass(frozen=True)
class Side:
    """One of the two: a run, or the complete launches of a study. `unfinished` says what it lacks."""

    name: str
    launches: tuple[ComparedLaunch, ...]
    unfinished: tuple[str, ...] = ()


@dataclass(frozen=True)
class CellPair:
    """The launches of both sides that are compared; `label` is '' where each side has one cell."""

    label: str
    a: tuple[ComparedLaunch, ...]
    b: tuple[ComparedLaunch, ...]


def pair_cells(a: Side, b: Side) -> tuple[list[CellPair], list[str]]:
    """Cells of equal axes, and in words those that only one side has.

    Only axes that tell cells of one side apart count, so that two sides of one cell each always pair.
    """
    axes = dict.fromkeys(name for side in (a, b) for one in side.launches for name in one.varied)
    telling = [
        name
        for name in axes
        if any(len({_value(one, name) for one in side.launches}) > 1 for side in (a, b))
    ]
    cells_a, cells_b = _cells(a, telling), _cells(b, telling)
    pairs = [CellPair(name, cells_a[name], cells_b[name]) for name in cells_a if name in cells_b]
    lone = [("A", name) for name in cells_a if name not in cells_b]
    lone += [("B", name) for name in cells_b if name not in cells_a]
    return pairs, [f"only {side} has {name}" for side, name in lone]


def _value(launch: ComparedLaunch, name: str) -> str:
    return launch.varied.get(name, launch.facts.get(name, NOT_SET))


def _cells(side: Side, telling: Sequence[str]) -> dict[str, tuple[ComparedLaunch, ...]]:
    cells: dict[str, tuple[ComparedLaunch, ...]] = {}
    for launch in side.launches:
        label = ", ".join(f"{name} {_value(launch, name)}" for name in telling)
        cells[label] = (*cells.get(label, ()), launch)
    return cells


def differences_of(pairs: Sequence[CellPair]) -> tuple[tuple[Difference, tuple[str, ...]], ...]:
    """Every difference with the cells that it is about, none where it is about all; refusing first."""
    found: dict[Difference, list[str]] = {}
    for pair in pairs:
        facts_a, facts_b = ([one.facts for one in side] for side in (pair.a, pair.b))
        for difference in differences(facts_a, facts_b):
            found.setdefault(difference, []).append(pair.label)
    ordered = sorted(found.items(), key=lambda item: not item[0].refuses)
    return tuple(
        (difference, tuple(cells) if len(cells) < len(pairs) else ())
        for difference, cells in ordered
    )
