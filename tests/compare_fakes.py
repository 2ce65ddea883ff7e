"""Launches of a comparison whose times are given, without any file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from distbench.analysis.cell_pairs import Side
from distbench.analysis.compare import Comparison, compare
from distbench.analysis.compared_launches import ComparedLaunch, Timing

STEADY = [10.00, 10.01, 9.99, 10.00, 10.02, 9.98]
STEP, FORWARD = (2, "train_step"), (2, "forward")
FACTS = {"config": "D", "batch_size": "4", "device": "CPU: x", "simulated": "no", "seed": "0"}


def timing(rounds_ms: Sequence[float], images: int = 4) -> Timing:
    """Rounds 1, 2, … with these medians; the launch's median is that of the middle one."""
    rounds_s = {index: ms / 1e3 for index, ms in enumerate(rounds_ms, start=1)}
    return Timing(sorted(rounds_s.values())[len(rounds_s) // 2], rounds_s, images)


def launch(
    rounds_ms: Mapping[tuple[int, str], Sequence[float]] | Sequence[float], **changes: Any
) -> ComparedLaunch:
    """A launch with these rounds by size and phase; a sequence alone is train_step of two ranks."""
    if not isinstance(rounds_ms, Mapping):
        rounds_ms = {(2, "train_step"): rounds_ms}
    values: dict[str, Any] = {
        "name": "",
        "run_id": "run-1",
        "network": "VGG-D, 224×224",
        "batch": "batch 4 per rank",
        "devices": "CPUs",
        "varied": {},
        "facts": FACTS,
        "curve_phase": "train_step",
        "measures_sizes_together": False,
        "timings": {
            (size, phase): timing(rounds, images=0 if phase == "allreduce" else 4 * size)
            for (size, phase), rounds in rounds_ms.items()
        },
        "obstacles": (),
        "warnings": (),
    }
    return ComparedLaunch(**{**values, **changes})


def side(*launches: ComparedLaunch, name: str = "results/x") -> Side:
    return Side(name, launches)


def times(factor: float) -> list[float]:
    return [factor * ms for ms in STEADY]


def compared(
    step: float = 1.05, forward: float = 1.0, threshold: float = 0.03, **changes: object
) -> Comparison:
    a = launch({FORWARD: times(1), STEP: times(4)}, run_id="run-a")
    own = {"run_id": "run-b", **changes}
    b = launch({FORWARD: times(forward), STEP: times(4 * step)}, **own)
    return compare(side(a, name="results/a"), side(b, name="results/b"), threshold)
