from __future__ import annotations

import errno
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from distbench import disk_space
from distbench.disk_space import Room, check_room, room_of_rank, room_of_run
from distbench.errors import OutputError
from distbench.groups import plan_groups
from distbench.plan import plan_blocks
from distbench.records import encode
from distbench.worker.telemetry import THROTTLE_REASONS
from tests.fakes import RUN_ID, block, ladder_blocks, small_config, study_config, write_run
from tests.fakes import write_study as write_a_study

LONG_UP_NS = 10**18 - 1  # a machine that has been up for 31 years
SLOW_STEP_NS = 900 * 10**9


def longest_line(steps: int, telemetry: Any) -> bytes:
    """A block with everything as long as it gets."""
    return encode(
        {
            **block("forward_backward_self_allreduce", 10**6, [1.0], group_size=99_999),
            "kind": "block",
            "seq": 10**8,
            "run_id": "20261123-120000-A-LRN-quick-np99999-01234567",
            "rank": 99_998,
            "group": "independent",
            "role": "with_itself",
            "start_ns": [LONG_UP_NS] * steps,
            "duration_ns": [SLOW_STEP_NS] * steps,
            "telemetry": telemetry,
        }
    )


@pytest.mark.parametrize("steps", [1, 100, 10_000])
@pytest.mark.parametrize("reads_telemetry", [False, True])
def test_no_block_is_longer_than_was_thought(steps: int, reads_telemetry: bool) -> None:
    read = {
        "sm_clock_mhz": 99_999,
        "throttle_reasons": list(THROTTLE_REASONS.values()),
        "temperature_c": 100,
        "energy_mj": 10**14,
    }
    telemetry = {"before": read, "after": read} if reads_telemetry else None
    config = small_config(steps=steps, blocks=1, warmup_steps=0, phases=("forward",))
    room = room_of_rank(plan_blocks(config, plan_groups(config, [0])), 0, 1, reads_telemetry)
    planned_bytes = room.file_bytes - disk_space.FRAME_BYTES
    actual_bytes = len(longest_line(steps, telemetry))
    assert actual_bytes <= planned_bytes <= 1.5 * actual_bytes + 1000


def test_a_study_fits_into_the_room_that_was_asked_for(tmp_path: Path) -> None:
    config, nodes = study_config(), [0, 0, 1, 1]
    layout = write_a_study(tmp_path / "run", config, nodes)
    plan = plan_blocks(config, plan_groups(config, nodes))
    sizes = [path.stat().st_size for path in sorted(layout.raw.iterdir())]
    rooms = [room_of_rank(plan, rank, 1, False) for rank in range(4)]
    assert all(size <= room.file_bytes for size, room in zip(sizes, rooms))
    whole = room_of_run(plan, 3, 4, False)
    assert whole.file_bytes == rooms[3].file_bytes
    descriptions = 4 * disk_space.MACHINE_BYTES
    assert whole.directory_bytes == sum(room.file_bytes for room in rooms) + descriptions
    assert room_of_rank(plan, 0, 8, False).directory_bytes == 8 * rooms[0].file_bytes


def test_a_ladder_fits_and_telemetry_takes_more(tmp_path: Path) -> None:
    config = small_config(steps=12, blocks=6)
    layout = write_run(tmp_path / "run", [ladder_blocks()])
    plan = plan_blocks(config, plan_groups(config, [0]))
    without, with_it = (room_of_run(plan, 0, 1, reads) for reads in (False, True))
    assert sum(path.stat().st_size for path in layout.raw.iterdir()) <= without.directory_bytes
    more = len(plan) * disk_space.TELEMETRY_BYTES
    assert with_it.directory_bytes - without.directory_bytes == more


def test_the_room_of_many_ranks_is_worked_out_at_once() -> None:
    """A step of all ranks and one of a single one; nothing is counted rank by rank."""
    config = study_config(sizes=(1, 4096), steps=6, blocks=6, rounds=6)
    plan = plan_blocks(config, plan_groups(config, [rank // 8 for rank in range(4096)]))
    turns = Counter(one.group.role for one in plan)
    assert turns["alone"] > 0
    assert room_of_run(plan, 4095, 4096, True).directory_bytes > 4096 * disk_space.FRAME_BYTES


def test_a_directory_with_room_is_left_as_it_was(tmp_path: Path) -> None:
    check_room(tmp_path, Room(1_000_000, 2_000_000))
    assert os.listdir(tmp_path) == []


def test_a_directory_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file or directory"):
        check_room(tmp_path / RUN_ID, Room(1, 1))


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.EINVAL])
def test_a_disk_that_reserves_nothing_is_still_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    check_room(tmp_path, Room(10**15, 100))


@pytest.mark.parametrize("call", ["posix_fallocate", "fsync"])
@pytest.mark.parametrize("number", [errno.EDQUOT, errno.EIO, errno.ENOSPC])
def test_what_the_disk_refuses_is_told_with_the_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(OutputError, match=r"does not take a file of 1\.000 MB") as told:
        check_room(tmp_path, Room(1_000_000, 1_000_000))
    assert os.strerror(number) in told.value.sentence
    assert os.listdir(tmp_path) == []


def test_a_disk_that_does_not_tell_what_is_free_is_tried_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent:
        f_blocks, f_bavail, f_frsize = 0, 0, 4096

    monkeypatch.setattr(os, "statvfs", lambda _: Silent)
    assert disk_space.free_bytes(tmp_path) is None
    check_room(tmp_path, Room(1000, 10**18))
