"""One launch with --sizes beside a launch of its own for each size: the same numbers, in less time?

The launches alternate in random order. In both a rank has the same threads, and there are no more
ranks than cores. A second part shows what registered process sets cost the allreduce of all ranks:
launches of the largest size alone beside launches that hold further sets.

    python benchmarks/nested_study.py [--launches 6] [--ranks 2] [--controller gloo|mpi] [--set-ranks 4]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from interleaved import ratio, ratio_text, save, time_rounds

from distbench import units
from distbench.analysis.collect import load_run
from distbench.analysis.scaling import curve_points
from distbench.analysis.statistics import median_interval
from distbench.analysis.summary import job_steps
from distbench.launchers import Launch, launch_argv

PHASES = "forward_backward,allreduce,forward_backward_allreduce,train_step"
COMPARED = ("forward_backward", "train_step")


def main() -> None:
    arguments = _arguments()
    sizes = list(range(1, arguments.ranks + 1))
    launches: dict[str, Callable[[], Any]] = {
        "nested": lambda: _launch(arguments, arguments.ranks, "--sizes", _list(sizes))
    }
    for size in sizes:
        launches[f"separate {size}"] = lambda size=size: _launch(arguments, size)  # type: ignore[misc]
    launched = time_rounds(launches, arguments.launches)
    sets = time_rounds(_set_launches(arguments), arguments.launches)
    lines, document = _compared(launched, sizes)
    set_lines, set_document = _sets_compared(sets)
    head = (
        f"quick preset (not VGG), {arguments.controller}, 1 thread per rank, "
        f"{arguments.launches} launches of each, alternating"
    )
    save(
        "nested_study_" + arguments.controller, [head, *lines, *set_lines], document | set_document
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--launches", type=int, default=6)
    parser.add_argument("--ranks", type=int, default=2, help="the largest size; no more than cores")
    parser.add_argument("--set-ranks", type=int, default=4, help="ranks of the launches with sets")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--controller", choices=("gloo", "mpi"), default="gloo")
    return parser.parse_args()


def _list(sizes: Sequence[int]) -> str:
    return ",".join(map(str, sizes))


def _launch(arguments: argparse.Namespace, ranks: int, *flags: str) -> dict[str, Any]:
    """Runs distbench on `ranks` ranks; the median seconds of each (size, phase), and of the launch."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [sys.executable, "-m", "distbench", "--preset", "quick", *_settings(arguments)]
        launch = Launch("local", ranks, arguments.controller)
        start = time.perf_counter()
        subprocess.run(
            launch_argv(launch, [*command, *flags, "--output", str(run)]),
            check=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wall_s = time.perf_counter() - start
        jobs = job_steps(load_run(run).steps)
    medians = {
        (point.size, str(phase)): float(steps["step_s"].median())
        for point in curve_points(jobs)
        for phase, steps in point.jobs.groupby("phase")
    }
    return {"wall_s": wall_s, "medians": medians}


def _settings(arguments: argparse.Namespace) -> list[str]:
    return ["--threads-per-rank", "1", "--steps", str(arguments.steps), "--phases", PHASES]


def _compared(
    launched: dict[str, list[dict[str, Any]]], sizes: Sequence[int]
) -> tuple[list[str], dict[str, Any]]:
    lines, found = [], {}
    for size in sizes:
        for phase in COMPARED:
            times = {
                "nested": [one["medians"][size, phase] for one in launched["nested"]],
                "separate": [one["medians"][size, phase] for one in launched[f"separate {size}"]],
            }
            found[f"{phase} of {size}"] = {"ratio": ratio(times, "nested", "separate"), **times}
            text = ratio_text(found[f"{phase} of {size}"]["ratio"])
            lines.append(f"{phase} of {size} rank(s), one launch / a launch of its own: {text}")
            lines.append(f"    {_side_by_side(times)}")
    one = [launch["wall_s"] for launch in launched["nested"]]
    own = [
        sum(launched[f"separate {size}"][index]["wall_s"] for size in sizes)
        for index in range(len(one))
    ]
    found["wall_s"] = {"nested": one, "separate": own}
    lines.append(
        f"time of the one launch {statistics.median(one):.1f} s, "
        f"of {len(sizes)} launches together {statistics.median(own):.1f} s (medians)"
    )
    return lines, {"nested": found}


def _side_by_side(times: dict[str, list[float]]) -> str:
    """The 95 % intervals of both kinds of launches over their launches, and whether they overlap."""
    one, own = median_interval(times["nested"]), median_interval(times["separate"])
    overlap = one.low <= own.high and own.low <= one.high
    return (
        f"{units.seconds_range(one.low, one.high)} in one launch, "
        f"{units.seconds_range(own.low, own.high)} in launches of their own: the intervals "
        f"{'overlap' if overlap else 'do not overlap'}"
    )


def _set_launches(arguments: argparse.Namespace) -> dict[str, Callable[[], Any]]:
    """All ranks reduce; in one launch no further set is registered, in the other every smaller one."""
    ranks = arguments.set_ranks
    further = range(2, ranks + 1)
    return {
        "without sets": lambda: _launch(arguments, ranks, "--sizes", str(ranks)),
        "with sets": lambda: _launch(arguments, ranks, "--sizes", _list(further)),
    }


def _sets_compared(
    sets: dict[str, list[dict[str, Any]]],
) -> tuple[list[str], dict[str, Any]]:
    ranks = max(size for size, _ in sets["without sets"][0]["medians"])
    lines, found = [], {}
    for phase in ("allreduce", "train_step"):
        times = {
            name: [one["medians"][ranks, phase] for one in runs] for name, runs in sets.items()
        }
        found[phase] = {"ratio": ratio(times, "with sets", "without sets"), **times}
        lines.append(
            f"{phase} of {ranks} ranks with {ranks - 2} further process set(s) / without: "
            f"{ratio_text(found[phase]['ratio'])}"
        )
    return lines, {"process_sets": found}


if __name__ == "__main__":
    main()
