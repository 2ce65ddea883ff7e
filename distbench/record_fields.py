"""What the fields of a record may hold, and how they are kept in memory. Standard library only.

Numbers have bounds, so that whoever adds times or counts ranks cannot be led astray by a line that is
whole and absurd.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Mapping
from typing import Any

MAX_RANKS = 100_000  # what the names of the files can number
MAX_TIME_NS = 10**18  # 31 years: a start and a duration add up within 64 bits
MAX_COUNT = 2**31  # what readers can keep in 32 bits
TIMES = ("start_ns", "duration_ns")


def pack_times(record: dict[str, Any]) -> None:
    """Puts the times of a block into arrays: 8 bytes each instead of 40.

    A list that holds anything but integers below MAX_TIME_NS stays, for `problem_of_block` to name.
    """
    for name in TIMES:
        values = record.get(name)
        if type(values) is list and _are_times(values):
            record[name] = array("q", values)


def _are_times(values: list[Any]) -> bool:
    if set(map(type, values)) != {int}:
        return False
    return bool(min(values) > -MAX_TIME_NS and max(values) < MAX_TIME_NS)


def with_shared_words(record: Mapping[str, Any]) -> dict[str, Any]:
    """The same record; names and phases are then held once in a run, not once in each block."""
    intern = sys.intern
    return {
        intern(name): intern(value) if type(value) is str else value
        for name, value in record.items()
    }


def problem_of_size(size: Any, rank: int) -> str | None:
    """What is wrong with the number of ranks that a header tells; None where nothing is."""
    if type(size) is not int or not rank < size <= MAX_RANKS:
        return f"header of rank {rank} in a job of {size!r} rank(s)"
    return None


def problem_of_wait(record: Mapping[str, Any]) -> str | None:
    """What is wrong with the fields of a wait; None where nothing is."""
    return _wrong_field("wait", record, {"wall_ns": int, "cpu_ns": int}, MAX_TIME_NS)


def problem_of_block(record: Mapping[str, Any]) -> str | None:
    """What is wrong with the fields of a block, whose times were packed; None where nothing is."""
    starts, durations = record.get("start_ns"), record.get("duration_ns")
    if [] in (starts, durations):
        return "block whose times do not pair up"
    if not isinstance(starts, array) or not isinstance(durations, array):
        return "block without integer times"
    if len(starts) != len(durations):
        return "block whose times do not pair up"
    if min(durations) <= 0:
        return "block with a duration that is not positive"
    wanted = {
        "phase": str,
        "group": str,
        "group_size": int,
        "role": str,
        "block": int,
        "warmup": bool,
        "images_per_step": int,
    }
    return _wrong_field("block", record, wanted, MAX_COUNT)


def _wrong_field(
    kind: str, record: Mapping[str, Any], wanted: Mapping[str, type], below: int
) -> str | None:
    """Names the first field of another type than wanted, or an integer not from 0 to `below` - 1."""
    for name, its_type in wanted.items():
        value = record.get(name)
        if type(value) is not its_type or (type(value) is int and not 0 <= value < below):
            return f"{kind} without a valid {name}"
    return None
