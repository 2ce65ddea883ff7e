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
import reprlib
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from distbench.errors import RecordsError
from distbench.record_fields import (
    pack_times,
    problem_of_block,
    problem_of_failure,
    problem_of_final,
    problem_of_header,
    problem_of_preflight,
    problem_of_size,
    problem_of_wait,
    with_shared_words,
)
from distbench.regular_files import open_regular

SCHEMA_NAME = "distbench.raw"
RESCUED = ".rescued"  # after the name of a rank's file whose place was taken
SCHEMA_VERSION = 2
MAX_LINE_BYTES = 64 * 1024 * 1024  # a longer line is no record of ours
MOST_PARTS = 100_000  # texts or objects of a line; a block holds many numbers and few of either
MOST_NAMED = 100  # problems of one file; the others are counted
MOST_PROBLEMS = 1_000_000  # of one file, which is then read no further
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
    if len(body) > MOST_PARTS and max(map(body.count, (b'"', b"[", b"{"))) > MOST_PARTS:
        raise ValueError("too many parts")  # which would fill many times the memory of the line
    record = decoded_object(body.decode("utf-8"))
    if "crc32" in record:
        raise ValueError("'crc32' stands there twice")
    return record


def decoded_object(text: str) -> dict[str, Any]:
    """The object in a JSON text; ValueError where it is none, or what readers understand differently.

    Those are NaN and Infinity, a key that stands twice, and halves of characters, which no file that
    is made from it could hold.
    """
    try:
        value = _DECODER.decode(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("not an object")
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()
    return value


def settings_checksum(settings: Mapping[str, Any]) -> str:
    """The CRC32 of a configuration as JSON: in a header it tells which config.json is the run's.

    Where the run was written is not part of it: that is not what was measured.
    """
    measured = {name: value for name, value in settings.items() if name != "output"}
    text = json.dumps(measured, sort_keys=True, separators=(",", ":"))
    return f"{zlib.crc32(text.encode()):08x}"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _with_each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise ValueError(f"{reprlib.repr(twice)} stands there twice")
    return found


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_with_each_key_once)


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
    problem_count: int = 0

    def name_problem(self, where: str, what: object) -> None:
        """Counts a problem, and keeps it in words unless there are very many."""
        self.problem_count += 1
        if self.problem_count <= MOST_NAMED:
            self.problems.append(f"{where}: {what}")


def read_rank_file(path: Path, run_id: str | None = None) -> RankRecords:
    """Reads one rank's file; a line that cannot be trusted is left out and named in `problems`.

    With `run_id`, lines of another run are left out too.
    """
    records = RankRecords(rank=_rank_of(path))
    try:
        with open_regular(path) as file:
            _read_lines(file, path.name, records, run_id)
    except OSError as error:
        records.problems.append(f"{path.name}: cannot be read ({error.strerror})")
    unnamed = records.problem_count - MOST_NAMED
    if unnamed > 0:
        records.problems.append(f"{path.name}: {unnamed} more problem(s) such as these")
    return records


def _read_lines(file: BinaryIO, name: str, records: RankRecords, run_id: str | None) -> None:
    next_sequence = 0
    for number, line in enumerate(_lines(file), 1):
        if records.problem_count >= MOST_PROBLEMS:
            records.problems.append(f"{name} line {number}: from here on it was not read")
            return
        try:
            record = _trusted(line, records, next_sequence, run_id)
        except ValueError as problem:
            records.name_problem(f"{name} line {number}", problem)
            continue
        _keep(record, records)
        sequence = int(record["seq"])
        if sequence > next_sequence:
            lost = f"{sequence - next_sequence} record(s) before this line are not there"
            records.name_problem(f"{name} line {number}", lost)
        next_sequence = sequence + 1


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file; of one that is too long only its beginning, and never more in memory."""
    while line := file.readline(MAX_LINE_BYTES + 1):
        yield line
        while len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE_BYTES + 1)


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
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(f"longer than {MAX_LINE_BYTES} bytes")
    if not line.endswith(b"\n"):
        raise ValueError("torn (no line end)")
    try:
        record = decode(line)
    except ValueError as error:
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
_FIELD_CHECKS: Mapping[str, Callable[[Mapping[str, Any]], str | None]] = {
    "block": problem_of_block,
    "wait": problem_of_wait,
    "preflight": problem_of_preflight,
    "final": problem_of_final,
    "failure": problem_of_failure,
}
LineCheck = Callable[[dict[str, Any], RankRecords, int, "str | None"], "str | None"]


def _check_kind(record: dict[str, Any], records: RankRecords, *_: Any) -> str | None:
    kind = record.get("kind")
    if type(kind) is not str or kind not in (*_SINGLE_KINDS, *_FIELD_CHECKS):
        return f"unknown kind {reprlib.repr(kind)}"
    if kind in _SINGLE_KINDS and getattr(records, kind) is not None:
        return f"second {kind}"
    return _FIELD_CHECKS[kind](record) if kind in _FIELD_CHECKS else None


def _check_origin(
    record: dict[str, Any], records: RankRecords, next_sequence: int, run_id: str | None
) -> str | None:
    wanted = run_id or (records.header or record).get("run_id")
    if record.get("run_id") != wanted:
        return f"run {reprlib.repr(record.get('run_id'))} instead of {wanted!r}"
    if type(record.get("rank")) is not int or record["rank"] != records.rank:
        return f"rank {reprlib.repr(record.get('rank'))} instead of {records.rank}"
    sequence = record.get("seq")
    if type(sequence) is not int or sequence < next_sequence:
        return f"sequence number {reprlib.repr(sequence)} out of order"
    return None


def _check_header(record: dict[str, Any], records: RankRecords, *_: Any) -> str | None:
    if record["kind"] != "header":
        return None if records.header is not None else "comes before any header"
    found = record.get("schema"), record.get("schema_version")
    if found != (SCHEMA_NAME, SCHEMA_VERSION) or type(found[1]) is not int:
        schema, version = map(reprlib.repr, found)
        return (
            f"schema {schema} version {version}, "
            f"this distbench reads {SCHEMA_NAME!r} version {SCHEMA_VERSION}"
        )
    return problem_of_size(record.get("size"), records.rank) or problem_of_header(record)


_LINE_CHECKS: tuple[LineCheck, ...] = (_check_kind, _check_origin, _check_header)
