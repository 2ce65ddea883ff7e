"""The raw record: one JSON-lines file a rank, appended and never rewritten. Standard library only.

Every line is one JSON object that ends in a CRC32 of what stands before it, and carries the run id,
the rank and a sequence number that counts from 0 without gaps:

  header     who this rank is, on what, in which run; `boot_id` tells whose clocks may be compared
  preflight  what was proven before anything was timed
  block      one block of one phase: start and duration of every step in integer ns of
             `time.perf_counter_ns`, with the images of each step and the device's telemetry.
             `group` names the ranks that made the step together, `group_size` says how many they
             are, and `role` why: 'reducing', 'alone' or 'independent' (see `groups.py`)
  wait       this rank was in no group of a block: how long it waited, and its CPU time meanwhile
  final      what was checked after the last block
  failure    the exception that ended this rank, with its traceback
  end        the rank came to its end. A file without this line is the evidence that it did not.

Schema history: 1 (2026-11) the first; 2 (2026-11) `role` of a block, `wait`.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from distbench.errors import RecordsError
from distbench.record_fields import (
    pack_times,
    problem_of_block,
    problem_of_size,
    problem_of_wait,
    with_shared_words,
)

SCHEMA_NAME = "distbench.raw"
SCHEMA_VERSION = 2
MAX_LINE_BYTES = 64 * 1024 * 1024  # a longer line is no record of ours
_CRC_KEY = ',"crc32":"'


def raw_file_name(rank: int) -> str:
    """The file name of one rank's records."""
    return f"rank-{rank:05d}.jsonl"


def encode(record: Mapping[str, Any]) -> bytes:
    """One line: compact JSON, sorted keys, closed by the CRC32 of all that stands before it."""
    body = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)
    checksum = zlib.crc32(body.encode())
    return f'{body[:-1]}{_CRC_KEY}{checksum:08x}"}}\n'.encode()


def decode(line: bytes) -> dict[str, Any]:
    """The record in `line`; ValueError with the reason where it is not one of ours."""
    body, separator, tail = line.removesuffix(b"\n").rpartition(_CRC_KEY.encode())
    if not separator:
        raise ValueError("no checksum")
    body += b"}"
    if tail != b'%08x"}' % zlib.crc32(body):
        raise ValueError("wrong checksum")
    record = _DECODER.decode(body.decode("utf-8"))
    if not isinstance(record, dict):
        raise ValueError("not an object")
    return record


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


@dataclass
class Waits:
    """All the waits of one rank together: there are many of them, and only their sums are shown."""

    count: int = 0
    wall_ns: int = 0
    cpu_ns: int = 0

    def add(self, record: Mapping[str, Any]) -> None:
        """Adds one wait."""
        self.count += 1
        self.wall_ns += record["wall_ns"]
        self.cpu_ns += record["cpu_ns"]


@dataclass
class RankRecords:
    """What one rank's file holds; `problems` says in words what was wrong with it.

    `start_ns` and `duration_ns` of a block are arrays of 64-bit integers.
    """

    rank: int
    header: dict[str, Any] | None = None
    preflight: dict[str, Any] | None = None
    blocks: list[dict[str, Any]] = field(default_factory=list)
    waits: Waits = field(default_factory=Waits)
    final: dict[str, Any] | None = None
    failure: dict[str, Any] | None = None
    end: dict[str, Any] | None = None
    problems: list[str] = field(default_factory=list)


def read_rank_file(path: Path, run_id: str | None = None) -> RankRecords:
    """Reads one rank's file; a line that cannot be trusted is left out and named in `problems`.

    With `run_id`, lines of another run are left out too.
    """
    records = RankRecords(rank=_rank_of(path))
    next_sequence = 0
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES), b""), 1):
                try:
                    record = _trusted(line, records, next_sequence, run_id)
                except ValueError as problem:
                    records.problems.append(f"{path.name} line {number}: {problem}")
                    continue
                _keep(record, records)
                sequence = int(record["seq"])
                if sequence > next_sequence:
                    lost = f"{sequence - next_sequence} record(s) before this line are not there"
                    records.problems.append(f"{path.name} line {number}: {lost}")
                next_sequence = sequence + 1
    except OSError as error:
        records.problems.append(f"{path.name}: cannot be read ({error.strerror})")
    return records


def _rank_of(path: Path) -> int:
    number = path.stem.removeprefix("rank-")
    if not number.isdecimal() or path.name != raw_file_name(int(number)):
        raise RecordsError(
            f"{path} is no file of one rank; raw/ should hold files such as {raw_file_name(0)}; "
            "move it elsewhere"
        )
    return int(number)


def _trusted(
    line: bytes, records: RankRecords, next_sequence: int, run_id: str | None
) -> dict[str, Any]:
    """The record in `line`; ValueError with the reason where it cannot be filed."""
    if not line.endswith(b"\n"):
        raise ValueError("torn (no line end)")
    try:
        record = decode(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"damaged ({error})") from error
    if record.get("kind") == "block":
        pack_times(record)
    for check in _LINE_CHECKS:
        problem = check(record, records, next_sequence, run_id)
        if problem:
            raise ValueError(problem)
    return record


def _keep(record: dict[str, Any], records: RankRecords) -> None:
    if record["kind"] == "block":
        records.blocks.append(with_shared_words(record))
    elif record["kind"] == "wait":
        records.waits.add(record)
    else:
        setattr(records, record["kind"], record)


_SINGLE_KINDS = ("header", "preflight", "final", "failure", "end")
LineCheck = Callable[[dict[str, Any], RankRecords, int, "str | None"], "str | None"]


def _check_kind(record: dict[str, Any], records: RankRecords, *_: Any) -> str | None:
    kind = record.get("kind")
    if kind == "block":
        return problem_of_block(record)
    if kind == "wait":
        return problem_of_wait(record)
    if kind not in _SINGLE_KINDS:
        return f"unknown kind {kind!r}"
    return f"second {kind}" if getattr(records, kind) is not None else None


def _check_header(record: dict[str, Any], records: RankRecords, *_: Any) -> str | None:
    if record["kind"] != "header":
        return None if records.header is not None else "comes before any header"
    if record.get("schema") != SCHEMA_NAME or record.get("schema_version") != SCHEMA_VERSION:
        return (
            f"schema {record.get('schema')!r} version {record.get('schema_version')!r}, "
            f"this distbench reads {SCHEMA_NAME!r} version {SCHEMA_VERSION}"
        )
    return problem_of_size(record.get("size"), records.rank)


def _check_origin(
    record: dict[str, Any], records: RankRecords, next_sequence: int, run_id: str | None
) -> str | None:
    wanted = run_id or (records.header or record).get("run_id")
    if record.get("run_id") != wanted:
        return f"run {record.get('run_id')!r} instead of {wanted!r}"
    if type(record.get("rank")) is not int or record["rank"] != records.rank:
        return f"rank {record.get('rank')!r} instead of {records.rank}"
    sequence = record.get("seq")
    if type(sequence) is not int or sequence < next_sequence:
        return f"sequence number {sequence!r} out of order"
    return None


_LINE_CHECKS: tuple[LineCheck, ...] = (_check_kind, _check_header, _check_origin)
