from __future__ import annotations

import numpy as np
import pytest

from distbench.groups import ALONE, REDUCING, Group
from distbench.plan import PlannedBlock
from distbench.records import decode, encode
from distbench.simulation.cluster_steps import SimulatedBlock
from distbench.simulation.simulated_records import BlockLines, LineWithGaps, json_numbers

RUN_ID = 'run "100 %" é'


def test_a_filled_line_is_what_encode_makes() -> None:
    record = {"kind": "x", "rank": 3, "text": 'a "%d" é \\', "seq": 12, "list": [1, -2], "z": None}
    line = LineWithGaps(record, ("rank", "list"))
    assert line.filled({b"rank": b"3", b"list": json_numbers([1, -2])}) == encode(record)
    other = line.filled({b"rank": b"4", b"list": b"[]"})
    assert other == encode({**record, "rank": 4, "list": []})


@pytest.mark.parametrize("numbers", [[], [0], [-1, 2**62, 10**15]])
def test_numbers_are_compact_json(numbers: list[int]) -> None:
    assert json_numbers(numbers).decode() == str(numbers).replace(" ", "")


def block(group: Group, durations: list[list[int]]) -> SimulatedBlock:
    planned = PlannedBlock("train_step", group, 4, len(durations[0]), warmup=False)
    return SimulatedBlock(planned, 1000, span_ns=77, duration_ns=np.array(durations))


def expected(
    rank: int, group: str, size: int, role: str, starts: list[int], times: list[int]
) -> bytes:
    return encode(
        {
            "kind": "block",
            "seq": 9,
            "run_id": RUN_ID,
            "rank": rank,
            "phase": "train_step",
            "group": group,
            "group_size": size,
            "role": role,
            "block": 4,
            "warmup": False,
            "images_per_step": 32,
            "telemetry": None,
            "start_ns": starts,
            "duration_ns": times,
        }
    )


def test_each_member_of_a_block_has_its_own_times() -> None:
    lines = BlockLines(block(Group("size-2", (1, 3)), [[5, 6], [7, 8]]), RUN_ID, 32)
    assert lines.line(3, 9, 10**6) == expected(
        3, "size-2", 2, REDUCING, [1_001_000, 1_001_007], [7, 8]
    )
    assert lines.line(1, 9, 0) == expected(1, "size-2", 2, REDUCING, [1000, 1005], [5, 6])


def test_where_all_measure_the_same_only_the_clock_differs() -> None:
    lines = BlockLines(block(Group("world", (0, 1, 2)), [[5, 6]]), RUN_ID, 32)
    for rank, clock_ns in ((0, 0), (1, 0), (2, 500)):
        starts = [clock_ns + 1000, clock_ns + 1005]
        assert lines.line(rank, 9, clock_ns) == expected(rank, "world", 3, REDUCING, starts, [5, 6])


def test_ranks_alone_are_groups_of_their_own() -> None:
    lines = BlockLines(block(Group("alone-turn-0", (0, 2), ALONE), [[5], [6]]), RUN_ID, 32)
    assert lines.line(2, 9, 0) == expected(2, "alone-00002", 1, ALONE, [1000], [6])


def test_other_ranks_wait() -> None:
    lines = BlockLines(block(Group("alone-turn-0", (0, 2), ALONE), [[5], [6]]), RUN_ID, 32)
    line = lines.line(1, 9, 0)
    record = {
        "kind": "wait",
        "seq": 9,
        "run_id": RUN_ID,
        "rank": 1,
        "phase": "train_step",
        "group": "alone-turn-0",
        "block": 4,
        "warmup": False,
        "wall_ns": 77,
        "cpu_ns": 0,
    }
    assert line == encode(record)
    assert decode(line) == record
