"""The place where records are written: free, writable, and how slow an fsync is there."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from distbench import units
from distbench.doctor.verdicts import Verdict, note, ok, problem

PREFIX = ".distbench-doctor-"
WRITTEN_BYTES = 64 * 1024  # about a block of a hundred steps on some ranks of a node
FSYNCS = 8
FSYNC_LIMIT_S = 5.0  # no more are tried after that
LEAST_FREE_BYTES = 100_000_000
LITTLE_FREE_BYTES = 1_000_000_000
SLOW_FSYNC_S = 0.1
ANOTHER_PLACE = "name another place with --output"


class Place(NamedTuple):
    """What was found at a place; `failure` is empty where it could be written."""

    directory: str
    exists: bool
    free_bytes: int = 0
    free_files: int | None = None  # None where the file system does not count them
    fsync_s: tuple[float, ...] = ()
    failure: str = ""


def collect(wanted: Path) -> Place:
    """Writes and syncs a small file there, or where the place would be made, and removes it."""
    directory = nearest_existing(wanted)
    place = Place(str(wanted), exists=directory == wanted)
    try:
        system = os.statvfs(directory)
        place = place._replace(
            free_bytes=system.f_bavail * system.f_frsize,
            free_files=system.f_favail if system.f_files else None,
        )
        return place._replace(fsync_s=_fsyncs(directory))
    except OSError as error:
        return place._replace(failure=error.strerror or type(error).__name__)


def nearest_existing(wanted: Path) -> Path:
    """The place itself, or the first of its parents that is there."""
    for candidate in (wanted, *wanted.absolute().parents):
        if candidate.exists():
            return candidate
    return Path("/")


def _fsyncs(directory: Path) -> tuple[float, ...]:
    taken_s: list[float] = []
    with tempfile.NamedTemporaryFile(dir=directory, prefix=PREFIX, buffering=0) as file:
        while len(taken_s) < FSYNCS and sum(taken_s) < FSYNC_LIMIT_S:
            file.write(b"\n" * WRITTEN_BYTES)
            started_ns = time.perf_counter_ns()
            os.fsync(file.fileno())
            taken_s.append((time.perf_counter_ns() - started_ns) / 1e9)
    return tuple(taken_s)


def judge(place: Place) -> list[Verdict]:
    """Verdicts on the place."""
    where = place.directory if place.exists else f"{place.directory} (not made yet)"
    if place.failure:
        return [
            problem(
                f"{where} cannot be written and synced ({place.failure})",
                f"free space there, make it writable, or {ANOTHER_PLACE}",
            )
        ]
    return [_free(place, where), *_files(place, where), _fsync(place, where)]


def _free(place: Place, where: str) -> Verdict:
    free = f"{units.decimal_bytes(place.free_bytes)} free in {where}"
    if place.free_bytes < LEAST_FREE_BYTES:
        return problem(f"only {free}", f"free space there, or {ANOTHER_PLACE}")
    if place.free_bytes < LITTLE_FREE_BYTES:
        return note(free, f"enough for a small run; for a study free some more, or {ANOTHER_PLACE}")
    return ok(free)


def _files(place: Place, where: str) -> Iterator[Verdict]:
    if place.free_files is not None and place.free_files < 1000:
        yield problem(
            f"only {place.free_files} more files fit in {where}",
            f"delete files there, or {ANOTHER_PLACE}",
        )


def _fsync(place: Place, where: str) -> Verdict:
    median_s, most_s = statistics.median(place.fsync_s), max(place.fsync_s)
    text = (
        f"fsync of {units.decimal_bytes(WRITTEN_BYTES)} in {where} takes "
        f"{units.seconds(median_s, 2)} (median of {len(place.fsync_s)}, "
        f"at most {units.seconds(most_s, 2)})"
    )
    if median_s > SLOW_FSYNC_S:
        return note(
            text,
            f"every block ends with one, outside of the timed steps; for short blocks {ANOTHER_PLACE}",
        )
    return ok(text, fsync_median_s=median_s, fsync_most_s=most_s)
