"""Do memory, file handles and threads of a rank grow over a long run, and those of a study's runner?

Real Horovod processes of a tiny network, watched from outside through /proc once a second: a long run
over each controller, and a study of many cells. What lies before the first fifth of the steps is
warm-up, and so is the first fifth of a study's cells. Linux only; runs on CPUs.

    python benchmarks/soak.py [--steps 40000] [--blocks 1000] [--cells 50] [--parts gloo,mpi,study]

Parts that are left out keep what the last run of them found.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from interleaved import save
from scipy import stats

from distbench.analysis.collect import Run, load_run
from distbench.config import PHASES
from distbench.launchers import Launch, launch_argv
from distbench.study import processes, study_files
from distbench.study.study import MARK_VARIABLE as STUDY_MARK_VARIABLE

LAUNCHES = {"gloo": Launch("local", 2), "mpi": Launch("mpirun", 2)}
TINY = {
    "preset": "quick",
    "config": "A",
    "batch_size": 1,
    "width_multiplier": 0.015625,  # one channel where VGG has 64
    "fc_units": 16,
    "classes": 10,
    "threads_per_rank": 1,
}
MARK_VARIABLE = "SOAK_MARK"  # names the processes of one launch
RANK_VARIABLES = ("HOROVOD_RANK", "OMPI_COMM_WORLD_RANK")
LOOK_EVERY_S = 1.0
LIMIT_S = 3600.0
WARM_UP_SHARE = 0.2
BINS = 20  # neighbouring samples are alike, so that the line goes through means of many
MIB = 2**20
MOST_GROWTH_BYTES = 5 * MIB
MOST_GROWTH_SHARE = 0.01
RESULT = Path(__file__).parent / "output" / "soak.json"


class Sample(NamedTuple):
    """What a process held at one moment of `time.perf_counter_ns`, and how far its work was."""

    at_ns: int
    rss_bytes: int
    handles: int
    threads: int
    done: int = 0


Samples = dict[str, list[Sample]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40_000, help="of all phases of a long run")
    parser.add_argument("--blocks", type=int, default=1_000, help="of all phases of a long run")
    parser.add_argument("--cells", type=int, default=50, help="of the study; an even number")
    parser.add_argument("--parts", default="gloo,mpi,study")
    arguments = parser.parse_args()
    parts = json.loads(RESULT.read_text())["parts"] if RESULT.exists() else {}
    for name in arguments.parts.split(","):
        with tempfile.TemporaryDirectory() as folder:
            if name == "study":
                parts[name] = _study(arguments.cells, Path(folder))
            else:
                parts[name] = _long_run(name, arguments.steps, arguments.blocks, Path(folder))
        save("soak", _lines(parts), {"parts": parts})


def _long_run(name: str, steps: int, blocks: int, folder: Path) -> dict[str, Any]:
    """One launch of two ranks with all phases, each rank watched from its first timed step on."""
    shares = {"steps": steps // len(PHASES), "blocks": blocks // len(PHASES)}
    settings = {**TINY, **shares, "output": folder / "run"}
    flags = [
        part for key, value in settings.items() for part in (f"--{key.replace('_', '-')}", value)
    ]
    command = [sys.executable, "-m", "distbench", *map(str, flags)]
    mark = uuid.uuid4().hex
    began_s = time.monotonic()
    samples = _watched(launch_argv(LAUNCHES[name], command), mark, folder, lambda _: _ranks(mark))
    wall_s = time.monotonic() - began_s
    run = load_run(folder / "run")
    if run.incomplete or run.problems:
        raise SystemExit(f"the long run is not whole: {[*run.incomplete, *run.problems]}")
    timed = run.steps[~run.steps["warmup"]]
    of_one = timed[timed["rank"] == 0]
    return {
        "network": run.config.network_label,
        "steps": len(of_one),
        "blocks": len(of_one.groupby(["phase", "block"], observed=True)),
        "wall_s": wall_s,
        "processes_left": len(processes.marked(MARK_VARIABLE, mark)),
        "processes": {
            process: _trend(_while_timed(run, int(process), watched), per=1000)
            for process, watched in sorted(samples.items())
        },
    }


def _while_timed(run: Run, rank: int, samples: Iterable[Sample]) -> list[Sample]:
    """The samples between a rank's first and last timed step, with the steps done by then.

    A rank's clock is this process's: CLOCK_MONOTONIC of one machine.
    """
    steps = run.steps[(run.steps["rank"] == rank) & ~run.steps["warmup"]]
    ends_ns = np.sort((steps["start_ns"] + steps["duration_ns"]).to_numpy())
    first_ns = int(steps["start_ns"].min())
    return [
        one._replace(done=int(np.searchsorted(ends_ns, one.at_ns)))
        for one in samples
        if first_ns <= one.at_ns <= ends_ns[-1]
    ]


def _study(cells: int, folder: Path) -> dict[str, Any]:
    """A study of as many launches; its runner is watched."""
    description, directory = folder / "study.toml", folder / "study"
    description.write_text(_study_toml(cells // 2))
    files = [str(description), "--output", str(directory)]
    command = [sys.executable, "-m", "distbench", "study", *files]
    mark = uuid.uuid4().hex
    began_s = time.monotonic()
    samples = _watched(
        command,
        mark,
        folder,
        lambda pid: {"runner": pid},
        lambda: len(list(directory.glob("cells/*/attempt-*/verdict.json"))),
    )
    wall_s = time.monotonic() - began_s
    record = study_files.load(directory)
    attempts = [one for of_cell in record.all_attempts().values() for one in of_cell]
    left = processes.marked(STUDY_MARK_VARIABLE, record.mark)
    while_running = [one for one in samples["runner"] if one.done < cells]
    return {
        "cells": len(record.cells),
        "launches": len(attempts),
        "complete": sum(one.verdict.state == study_files.COMPLETE for one in attempts),
        "strays": sum(json.loads(one.layout.verdict.read_text())["strays"] for one in attempts),
        "launch_s": statistics.median(one.verdict.wall_s or 0.0 for one in attempts),
        "wall_s": wall_s,
        "has_report": (record.layout.derived / "study.md").exists(),
        "processes_left": len({*left, *processes.marked(MARK_VARIABLE, mark)}),
        "processes": {"runner": _trend(while_running, per=1)},
    }


def _study_toml(batch_sizes: int) -> str:
    run = {**TINY, "phases": "train_step", "steps": 12, "blocks": 6, "warmup_steps": 1}
    del run["batch_size"]
    return "\n".join(
        [
            '[study]\nname = "soak"\ntime_limit_s = 300\n[run]',
            *(f"{key} = {json.dumps(value)}" for key, value in run.items()),
            f"[axes]\nsizes = [1, 2]\nbatch_size = {list(range(1, batch_sizes + 1))}\n",
        ]
    )


def _watched(
    argv: list[str],
    mark: str,
    folder: Path,
    find: Callable[[int], Mapping[str, int]],
    done: Callable[[], int] = lambda: 0,
) -> Samples:
    """Runs a command to its end and samples the processes that `find` names; SystemExit where it fails."""
    prefixes = ("DISTBENCH_", "OMPI_", "HOROVOD_", "PMI")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    log = folder / "log"
    samples: Samples = {}
    environ = {**kept, "TF_CPP_MIN_LOG_LEVEL": "3", MARK_VARIABLE: mark}
    process = processes.start(argv, environ, log)
    deadline_s = time.monotonic() + LIMIT_S
    while not processes.wait(process, LOOK_EVERY_S):
        if time.monotonic() > deadline_s:
            processes.end_marked(MARK_VARIABLE, mark, processes.GRACE_S)
            raise SystemExit(f"not finished after {LIMIT_S:.0f} s")
        for name, pid in find(process.pid).items():
            sample = _sample(pid, done())
            if sample is not None:
                samples.setdefault(name, []).append(sample)
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}: {log.read_text()[-2000:]}")
    return samples


def _ranks(mark: str) -> dict[str, int]:
    """The ranks with this mark, by number; their launcher and its helpers are none."""
    found = {}
    for pid in processes.marked(MARK_VARIABLE, mark):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        values = dict(one.decode(errors="replace").partition("=")[::2] for one in environ)
        number = next((values[name] for name in RANK_VARIABLES if name in values), None)
        if number is not None and words[1:3] == [b"-m", b"distbench"]:
            found[number] = pid
    return found


def _sample(pid: int, done: int) -> Sample | None:
    """What a process holds now; None where it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        handles = len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None
    values = dict(line.split(":", 1) for line in status.splitlines())
    if "VmRSS" not in values:  # it has ended, and nobody has asked how yet
        return None
    rss_bytes = int(values["VmRSS"].split()[0]) * 1024
    return Sample(time.perf_counter_ns(), rss_bytes, handles, int(values["Threads"]), done)


