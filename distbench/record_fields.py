"""What the fields of a record may hold, and how they are kept in memory. Standard library only.

Numbers and texts have bounds, so that whoever adds times, counts ranks or shows names cannot be led
astray by a line that is whole and absurd.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Mapping
from typing import Any

MAX_RANKS = 100_000  # what the names of the files can number
MAX_TIME_NS = 10**18  # 31 years: a start and a duration add up within 64 bits
MAX_COUNT = 2**31  # what readers can keep in 32 bits
MAX_BYTES = 2**60  # of gradients: far more than any memory, and sums of it are still exact
MAX_READING = 10**18  # of an instrument
MAX_SECONDS = 1e9  # of a rank's life
MAX_RATE = 1e30  # FLOP/s
MAX_WORD = 4096  # characters of a name
TIMES = ("start_ns", "duration_ns")
MEMORY_FIELDS = (
    "memory_before_network_bytes",
    "peak_memory_bytes",
    "device_peak_memory_bytes",
)
_BLOCK_FIELDS = {
    "phase": str,
    "group": str,
    "group_size": int,
    "role": str,
    "block": int,
    "warmup": bool,
    "images_per_step": int,
}
_HEADER_FIELDS = {
    "host": str,
    "local_size": int,
    "controller": str,
    "transport": str,
    "grad_bytes": int,
}
_HEADER_OPTIONS = {"clock_resolution_ns": int, "gpu_uuid": str, "settings_crc32": str}
_DEVICE_FIELDS = {"kind": str, "name": str, "threads": int, "threads_reason": str}
_READINGS = ("sm_clock_mhz", "temperature_c", "energy_mj")


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
        told = str(size) if type(size) in (bool, float) else repr(size)[:40]
        return f"header of rank {rank} in a job of {told} rank(s)"
    return None


def problem_of_header(record: Mapping[str, Any]) -> str | None:
    """What is wrong with what a header tells of its rank; None where nothing is."""
    wrong = _wrong_field("header", record, _HEADER_FIELDS, MAX_BYTES)
    if wrong or record["grad_bytes"] < 1:
        return wrong or "header without a valid grad_bytes"
    if type(record.get("device")) is not dict:
        return "header without a valid device"
    optional = {
        name: kind for name, kind in _HEADER_OPTIONS.items() if record.get(name) is not None
    }
    return _wrong_field(
        "header with a device", record["device"], _DEVICE_FIELDS, MAX_COUNT
    ) or _wrong_field("header", record, optional, MAX_TIME_NS)


def problem_of_preflight(record: Mapping[str, Any]) -> str | None:
    """What is wrong with the values of a preflight that are reckoned with or shown."""
    settings = record.get("settings_in_use", [])
    if type(settings) is not list or not all(map(_is_setting, settings)):
        return "preflight without valid settings_in_use"
    if "measured_peak" not in record:
        return None
    peak = record["measured_peak"]
    rate: Any = peak.get("flops_per_s") if type(peak) is dict else None
    is_rate = _is_number(rate, MAX_RATE) and rate > 0
    return None if is_rate else "preflight without a valid measured_peak"


def problem_of_final(record: Mapping[str, Any]) -> str | None:
    """What is wrong with the costs of a rank, which older records lack; None where nothing is."""
    stages = record.get("start_up_s", [])
    if type(stages) is not list or not all(map(_is_stage, stages)):
        return "final without valid stages in start_up_s"
    if not _is_duration(record.get("life_s", 0)):
        return "final without a valid life_s"
    for name in MEMORY_FIELDS:
        value = record.get(name)
        if value is not None and not (type(value) is int and 0 <= value < MAX_BYTES):
            return f"final without a valid {name}"
    return None


def _is_stage(stage: Any) -> bool:
    return type(stage) is list and len(stage) == 2 and _is_word(stage[0]) and _is_duration(stage[1])


def _is_duration(value: Any) -> bool:
    return _is_number(value, MAX_SECONDS) and value >= 0


def _is_setting(setting: Any) -> bool:
    if type(setting) is not dict or not all(
        _is_word(setting.get(name)) for name in ("name", "requested", "how")
    ):
        return False
    return "in_use" in setting and (setting["in_use"] is None or _is_word(setting["in_use"]))


def problem_of_failure(record: Mapping[str, Any]) -> str | None:
    """What is wrong with the words of a failure; None where nothing is."""
    for name, its_type in (("sentence", str), ("traceback", str), ("is_echo", bool)):
        if name in record and type(record[name]) is not its_type:
            return f"failure without a valid {name}"
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
    return _wrong_field("block", record, _BLOCK_FIELDS, MAX_COUNT) or _problem_of_telemetry(record)


def _problem_of_telemetry(record: Mapping[str, Any]) -> str | None:
    telemetry = record.get("telemetry")
    if telemetry is None:
        return None
    if type(telemetry) is not dict:
        return "block without a valid telemetry"
    for at in ("before", "after"):
        readings = telemetry.get(at)
        if readings is not None and not _are_readings(readings):
            return f"block without a valid telemetry {at} it"
    return None


def _are_readings(readings: Any) -> bool:
    if type(readings) is not dict:
        return False
    numbers = (readings.get(name) for name in _READINGS)
    if not all(value is None or _is_number(value, MAX_READING) for value in numbers):
        return False
    reasons = readings.get("throttle_reasons")
    return reasons is None or (type(reasons) is list and all(map(_is_word, reasons)))


def _is_number(value: Any, below: float) -> bool:
    return type(value) in (int, float) and -below < value < below and math.isfinite(value)


def _is_word(value: Any) -> bool:
    return type(value) is str and len(value) <= MAX_WORD


def _wrong_field(
    kind: str, record: Mapping[str, Any], wanted: Mapping[str, type], below: int
) -> str | None:
    """Names the first field of another type than wanted, or an integer not from 0 to `below` - 1."""
    for name, its_type in wanted.items():
        value: Any = record.get(name)
        is_wrong = type(value) is not its_type or (its_type is str and not _is_word(value))
        if is_wrong or (its_type is int and not 0 <= value < below):
            return f"{kind} without a valid {name}"
    return None
