"""Whether this machine has the memory to hold the ranks at all, before any is started."""

from __future__ import annotations

import re
from pathlib import Path

from distbench import units
from distbench.doctor.verdicts import Verdict, note, ok, problem

RANK_BYTES = 700_000_000  # TensorFlow, Horovod and the largest allreduce of the probe


def collect(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Bytes that new processes can have without swapping; None where the kernel does not tell."""
    try:
        match = re.search(r"^MemAvailable:\s+(\d+) kB$", meminfo.read_text(), flags=re.MULTILINE)
    except OSError:
        return None
    return int(match[1]) * 1024 if match else None


def suffices(available_bytes: int | None, ranks: int) -> bool:
    """Whether so many ranks may be started; what is not known forbids nothing."""
    return available_bytes is None or available_bytes >= ranks * RANK_BYTES


def judge(available_bytes: int | None, ranks: int) -> list[Verdict]:
    """A verdict on the memory against what the ranks need."""
    need = units.decimal_bytes(ranks * RANK_BYTES)
    if available_bytes is None:
        return [note("the free memory is not known", f"{ranks} rank(s) need about {need}")]
    text = f"{units.decimal_bytes(available_bytes)} of memory available for {ranks} rank(s)"
    if not suffices(available_bytes, ranks):
        return [
            problem(
                f"{text}, which need about {need} before the network is built: none was started",
                "free memory, or ask for fewer ranks",
            )
        ]
    return [ok(text)]
