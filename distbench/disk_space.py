"""Whether a directory has room for what a run will write there. Standard library only.

Free space alone says little: a quota, a limit on the size of files or a disk that went read-only shows
only where something is written. So a file of the expected size is tried out too, and deleted.
"""

from __future__ import annotations

import errno
import os
import resource
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from distbench import units
from distbench.errors import OutputError
from distbench.plan import PlannedBlock

# Upper bounds on what the records take as text.
STEP_BYTES = 32  # a start of 18 digits and a duration of 12, with their commas
BLOCK_BYTES = 512  # all but its steps and its telemetry
TELEMETRY_BYTES = 768  # before and after, with every reason to throttle
WAIT_BYTES = 352
FRAME_BYTES = 64 * 1024  # header, preflight, final, end, or a failure with its traceback
MACHINE_BYTES = 8 * 1024  # of one rank in manifest.json
_PROBE_BYTES = 4096
_NO_RESERVING = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)


@dataclass(frozen=True)
class Room:
    """What is going to be written: the largest file of this rank, and everything on its disk."""

    file_bytes: int
    directory_bytes: int


def room_of_rank(
    plan: Sequence[PlannedBlock], rank: int, ranks_on_disk: int, reads_telemetry: bool
) -> Room:
    """The room for the record of `rank` and of others like it; `ranks_on_disk` counts all of them."""
    own = {block.group.name for block in plan if rank in block.group.ranks}
    file_bytes = FRAME_BYTES + sum(
        _block_bytes(block, reads_telemetry) if block.group.name in own else WAIT_BYTES
        for block in plan
    )
    return Room(file_bytes, ranks_on_disk * file_bytes)


def room_of_run(plan: Sequence[PlannedBlock], rank: int, size: int, reads_telemetry: bool) -> Room:
    """The room for the records and the descriptions of all `size` ranks, on a disk that takes all."""
    records_bytes = size * (FRAME_BYTES + MACHINE_BYTES) + sum(
        len(block.group.ranks) * _block_bytes(block, reads_telemetry)
        + (size - len(block.group.ranks)) * WAIT_BYTES
        for block in plan
    )
    return Room(room_of_rank(plan, rank, 1, reads_telemetry).file_bytes, records_bytes)


def _block_bytes(block: PlannedBlock, reads_telemetry: bool) -> int:
    return BLOCK_BYTES + (TELEMETRY_BYTES if reads_telemetry else 0) + STEP_BYTES * block.steps


def check_room(directory: Path, room: Room) -> None:
    """Raises OutputError where `directory` cannot take what is going to be written there."""
    for problem in _problems(directory, room):
        raise OutputError(f"{directory} {problem}, or name another place with --output")


def free_bytes(directory: Path) -> int | None:
    """The free bytes of the disk that holds `directory`; None where it does not tell."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize if found.f_blocks else None


def _problems(directory: Path, room: Room) -> Iterable[str]:
    file, everything = (units.decimal_bytes(n) for n in (room.file_bytes, room.directory_bytes))
    limit_bytes, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if limit_bytes != resource.RLIM_INFINITY and limit_bytes < room.file_bytes:
        yield (
            f"is to hold files of up to {file}, and this process may write at most "
            f"{units.decimal_bytes(limit_bytes)} to one; raise that limit (ulimit -f), ask for fewer "
            "steps"
        )
    try:
        free = free_bytes(directory)
        if free is not None and free < room.directory_bytes:
            yield (
                f"has {units.decimal_bytes(free)} free, and the run may write up to {everything}; "
                "free space there, ask for fewer steps"
            )
        _try_out(directory, room.file_bytes)
    except OSError as error:
        yield (
            f"does not take a file of {file} ({error.strerror or error}), which the run may need; "
            "see that there is space and quota and that it can be written"
        )


def _try_out(directory: Path, wanted_bytes: int) -> None:
    """Reserves and writes a file of that size, and deletes it; OSError where the disk refuses."""
    path = directory / f".room.{secrets.token_hex(8)}.tmp"
    try:
        with open(path, "xb", buffering=0) as file:
            _reserve(file.fileno(), wanted_bytes)
            file.write(b"\0" * _PROBE_BYTES)
            os.fsync(file.fileno())
    finally:
        with suppress(OSError):  # it was never made; or it cannot go, and the write has told why
            path.unlink()


def _reserve(descriptor: int, wanted_bytes: int) -> None:
    try:
        os.posix_fallocate(descriptor, 0, wanted_bytes)
    except OSError as error:
        if error.errno not in _NO_RESERVING:
            raise
