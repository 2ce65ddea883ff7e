"""Verdicts on the doctor's own job: did its ranks meet, are their sums right, and how fast was it."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from distbench import units
from distbench.doctor.probe_rank import LOADING
from distbench.doctor.started_ranks import Started
from distbench.doctor.verdicts import Verdict, note, ok, problem

NAMES = {"gloo": "Gloo (horovodrun)", "mpi": "MPI (mpirun)"}
LEAST_FOR_BANDWIDTH_BYTES = 1024
_ERROR_LINE = re.compile(r"error|not |fail|cannot|refus|abort|denied|unknown", re.IGNORECASE)
_PREFIX = re.compile(r"^.{0,40}?\[[0-9,]+\]<std(?:err|out)>:\s?")


class Speed(NamedTuple):
    """One size: the median over the repeats of the slowest rank, as nccl-tests count bandwidth."""

    size_bytes: int
    step_s: float
    algbw_bytes_per_s: float
    busbw_bytes_per_s: float


def judge(controller: str, started: Started, asked: int) -> list[Verdict]:
    """Verdicts on a job of `asked` ranks over 'gloo' or 'mpi'."""
    return [*_of_job(NAMES[controller], controller, started, asked), *_left(started)]


def _of_job(name: str, controller: str, started: Started, asked: int) -> Iterator[Verdict]:
    mismatches = list(_sizes(name, controller, started.ranks, asked))
    if mismatches:
        yield from mismatches
    elif started.exit_code is None:
        yield problem(
            f"{name}: not finished after {started.wall_s:.0f} s and ended; {stages(started, asked)}",
            _advice_when_slow(controller, started),
        )
    elif started.exit_code != 0 or len(_done(started)) < asked:
        yield problem(
            f"{name}: the job failed with exit code {started.exit_code}; {stages(started, asked)}; "
            f"its log: {telling_line(started.log)}",
            _advice(controller),
        )
    else:
        yield from _results(name, started, asked)


def _sizes(
    name: str, controller: str, ranks: Sequence[Mapping[str, Any]], asked: int
) -> Iterator[Verdict]:
    seen = sorted({rank["size"] for rank in ranks if "size" in rank})
    if seen and seen != [asked]:
        found = " and ".join(map(str, seen))
        yield problem(
            f"{name}: {asked} ranks were started and Horovod sees {found}",
            "Horovod was built with another MPI than this mpirun's: rebuild it against this one, or "
            "launch with horovodrun --gloo"
            if controller == "mpi"
            else "unset HOROVOD_* variables that are left in this shell",
        )
    for rank in ranks:
        if "mpi4py_size" in rank and rank["mpi4py_size"] != rank["size"]:
            yield problem(
                f"{name}: mpi4py sees {rank['mpi4py_size']} rank(s) and Horovod {rank['size']}",
                "they use different MPI libraries: install both against the MPI of your mpirun",
            )
            return


def _results(name: str, started: Started, asked: int) -> Iterator[Verdict]:
    over_mpi = [rank for rank in started.ranks if "mpi4py_size" in rank]
    joined = f", as mpi4py does on {len(over_mpi)}" if over_mpi else ""
    took = units.seconds(started.wall_s, 2)
    met = f"{asked} rank(s) met, Horovod sees {asked} on each{joined}"
    yield ok(f"{name}: {met} (in {took} with their start)")
    wrong = _wrong(started.ranks)
    if wrong:
        yield problem(
            f"{name}: the sums are wrong on rank(s) {', '.join(map(str, wrong))}",
            "measure nothing with this build: rebuild Horovod, and test this machine's memory and "
            "links",
        )
        return
    device = str(started.ranks[0].get("device", "")).strip("/").partition(":")[0]
    for speed in speeds(started.ranks, asked):
        yield ok(
            f"{name}: allreduce of {units.decimal_bytes(speed.size_bytes)} on {device}s is right "
            f"and takes {units.seconds(speed.step_s, 3)}{_bandwidth(speed)}",
            **speed._asdict(),
        )


def _bandwidth(speed: Speed) -> str:
    """In words; of a few bytes nothing but the time tells."""
    if speed.size_bytes < LEAST_FOR_BANDWIDTH_BYTES or not speed.busbw_bytes_per_s:
        return ""
    algbw, busbw = speed.algbw_bytes_per_s, speed.busbw_bytes_per_s
    return f": algbw {units.bandwidth(algbw)}, busbw {units.bandwidth(busbw)}"


def speeds(ranks: Sequence[Mapping[str, Any]], size: int) -> list[Speed]:
    """Of every size of bytes that all ranks reduced."""
    found = []
    for results in zip(*(rank["reduced"] for rank in ranks)):
        slowest = [max(taken) for taken in zip(*(result["taken_s"] for result in results))]
        step_s = statistics.median(slowest)
        algbw = results[0]["bytes"] / step_s
        found.append(Speed(results[0]["bytes"], step_s, algbw, algbw * 2 * (size - 1) / size))
    return found


def stages(started: Started, asked: int) -> str:
    """Where the ranks were, in words: the first that did not come to its end, and those not heard of."""
    late = [rank for rank in started.ranks if rank.get("stage") != "done"]
    parts = [
        f"rank {rank.get('rank', '?')} was at: {rank.get('stage', 'its first line')}"
        for rank in late[:3]
    ]
    silent = asked - len(started.ranks)
    if silent > 0:
        parts.append(f"{silent} rank(s) never started")
    return ", ".join(parts) or "every rank had done its work"


def telling_line(log: str) -> str:
    """The line of a log that says most: the last that speaks of an error, else the last."""
    lines = [_PREFIX.sub("", line).strip() for line in log.splitlines()]
    words = [line for line in lines if any(char.isalpha() for char in line)]
    errors = [line for line in words if _ERROR_LINE.search(line)]
    return (errors or words or ["it printed nothing"])[-1]


def _done(started: Started) -> list[Mapping[str, Any]]:
    return [rank for rank in started.ranks if rank.get("stage") == "done"]


def _wrong(ranks: Sequence[Mapping[str, Any]]) -> list[int]:
    return sorted(
        rank["rank"] for rank in ranks if not all(one["is_right"] for one in rank["reduced"])
    )


def _left(started: Started) -> Iterator[Verdict]:
    if started.immortal:
        ids = " ".join(map(str, started.immortal))
        yield problem(
            f"process(es) {ids} of this check cannot be ended", f"end them: kill -9 {ids}"
        )
    elif started.strays:
        yield note(
            f"{started.strays} process(es) outlived their launcher and were ended",
            "after a failed job look for such ones: distbench doctor",
        )


def _advice_when_slow(controller: str, started: Started) -> str:
    if any(rank.get("stage") == LOADING for rank in started.ranks):
        return "this machine is busy or its disk slow: try again when nobody else computes here"
    return _advice(controller)


def _advice(controller: str) -> str:
    if controller == "mpi":
        return (
            "see that mpirun, Horovod and mpi4py use one MPI, and that `mpirun -np 2 hostname` works; "
            "else launch with horovodrun --gloo"
        )
    return (
        "see that this host's name and interfaces are reachable from itself "
        "(horovodrun --network-interfaces), and that no firewall closes local ports"
    )
