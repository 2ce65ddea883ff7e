from __future__ import annotations

from pathlib import Path

from distbench.report.cost_rows import cost_rows
from tests.test_rank_costs import two_ranks


def test_costs_are_rows_where_they_are_known(run_directory: Path) -> None:
    told = {
        "start_up_s": [["starting Python", 0.4], ["preflight", 25.0]],
        "life_s": 125.0,
        "memory_before_network_bytes": 600_000_000,
        "peak_memory_bytes": 3_400_000_000,
        "device_peak_memory_bytes": None,
    }
    rows = dict(cost_rows(two_ranks(run_directory, told, told)))
    assert rows["before the first timed step"] == (
        "starting Python 400 ms, preflight 25 s (of the slowest rank in each); preflight is 20.0 % of "
        "the run"
    )
    assert rows["peak memory of a rank"].startswith(
        "3.400 GB of its host (TensorFlow and Horovod 600.0 MB before there was a network); weights, "
    )


def test_a_devices_memory_is_told_too(run_directory: Path) -> None:
    told = {"peak_memory_bytes": 2_000_000_000, "device_peak_memory_bytes": 5_000_000_000}
    rows = dict(cost_rows(two_ranks(run_directory, told, told)))
    assert rows["peak memory of a rank"].startswith(
        "2.000 GB of its host and 5.000 GB of its device;"
    )


def test_records_without_costs_make_no_rows(run_directory: Path) -> None:
    assert list(cost_rows(two_ranks(run_directory, {}, {}))) == []
