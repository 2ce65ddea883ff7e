"""The records of all ranks as pandas frames: steps, blocks, waits.

A run may hold 20 million steps, so that words are categories, counts have 32 bits, and the frames are
made column by column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from distbench.records import RankRecords

Array = np.ndarray[Any, Any]
STEP_COLUMNS = (
    "run_id",
    "rank",
    "host",
    "phase",
    "group",
    "role",
    "group_size",
    "block",
    "step",
    "warmup",
    "start_ns",
    "duration_ns",
    "images",
)


def host_of(records: RankRecords) -> str:
    """The host that a rank says it is on; empty where it left no header."""
    return str(records.header["host"]) if records.header else ""


def steps_frame(ranks: Sequence[RankRecords]) -> pd.DataFrame:
    """One row per rank × phase × block × step, under STEP_COLUMNS; one rank's block stands together."""
    blocks = [(records, block) for records in ranks for block in records.blocks]
    lengths = np.array([len(block["duration_ns"]) for _, block in blocks], dtype=np.int64)

    def words(text_of: Callable[[RankRecords, dict[str, Any]], str]) -> pd.Categorical:
        each = pd.Categorical([text_of(*one) for one in blocks])
        return pd.Categorical.from_codes(np.repeat(each.codes, lengths), dtype=each.dtype)

    def counts(values: Iterable[int], dtype: type[np.generic] = np.int32) -> Array:
        return np.repeat(np.fromiter(values, dtype, len(blocks)), lengths)

    columns = {
        "run_id": words(lambda _, block: block["run_id"]),
        "rank": counts(records.rank for records, _ in blocks),
        "host": words(lambda records, _: host_of(records)),
        "phase": words(lambda _, block: block["phase"]),
        "group": words(lambda _, block: block["group"]),
        "role": words(lambda _, block: block["role"]),
        "group_size": counts(block["group_size"] for _, block in blocks),
        "block": counts(block["block"] for _, block in blocks),
        "step": _counted_from_0(lengths),
        "warmup": counts((block["warmup"] for _, block in blocks), np.bool_),
        "start_ns": _joined("start_ns", blocks),
        "duration_ns": _joined("duration_ns", blocks),
        "images": counts(block["images_per_step"] for _, block in blocks),
    }
    return pd.DataFrame(columns, columns=list(STEP_COLUMNS), copy=False)


def _joined(name: str, blocks: Sequence[tuple[RankRecords, dict[str, Any]]]) -> Array:
    times = [np.frombuffer(block[name], dtype=np.int64) for _, block in blocks]
    return np.concatenate([np.empty(0, dtype=np.int64), *times])


def _counted_from_0(lengths: Array) -> Array:
    """0, 1, 2 … anew for each length."""
    ends = lengths.cumsum()
    total = int(ends[-1]) if len(ends) else 0
    steps = np.arange(total, dtype=np.int32)
    steps -= np.repeat((ends - lengths).astype(np.int32), lengths)
    return steps


def blocks_frame(ranks: Sequence[RankRecords]) -> pd.DataFrame:
    """One row per rank × phase × block, with the device's telemetry where there is any."""
    blocks = [(records, block) for records in ranks for block in records.blocks]
    if not blocks:
        return pd.DataFrame()
    frame = pd.DataFrame(
        {
            "rank": [records.rank for records, _ in blocks],
            "host": pd.Categorical([host_of(records) for records, _ in blocks]),
            "phase": pd.Categorical([block["phase"] for _, block in blocks]),
            "group": pd.Categorical([block["group"] for _, block in blocks]),
            "block": [block["block"] for _, block in blocks],
            "warmup": [block["warmup"] for _, block in blocks],
            "start_ns": [block["start_ns"][0] for _, block in blocks],
            "end_ns": [block["start_ns"][-1] + block["duration_ns"][-1] for _, block in blocks],
        }
    )
    telemetry = [_telemetry(block.get("telemetry")) for _, block in blocks]
    return frame.join(pd.DataFrame(telemetry)) if any(telemetry) else frame


def _telemetry(telemetry: dict[str, Any] | None) -> dict[str, Any]:
    """Clock and temperature at the block's end, energy over it, and every throttle reason seen."""
    if not telemetry or not telemetry.get("before") or not telemetry.get("after"):
        return {}
    before, after = telemetry["before"], telemetry["after"]
    energies = before.get("energy_mj"), after.get("energy_mj")
    reasons = set(before.get("throttle_reasons") or []) | set(after.get("throttle_reasons") or [])
    return {
        "sm_clock_mhz": after.get("sm_clock_mhz"),
        "temperature_c": after.get("temperature_c"),
        "energy_j": None if None in energies else (energies[1] - energies[0]) / 1e3,
        "throttle_reasons": " ".join(sorted(reasons)),
    }


def waits_frame(ranks: Sequence[RankRecords]) -> pd.DataFrame:
    """One row per rank that waited outside of a block's group, with the sums of its waits."""
    rows = [
        {
            "rank": records.rank,
            "host": host_of(records),
            "wall_s": records.waits.wall_ns / 1e9,
            "cpu_s": records.waits.cpu_ns / 1e9,
        }
        for records in ranks
        if records.waits.count
    ]
    return pd.DataFrame(rows, columns=["rank", "host", "wall_s", "cpu_s"])
