from __future__ import annotations

from pathlib import Path

import pytest

from distbench.doctor.free_memory import RANK_BYTES, collect, judge, suffices
from distbench.doctor.verdicts import NOTE, OK, PROBLEM


def test_the_available_memory_is_read(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  100 kB\nMemFree:  1 kB\nMemAvailable:   30 kB\n")
    assert collect(meminfo) == 30 * 1024
    meminfo.write_text("MemTotal:  100 kB\n")
    assert collect(meminfo) is None
    assert collect(tmp_path / "none") is None
    assert (collect() or 0) > 0


@pytest.mark.parametrize(
    ("available", "level"),
    [(2 * RANK_BYTES, OK), (2 * RANK_BYTES - 1, PROBLEM), (None, NOTE)],
)
def test_it_must_hold_every_rank(available: int | None, level: str) -> None:
    assert [one.level for one in judge(available, 2)] == [level]
    assert suffices(available, 2) is (level != PROBLEM)
