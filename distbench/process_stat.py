"""What the kernel tells of a process in /proc. Linux only; standard library only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


class ProcessStat(NamedTuple):
    """Fields of /proc/<pid>/stat."""

    state: str  # a letter, such as T for stopped and Z for ended
    parent: int
    started_s: float  # after the machine's start, sleep included


def read_stat(folder: Path) -> ProcessStat:
    """Reads `folder`/stat, as of /proc/self. Raises OSError, ValueError or IndexError where it cannot."""
    # The name in brackets may hold anything, so that fields count from the last bracket.
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    return ProcessStat(fields[0], int(fields[1]), int(fields[19]) / os.sysconf("SC_CLK_TCK"))


def resident_bytes(folder: Path = Path("/proc/self")) -> int | None:
    """The memory that a process holds now; None where the kernel does not tell."""
    try:
        return int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
