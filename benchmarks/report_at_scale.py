"""How long the report of a large run takes, by stage, and how much memory: with the targets beside it.

Each run is simulated into a temporary directory, and reported in a process of its own. Wall time and
CPU time are those of that process, imports included; memory is its peak. Stages are what the report's
own progress tells; what comes before the first is the imports.

    python benchmarks/report_at_scale.py [--repeat 3] [--only NAME]
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from interleaved import save

IMPORTED_LATE = ("scipy.stats", "pyarrow.parquet", "distbench.report.plots")


class Case(NamedTuple):
    """A run, and how long its report may take and with how much memory."""

    flags: list[str]
    most_s: float
    imports_count: bool  # whether most_s holds for the whole process, imports included
    most_bytes: int


CASES = {
    "64-rank study": Case(
        ["--ranks", "64", "--steps", "100", "--sizes", "auto"], 5.0, False, 2**32
    ),
    "4096 ranks x 1000 steps x 5 phases": Case(
        ["--ranks", "4096", "--steps", "1000"], 60.0, True, 2**32
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", choices=CASES, help="one case alone; keeps no output")
    parser.add_argument("--report", metavar="DIR", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.report:
        print(json.dumps(_report(arguments.report)))
        return
    names = [arguments.only] if arguments.only else list(CASES)
    runs = {name: _runs(CASES[name], arguments.repeat) for name in names}
    lines = [line for name, found in runs.items() for line in _lines(name, CASES[name], found)]
    if arguments.only:
        print("\n".join(lines))
    else:
        save("report_at_scale", lines, {"cases": runs})


def _report(directory: str) -> dict[str, Any]:
    """Makes the report of a run; the seconds of each stage, and how many rows there are."""
    begin_s = time.perf_counter()
    for name in IMPORTED_LATE:
        importlib.import_module(name)
    from distbench.report.build import report

    times = [("imports", begin_s), ("beginning", time.perf_counter())]

    def progress(what: str, done: int = 0, total: int = 0) -> None:
        stage = what.partition(":")[0]
        if stage != times[-1][0]:
            times.append((stage, time.perf_counter()))

    findings, _, _ = report(directory, progress=progress)
    times.append(("end", time.perf_counter()))
    stages_s: dict[str, float] = {}
    for (stage, start_s), (_, end_s) in itertools.pairwise(times):
        stages_s[stage] = stages_s.get(stage, 0.0) + end_s - start_s
    return {"stages_s": stages_s, "rows": len(findings.run.steps)}


def _runs(case: Case, repeat: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="distbench-report-") as folder:
        directory = Path(folder) / "run"
        simulate = [sys.executable, "-m", "distbench", "simulate", *case.flags]
        subprocess.run(
            [*simulate, "--output", str(directory)], stdout=subprocess.DEVNULL, check=True
        )
        return [_one_run(directory) for _ in range(repeat)]


def _one_run(directory: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--report", str(directory)]
    start_s = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    end_s = time.perf_counter()
    if process.returncode:
        sys.exit(f"{command} ended with {process.returncode}")
    derived = [path.stat().st_size for path in (directory / "derived").iterdir()]
    return {
        **json.loads(told),
        "wall_s": end_s - start_s,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "memory_bytes": usage.ru_maxrss * 1024,
        "derived_bytes": sum(derived),
    }


def _lines(name: str, case: Case, runs: list[dict[str, Any]]) -> list[str]:
    counted = [
        run["wall_s"] - (0.0 if case.imports_count else run["stages_s"]["imports"]) for run in runs
    ]
    took_s, memory = statistics.median(counted), max(run["memory_bytes"] for run in runs)
    keeps = took_s < case.most_s and memory < case.most_bytes
    imports = "imports included" if case.imports_count else "after imports"
    lines = [
        f"{name}, {runs[0]['rows']:,} rows: report in {took_s:.1f} s {imports} (median of {len(runs)} "
        f"runs, {min(counted):.1f} to {max(counted):.1f} s), {memory / 2**30:.2f} GiB of memory, "
        f"{statistics.median(run['cpu_s'] for run in runs):.1f} s of CPU time, "
        f"{runs[0]['derived_bytes'] / 1e6:.0f} MB written",
        f"  target: under {case.most_s:.0f} s {imports} and {case.most_bytes / 2**30:.0f} GiB: "
        + ("kept" if keeps else "NOT KEPT"),
    ]
    for stage in runs[0]["stages_s"]:
        stage_s = statistics.median(run["stages_s"].get(stage, 0.0) for run in runs)
        lines.append(f"  {stage_s:6.2f} s  {stage}")
    return lines


if __name__ == "__main__":
    main()
