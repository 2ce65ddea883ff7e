from __future__ import annotations

import pytest

from distbench import units


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.5, "1234"), (12.345, "12.35"), (0.0123449, "0.01234"), (0, "0"), (float("nan"), "n/a")],
)
def test_significant(value: float, text: str) -> None:
    assert units.significant(value) == text


@pytest.mark.parametrize(
    ("value_s", "text"),
    [
        (1.5, "1.500 s"),
        (0.0251, "25.10 ms"),
        (4.2e-6, "4.200 µs"),
        (-0.002, "-2.000 ms"),
        (0.0, "0 s"),
        (float("nan"), "n/a"),
    ],
)
def test_seconds(value_s: float, text: str) -> None:
    assert units.seconds(value_s) == text


def test_range_without_samples_is_not_available() -> None:
    assert units.seconds_range(float("nan"), float("nan")) == "n/a"
    assert units.seconds_range(0.001, 0.002) == "1.000 ms to 2.000 ms"


def test_bytes_and_bandwidth_are_decimal() -> None:
    assert units.decimal_bytes(553_430_176) == "553.4 MB"
    assert units.decimal_bytes(12) == "12 B"
    assert units.bandwidth(2.5e9) == "2.50 GB/s"
    assert units.bandwidth(float("nan")) == "n/a"


def test_percent() -> None:
    assert units.percent(0.1234) == "12.3 %"
