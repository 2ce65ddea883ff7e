"""Two or more things timed alternately in one run, and compared by the ratio within each round.

Machines are shared and noisy: what slows one round slows both sides of its ratio.
"""

from __future__ import annotations

import json
import platform
import random
import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from distbench.analysis.statistics import median_interval

Name = TypeVar("Name", bound=Hashable)


def time_rounds(
    contenders: Mapping[Name, Callable[[], Any]], rounds: int, seed: int = 0
) -> dict[Name, list[Any]]:
    """What each contender returned by round; each round has its own random order.

    A contender runs once and returns its own seconds. One round of warm-up is thrown away.
    """
    shuffler = random.Random(seed)
    times: dict[Name, list[Any]] = {name: [] for name in contenders}
    for index in range(rounds + 1):
        names = list(contenders)
        shuffler.shuffle(names)
        for name in names:
            returned = contenders[name]()
            if index:
                times[name].append(returned)
        print(f"round {index} of {rounds}", flush=True)
    return times


def ratio(times: Mapping[Name, Sequence[float]], above: Name, below: Name) -> dict[str, float]:
    """Median and 95 % interval of the rounds' ratios above ÷ below."""
    return spread([one / other for one, other in zip(times[above], times[below])])


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and 95 % interval of one value of each round."""
    low, high, samples = median_interval(values)
    return {"median": statistics.median(values), "low": low, "high": high, "rounds": samples}


def ratio_text(found: Mapping[str, float]) -> str:
    """'1.021 (95 % interval 1.010 to 1.032, 30 rounds)'."""
    return (
        f"{found['median']:.4f} (95 % interval {found['low']:.4f} to {found['high']:.4f}, "
        f"{found['rounds']:.0f} rounds)"
    )


def elapsed(call: Callable[[], Any]) -> float:
    """Seconds of one call; its result is dropped after the clock has been read."""
    start_ns = time.perf_counter_ns()
    result = call()
    end_ns = time.perf_counter_ns()
    del result
    return (end_ns - start_ns) / 1e9


def save(
    name: str,
    lines: list[str],
    document: dict[str, Any],
    folder: Path | None = None,
    is_shown: bool = True,
) -> None:
    """Keeps the lines and the numbers under benchmarks/output/ or in `folder`, and prints the lines."""
    from distbench.worker import host

    folder = folder or Path(__file__).parent / "output"
    folder.mkdir(parents=True, exist_ok=True)
    machine = {
        "cpu": host.cpu_name(),
        "cores": len(host.machine()["cores_allowed"]),
        "system": platform.system(),
        "versions": host.versions(),
    }
    lines = [*lines, f"machine: {machine['cores']} cores of {machine['cpu']}, not a GPU"]
    if is_shown:
        print("\n".join(lines))
    (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    content = json.dumps({"machine": machine, **document}, indent=1, sort_keys=True)
    (folder / f"{name}.json").write_text(content + "\n")
