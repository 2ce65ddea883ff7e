"""How long `distbench simulate` takes, and what its line writer gains over `records.encode`.

Each case is the whole command in a process of its own, imports and true values included; memory is that
process's peak. The line writer is compared alternately with `records.encode` on the same records of a
block of 100 steps.

    python benchmarks/simulate_speed.py [--repeat 3] [--rounds 20]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from interleaved import elapsed, ratio, ratio_text, save, time_rounds

from distbench.groups import Group
from distbench.plan import PlannedBlock
from distbench.records import decode, encode
from distbench.simulation.cluster_steps import SimulatedBlock
from distbench.simulation.simulated_records import BlockLines

CASES = {
    "64 ranks x 100 steps, sizes 1 to 64": ["--ranks", "64", "--steps", "100", "--sizes", "auto"],
    "4096 ranks x 1000 steps x 5 phases": ["--ranks", "4096", "--steps", "1000"],
    "the same, sizes 1 to 4096": ["--ranks", "4096", "--steps", "1000", "--sizes", "auto"],
}
LINES = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    lines, document = [], {}
    for name, flags in CASES.items():
        runs = [_command(flags) for _ in range(arguments.repeat)]
        document[name] = runs
        took = sorted(run["seconds"] for run in runs)
        lines.append(
            f"{name}: median {statistics.median(took):.1f} s ({took[0]:.1f} to {took[-1]:.1f} s in "
            f"{len(took)} runs), {max(run['memory_bytes'] for run in runs) / 2**30:.2f} GiB of memory, "
            f"{runs[0]['disk_bytes'] / 1e9:.2f} GB on disk"
        )
        print(lines[-1], flush=True)
    found = _line_writer(arguments.rounds)
    lines.append(f"records.encode / line writer, blocks of 100 steps: {ratio_text(found)}")
    save("simulate_speed", lines, {"cases": document, "ratio": found})


def _command(flags: list[str]) -> dict[str, float]:
    """Seconds, peak memory and size on disk of one simulated run, which is deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix="distbench-simulate-") as folder:
        directory = Path(folder) / "run"
        command = [sys.executable, "-m", "distbench", "simulate", *flags]
        start_ns = time.perf_counter_ns()
        process = subprocess.Popen(
            [*command, "--output", str(directory)], stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        end_ns = time.perf_counter_ns()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{command} ended with {process.returncode}")
        return {
            "seconds": (end_ns - start_ns) / 1e9,
            "memory_bytes": usage.ru_maxrss * 1024,
            "disk_bytes": sum(path.stat().st_size for path in directory.rglob("*.*")),
        }


def _line_writer(rounds: int) -> dict[str, float]:
    durations = np.random.default_rng(0).integers(10**8, 2 * 10**8, (LINES, 100))
    group = Group("world", tuple(range(LINES)))
    block = SimulatedBlock(PlannedBlock("train_step", group, 1, 100, False), 10**9, 1, durations)

    def by_gaps() -> list[bytes]:
        writer = BlockLines(block, "a-run", 32)
        return [writer.line(rank, 5, 10**14) for rank in range(LINES)]

    records = [decode(line) for line in by_gaps()]

    def by_encode() -> list[bytes]:
        return [encode(_as_python(record, durations)) for record in records]

    assert by_encode() == by_gaps()
    contenders = {"encode": lambda: elapsed(by_encode), "gaps": lambda: elapsed(by_gaps)}
    return ratio(time_rounds(contenders, rounds), "encode", "gaps")


def _as_python(record: dict[str, Any], durations: Any) -> dict[str, Any]:
    """The record with its times as lists anew, which both sides have to make."""
    own = durations[record["rank"]]
    starts = 10**14 + 10**9 + own.cumsum() - own
    return {**record, "start_ns": starts.tolist(), "duration_ns": own.tolist()}


if __name__ == "__main__":
    main()
