"""The records of simulated ranks as bytes, fast: what `records.encode` would make, byte for byte.

Thousands of ranks leave the same lines but for a few values, so that a line is made once with gaps,
and filled for each rank.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from distbench.records import encode
from distbench.simulation.cluster_steps import SimulatedBlock

_CRC_KEY = b',"crc32":"'


class LineWithGaps:
    """The line of a record in which the values of `gaps` differ from rank to rank."""

    def __init__(self, record: Mapping[str, Any], gaps: Iterable[str]) -> None:
        marks = {name: f"<{name}>" for name in gaps}
        text = encode({**record, **marks}).rpartition(_CRC_KEY)[0].replace(b"%", b"%%")
        for name, mark in marks.items():
            text = text.replace(json.dumps(mark).encode(), f"%({name})b".encode())
        self._format = text

    def filled(self, values: Mapping[bytes, bytes]) -> bytes:
        """The line with each gap filled by JSON text."""
        text = self._format % values
        checksum = zlib.crc32(b"}", zlib.crc32(text))
        return b'%b%b%08x"}\n' % (text, _CRC_KEY, checksum)


def json_numbers(numbers: Sequence[int]) -> bytes:
    """A list of integers as compact JSON."""
    return b"[%b]" % (b",".join([b"%d"] * len(numbers)) % tuple(numbers))


class BlockLines:
    """What every rank of the job writes about one block: its steps, or that it waited."""

    def __init__(self, block: SimulatedBlock, run_id: str, images_per_step: int) -> None:
        self._block = block
        self._places = {rank: place for place, rank in enumerate(block.planned.group.ranks)}
        planned = block.planned
        common = {
            "run_id": run_id,
            "phase": planned.phase,
            "block": planned.block,
            "warmup": planned.warmup,
        }
        steps = {
            "kind": "block",
            "group_size": planned.group.size,
            "role": planned.group.role,
            "images_per_step": images_per_step,
            "telemetry": None,
        }
        wait = {
            "kind": "wait",
            "group": planned.group.name,
            "wall_ns": block.span_ns,
            "cpu_ns": 0,
        }
        of_steps = ("rank", "seq", "group", "start_ns", "duration_ns")
        self._steps = LineWithGaps({**common, **steps}, of_steps)
        self._wait = LineWithGaps({**common, **wait}, ("rank", "seq"))
        self._last: tuple[int, bytes, bytes] | None = None

    def line(self, rank: int, sequence: int, clock_ns: int) -> bytes:
        """The line of one rank, whose clock shows `clock_ns` when the cluster's shows 0."""
        values = {b"rank": b"%d" % rank, b"seq": b"%d" % sequence}
        place = self._places.get(rank)
        if place is None:
            return self._wait.filled(values)
        values[b"group"] = json.dumps(self._block.planned.group.record_name(rank)).encode()
        values[b"start_ns"], values[b"duration_ns"] = self._times(place, clock_ns)
        return self._steps.filled(values)

    def _times(self, place: int, clock_ns: int) -> tuple[bytes, bytes]:
        """Starts and durations as JSON; kept for the next rank where all measure the same."""
        durations = self._block.duration_ns
        is_same_for_all = len(durations) == 1
        if is_same_for_all and self._last and self._last[0] == clock_ns:
            return self._last[1:]
        own = durations[0 if is_same_for_all else place]
        starts = clock_ns + self._block.start_ns + own.cumsum() - own
        texts = json_numbers(starts.tolist()), json_numbers(own.tolist())
        self._last = (clock_ns, *texts)
        return texts