def _trend(samples: list[Sample], per: int) -> dict[str, Any]:
    """The line through the memory after warm-up, by `per` units of work, and what it was at both ends."""
    total = samples[-1].done
    kept = [one for one in samples if one.done >= WARM_UP_SHARE * total]
    if len(kept) < 8:
        raise SystemExit(f"{len(kept)} samples tell no trend; give more work")
    done = np.array([one.done for one in kept], dtype=float)
    rss = np.array([one.rss_bytes for one in kept], dtype=float)
    fit, half = _line(done, rss)
    span = float(done[-1] - done[0])
    quarter = len(kept) // 4
    ends = {
        name: [
            statistics.median(getattr(one, name) for one in part)
            for part in (kept[:quarter], kept[-quarter:])
        ]
        for name in ("rss_bytes", "handles", "threads")
    }
    most = max(MOST_GROWTH_BYTES, MOST_GROWTH_SHARE * ends["rss_bytes"][0])
    growth = [span * (fit + side * half) for side in (0, -1, 1)]
    rise = ends["rss_bytes"][1] - ends["rss_bytes"][0]
    return {
        "samples": len(kept),
        "unit": per,
        "from_done": done[0],
        "to_done": done[-1],
        "first_and_last_quarter": ends,
        "most_rss_bytes": max(one.rss_bytes for one in samples),
        "bytes_per_unit": [per * (fit + side * half) for side in (0, -1, 1)],
        "growth_bytes": growth,
        "is_flat": bool(growth[2] < most and rise < most),
        "handles_are_equal": ends["handles"][0] == ends["handles"][1],
        "series_of": Sample._fields,
        "series": [list(one) for one in samples[:: max(len(samples) // 100, 1)]],
    }


def _line(done: Any, rss: Any) -> tuple[float, float]:
    """Slope and half its 95 % interval of the line through the means of up to BINS parts."""
    parts = [part for part in np.array_split(np.arange(len(done)), BINS) if len(part)]
    x, y = (np.array([values[part].mean() for part in parts]) for values in (done, rss))
    x, y = x - x.mean(), y - y.mean()
    slope = (x * y).sum() / (x * x).sum()
    freedom = len(parts) - 2
    error = np.sqrt(((y - slope * x) ** 2).sum() / freedom / (x * x).sum())
    return float(slope), float(error * stats.t.ppf(0.975, freedom))


def _lines(parts: Mapping[str, Any]) -> list[str]:
    lines = []
    for name in LAUNCHES:
        if name in parts:
            lines += _run_lines(name, parts[name])
    if "study" in parts:
        lines += _study_lines(parts["study"])
    lines.append(
        "flat: the upper end of the growth's 95 % interval, and the last quarter's median less the "
        "first's, are below 1 % or 5 MiB, after the first fifth of the work"
    )
    return lines


def _run_lines(name: str, part: Mapping[str, Any]) -> list[str]:
    launcher = {"gloo": "horovodrun --gloo", "mpi": "mpirun"}[name]
    return [
        f"{launcher} -np 2, {part['network']}: {part['steps']} timed steps in {part['blocks']} blocks "
        f"on each rank, {part['wall_s']:.0f} s, {part['processes_left']} processes left",
        *(
            f"    rank {rank}: {_in_words(one, '1,000 steps')}"
            for rank, one in part["processes"].items()
        ),
    ]


def _study_lines(part: Mapping[str, Any]) -> list[str]:
    report = "report made" if part["has_report"] else "NO REPORT"
    return [
        f"study of {part['cells']} cells (horovodrun --gloo, half with 1 rank, half with 2): "
        f"{part['complete']} of {part['launches']} launches complete, {part['strays']} processes had "
        f"to be ended, {part['processes_left']} left, {report}; {part['wall_s']:.0f} s, "
        f"{part['launch_s']:.1f} s a launch (median)",
        f"    runner: {_in_words(part['processes']['runner'], 'cell')}",
    ]


def _in_words(trend: Mapping[str, Any], unit: str) -> str:
    ends = trend["first_and_last_quarter"]
    first, last = (f"{value / MIB:.1f}" for value in ends["rss_bytes"])
    rate, low, high = (f"{value / 1024:+.2f}" for value in trend["bytes_per_unit"])
    whole = trend["growth_bytes"][0] / MIB
    return (
        f"memory {first} MiB in the first quarter, {last} MiB in the last; {rate} KiB per {unit} "
        f"({low} to {high}), {whole:+.3f} MiB in all: {'flat' if trend['is_flat'] else 'NOT FLAT'}; "
        f"file handles {_pair(ends['handles'])}, threads {_pair(ends['threads'])} "
        f"({trend['samples']} samples)"
    )


def _pair(ends: tuple[float, float]) -> str:
    first, last = (f"{value:g}" for value in ends)
    return first if first == last else f"{first} -> {last}"


if __name__ == "__main__":
    main()
