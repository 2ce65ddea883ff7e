from __future__ import annotations

from array import array
from typing import Any

import pytest

from distbench.record_fields import (
    MAX_COUNT,
    pack_times,
    problem_of_block,
    problem_of_size,
    problem_of_wait,
    with_shared_words,
)
from tests.fakes import block


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
