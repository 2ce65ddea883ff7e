from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from distbench.process_stat import read_stat, resident_bytes


def test_this_process_is_read() -> None:
    found = read_stat(Path("/proc/self"))
    assert found.parent == os.getppid()
    assert found.state in "RS"
    assert 0 < found.started_s <= time.clock_gettime(time.CLOCK_BOOTTIME)


def test_a_name_may_hold_anything(tmp_path: Path) -> None:
    fields = " ".join(["T", "7", *["0"] * 17, str(5 * os.sysconf("SC_CLK_TCK")), "0"])
    (tmp_path / "stat").write_text(f"12 (a) Z 3 (b)) {fields}\n")
    assert read_stat(tmp_path) == ("T", 7, 5.0)


@pytest.mark.parametrize("text", ["", "12 (a) T 7", "12 (a) T seven " + "0 " * 20])
def test_what_is_none_is_an_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "stat").write_text(text)
    with pytest.raises((ValueError, IndexError)):
        read_stat(tmp_path)


def test_the_memory_that_this_process_holds(tmp_path: Path) -> None:
    before = resident_bytes()
    held = bytearray(os.urandom(2**20)) * 64
    after = resident_bytes()
    assert before is not None
    assert after is not None
    assert 0.9 * len(held) < after - before < 2 * len(held)
    assert resident_bytes(tmp_path) is None
