from __future__ import annotations

from array import array
from typing import Any

import pytest

from distbench.record_fields import (
    MAX_COUNT,
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
from tests.fakes import block, header


def packed(**changes: Any) -> dict[str, Any]:
    record = {**block("forward", 1, [1.0, 2.0]), **changes}
    pack_times(record)
    return record


def test_times_are_kept_in_eight_bytes_each() -> None:
    record = packed()
    assert record["duration_ns"] == array("q", [1_000_000, 2_000_000])
    assert record["duration_ns"].itemsize == 8
    assert problem_of_block(record) is None


def test_what_is_no_time_stays_and_is_named() -> None:
    assert packed(duration_ns=[1, True])["duration_ns"] == [1, True]
    assert problem_of_block(packed(duration_ns=[1, True])) == "block without integer times"
    assert problem_of_block(packed(duration_ns=[1, 10**18])) == "block without integer times"
    assert problem_of_block(packed(start_ns=[-(10**18), 1])) == "block without integer times"
    assert problem_of_block(packed(start_ns=[1 - 10**18, 1])) is None


def test_two_times_of_the_largest_size_add_up_in_64_bits() -> None:
    largest = packed(start_ns=[10**18 - 1], duration_ns=[10**18 - 1])
    assert problem_of_block(largest) is None
    assert largest["start_ns"][0] + largest["duration_ns"][0] < 2**63


def test_counts_fit_in_32_bits() -> None:
    assert problem_of_block(packed(group_size=MAX_COUNT - 1)) is None
    assert problem_of_block(packed(group_size=MAX_COUNT)) == "block without a valid group_size"


def test_a_wait_has_two_times_that_are_not_negative() -> None:
    assert problem_of_wait({"wall_ns": 0, "cpu_ns": 5}) is None
    assert problem_of_wait({"wall_ns": 1.0, "cpu_ns": 5}) == "wait without a valid wall_ns"
    assert problem_of_wait({"wall_ns": 1, "cpu_ns": -5}) == "wait without a valid cpu_ns"


@pytest.mark.parametrize(
    ("size", "is_valid"), [(4, True), (3, False), (4.0, False), (10**6, False)]
)
def test_a_rank_is_one_of_its_job(size: object, is_valid: bool) -> None:
    assert (problem_of_size(size, rank=3) is None) == is_valid


def test_equal_words_of_two_records_are_one_object() -> None:
    first, second = (
        with_shared_words({"".join(["pha", "se"]): "".join(["for", "ward"])}) for _ in "ab"
    )
    assert first == {"phase": "forward"}
    assert first["phase"] is second["phase"]
    assert next(iter(first)) is next(iter(second))


WHOLE_HEADER = header(0, 1, clock_resolution_ns=1, gpu_uuid="GPU-1")
DEVICE = WHOLE_HEADER["device"]


def test_the_header_that_ranks_write_is_whole() -> None:
    assert problem_of_header(WHOLE_HEADER) is None
    assert problem_of_header({**WHOLE_HEADER, "gpu_uuid": None}) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"host": None}, "host"),
        ({"host": "x" * 5000}, "host"),
        ({"controller": 1}, "controller"),
        ({"grad_bytes": 0}, "grad_bytes"),
        ({"grad_bytes": 10**400}, "grad_bytes"),
        ({"local_size": -1}, "local_size"),
        ({"device": "GPU"}, "device"),
        ({"device": {}}, "kind"),
        ({"device": {**DEVICE, "threads": True}}, "threads"),
        ({"device": {**DEVICE, "name": ["x"]}}, "name"),
        ({"clock_resolution_ns": "1"}, "clock_resolution_ns"),
        ({"gpu_uuid": {}}, "gpu_uuid"),
        ({"settings_crc32": 7}, "settings_crc32"),
    ],
)
def test_a_header_that_readers_cannot_use_is_named(changes: dict[str, Any], said: str) -> None:
    assert f"without a valid {said}" in str(problem_of_header({**WHOLE_HEADER, **changes}))


@pytest.mark.parametrize(
    ("peak", "is_whole"),
    [
        ({"flops_per_s": 1e12}, True),
        ({"flops_per_s": 10**12}, True),
        ({"flops_per_s": 0}, False),
        ({"flops_per_s": -1.0}, False),
        ({"flops_per_s": 10**400}, False),
        ({"flops_per_s": True}, False),
        ({"flops_per_s": "1"}, False),
        ({}, False),
        (None, False),
    ],
)
def test_a_measured_peak_is_a_rate(peak: Any, is_whole: bool) -> None:
    assert (problem_of_preflight({"measured_peak": peak}) is None) == is_whole
    assert problem_of_preflight({}) is None


def test_a_failure_has_words() -> None:
    whole = {"sentence": "it failed", "traceback": "", "is_echo": False}
    assert problem_of_failure(whole) is None
    for name in whole:
        assert name in str(problem_of_failure({**whole, name: 3}))


@pytest.mark.parametrize(
    "telemetry",
    [
        3,
        {"before": []},
        {"after": {"sm_clock_mhz": "1"}},
        {"after": {"temperature_c": 10**400}},
        {"before": {"energy_mj": float("inf")}},
        {"before": {"throttle_reasons": "all"}},
        {"before": {"throttle_reasons": [[]]}},
    ],
)
def test_telemetry_that_readers_cannot_use_is_named(telemetry: Any) -> None:
    record = block("forward", 1, [1.0], telemetry=telemetry)
    pack_times(record)
    assert "without a valid telemetry" in str(problem_of_block(record))
    pack_times(whole := block("forward", 1, [1.0], telemetry={"before": None, "after": {}}))
    assert problem_of_block(whole) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("start_up_s", 3.0),
        ("start_up_s", [["importing"]]),
        ("start_up_s", [["importing", "5"]]),
        ("start_up_s", [["importing", -1.0]]),
        ("start_up_s", [["importing", float("nan")]]),
        ("start_up_s", [["x" * 5000, 1.0]]),
        ("life_s", 1e12),
        ("life_s", None),
        ("memory_before_network_bytes", True),
        ("peak_memory_bytes", 1.5),
        ("peak_memory_bytes", -1),
        ("device_peak_memory_bytes", 2**60),
    ],
)
def test_costs_that_no_rank_has_are_refused(name: str, value: object) -> None:
    whole = {
        "start_up_s": [["importing", 5.0]],
        "life_s": 100.0,
        "memory_before_network_bytes": 600_000_000,
        "peak_memory_bytes": 3_000_000_000,
        "device_peak_memory_bytes": None,
    }
    assert problem_of_final(whole) is None
    assert problem_of_final({}) is None  # of older records
    assert name.split("_")[-1] in str(problem_of_final({**whole, name: value}))


@pytest.mark.parametrize(
    ("settings", "is_whole"),
    [
        ([], True),
        ([{"name": "a", "requested": "b", "in_use": None, "how": "c"}], True),
        ([{"name": "a", "requested": "b", "in_use": "b", "how": "c"}], True),
        ([{"name": "a", "requested": "b", "how": "c"}], False),
        ([{"name": "a", "requested": 1, "in_use": "b", "how": "c"}], False),
        ([{"name": "a", "requested": "b", "in_use": 3, "how": "c"}], False),
        (["a"], False),
        ({}, False),
    ],
)
def test_settings_in_use_are_texts(settings: Any, is_whole: bool) -> None:
    assert (problem_of_preflight({"settings_in_use": settings}) is None) == is_whole
