"""A run directory as pandas frames, from the raw records alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from distbench.config import Config, from_dict
from distbench.errors import RecordsError, UsageError
from distbench.groups import WORLD, nodes_of, plan_groups
from distbench.layout import RunLayout
from distbench.plan import PlannedBlock, plan_blocks
from distbench.records import RankRecords, raw_file_name, read_rank_file

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


@dataclass(frozen=True)
class Run:
    """One run as its files tell it.

    `steps` has one row per rank × phase × block × step: `start_ns` and `duration_ns` in integer
    nanoseconds of the rank's own clock, `images` of that rank and step, `warmup` for the steps that
    no result counts. `blocks` has one row per rank × phase × block with the device's telemetry.
    `waits` has one row per rank that was outside of a block's group: how long it waited in all, and
    its CPU time meanwhile. `problems` are lines that could not be trusted, `incomplete` the reasons
    why the run is not whole.
    """

    layout: RunLayout
    config: Config
    manifest: dict[str, Any]
    ranks: tuple[RankRecords, ...]
    steps: pd.DataFrame
    blocks: pd.DataFrame
    waits: pd.DataFrame
    problems: tuple[str, ...]
    incomplete: tuple[str, ...]

    @property
    def run_id(self) -> str:
        """The run's id."""
        return str(self.first_header["run_id"])

    @property
    def first_header(self) -> dict[str, Any]:
        """The header of the first rank that has one."""
        return next(records.header for records in self.ranks if records.header is not None)

    @property
    def size(self) -> int:
        """How many ranks the job was started with."""
        return int(self.first_header["size"])

    @property
    def grad_bytes(self) -> int:
        """The bytes of all gradients of one rank: what an allreduce carries."""
        return int(self.first_header["grad_bytes"])

    @property
    def is_simulated(self) -> bool:
        """Whether the records come from a simulated cluster and not from devices."""
        return bool(self.first_header.get("simulated", False))

    @property
    def device_kind(self) -> str:
        """'GPU', 'CPU', or both joined by 'and' where ranks differ."""
        kinds = {records.header["device"]["kind"] for records in self.ranks if records.header}
        return " and ".join(sorted(kinds))


def load_run(directory: str | Path) -> Run:
    """Reads a run directory. Raises RecordsError where it holds no record of any rank."""
    layout = RunLayout(Path(directory))
    config, run_id = _read_config(layout)
    ranks = _read_ranks(layout, run_id)
    headers = [records.header for records in ranks if records.header is not None]
    if not headers:
        raise RecordsError(
            f"{layout.raw} holds no readable record of any rank{_first_problem(ranks)}; "
            "name a run directory whose run got as far as its first block"
        )
    problems = tuple(problem for records in ranks for problem in records.problems)
    size = int(headers[0]["size"])
    return Run(
        layout=layout,
        config=config,
        manifest=_read_manifest(layout),
        ranks=ranks,
        steps=_steps_frame(ranks),
        blocks=_blocks_frame(ranks),
        waits=_waits_frame(ranks),
        problems=problems,
        incomplete=tuple(_reasons_incomplete(ranks, size, config)),
    )


def _first_problem(ranks: Sequence[RankRecords]) -> str:
    problems = [problem for records in ranks for problem in records.problems]
    return f" ({problems[0]})" if problems else ""


def _read_config(layout: RunLayout) -> tuple[Config, str]:
    document = _read_json(layout.config)
    run_id = document.pop("run_id", None)
    try:
        return from_dict(document), str(run_id)
    except UsageError as error:
        raise RecordsError(f"{layout.config}: {error.sentence}") from error


def _read_manifest(layout: RunLayout) -> dict[str, Any]:
    manifest = _read_json(layout.manifest) if layout.manifest.exists() else {}
    ranks, environment = manifest.get("ranks", []), manifest.get("environment", {})
    whole = isinstance(environment, dict) and isinstance(ranks, list)
    if not whole or not all(_describes_a_rank(item) for item in ranks):
        raise RecordsError(
            f"{layout.manifest} is damaged: it does not describe the ranks; bring it back from a "
            "copy, or take it away to report without it"
        )
    return manifest


def _describes_a_rank(item: Any) -> bool:
    return (
        isinstance(item, dict)
        and {"rank", "host", "device", "cores_allowed"} <= set(item)
        and isinstance(item["device"], dict)
        and {"kind", "threads"} <= set(item["device"])
        and isinstance(item["cores_allowed"], list)
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise RecordsError(
            f"{path} cannot be read ({error.strerror}); name the directory of a run, "
            "which holds config.json and raw/"
        ) from error
    except (ValueError, RecursionError) as error:
        raise RecordsError(
            f"{path} is not valid JSON ({error}); bring it back from a copy of the run directory"
        ) from error
    if not isinstance(document, dict):
        raise RecordsError(f"{path} holds no JSON object; bring it back from a copy")
    return document


def _read_ranks(layout: RunLayout, run_id: str) -> tuple[RankRecords, ...]:
    paths = sorted(layout.raw.glob("rank-*.jsonl"))
    return tuple(read_rank_file(path, run_id) for path in paths)


def _reasons_incomplete(ranks: Sequence[RankRecords], size: int, config: Config) -> Iterable[str]:
    present = {records.rank for records in ranks if records.header is not None}
    whole = len(present) == size
    groups = plan_groups(config, nodes_of([_host(records) for records in ranks])) if whole else ()
    plan = [(block, frozenset(block.group.ranks)) for block in plan_blocks(config, groups)]
    for rank in sorted(set(range(size)) - present):
        yield f"rank {rank} left no record ({raw_file_name(rank)})"
    # The first cause comes first: a rank that only felt another's failure says so in its record.
    for records in sorted(ranks, key=_distance_from_cause):
        if records.rank not in present:
            continue
        if records.failure is not None:
            yield f"rank {records.rank} failed: {records.failure.get('sentence')}"
        elif records.end is None:
            yield f"rank {records.rank} has no end line; it stopped {_last_place(records)}"
        yield from _missing_blocks(records, _planned_steps(records.rank, plan))


def _distance_from_cause(records: RankRecords) -> int:
    """0 for a rank that failed itself, 1 for one that was ended, 2 for one that felt another's end."""
    if records.failure is None:
        return 1
    return 2 if records.failure.get("is_echo") else 0


def _planned_steps(
    rank: int, plan: Sequence[tuple[PlannedBlock, frozenset[int]]]
) -> dict[tuple[str, str, int, bool], int]:
    """How many steps a rank has in each block of each group that it is in."""
    return {
        (block.phase, block.group.record_name(rank), block.block, block.warmup): block.steps
        for block, members in plan
        if rank in members
    }


def _missing_blocks(
    records: RankRecords, planned: dict[tuple[str, str, int, bool], int]
) -> Iterable[str]:
    """The blocks of the plan that a finished rank's file does not hold."""
    if records.end is None:
        return
    held: dict[tuple[str, str, int, bool], int] = {}
    for block in records.blocks:
        key = (block["phase"], block["group"], block["block"], block["warmup"])
        held[key] = held.get(key, 0) + len(block["duration_ns"])
    lacking = [key for key, steps in planned.items() if held.get(key, 0) != steps]
    if lacking:
        phase, group, index, warmup = lacking[0]
        name = "warm-up" if warmup else f"block {index}"
        more = f" (and {len(lacking) - 1} more blocks)" if len(lacking) > 1 else ""
        yield (
            f"rank {records.rank} holds {held.get(lacking[0], 0)} of the {planned[lacking[0]]} steps "
            f"of {phase}{_of_group(group)}, {name}{more}"
        )


def _last_place(records: RankRecords) -> str:
    if not records.blocks:
        return "before its first block"
    last = records.blocks[-1]
    name = "the warm-up" if last["warmup"] else f"block {last['block']}"
    return f"after {name} of {last['phase']}{_of_group(last['group'])}"


def _of_group(group: str) -> str:
    return "" if group == WORLD else f" of {group}"


def _steps_frame(ranks: Sequence[RankRecords]) -> pd.DataFrame:
    blocks = [(records, block) for records in ranks for block in records.blocks]
    lengths = np.array([len(block["duration_ns"]) for _, block in blocks], dtype=np.int64)

    def spread(values: Iterable[Any]) -> np.ndarray[Any, Any]:
        return np.repeat(np.array(list(values)), lengths)

    def joined(name: str) -> np.ndarray[Any, Any]:
        return np.concatenate([np.array(block[name], dtype=np.int64) for _, block in blocks])

    if not blocks:
        return pd.DataFrame({name: [] for name in STEP_COLUMNS})
    return pd.DataFrame(
        {
            "run_id": spread(block["run_id"] for _, block in blocks),
            "rank": spread(records.rank for records, _ in blocks),
            "host": spread(_host(records) for records, _ in blocks),
            "phase": spread(block["phase"] for _, block in blocks),
            "group": spread(block["group"] for _, block in blocks),
            "role": spread(block["role"] for _, block in blocks),
            "group_size": spread(block["group_size"] for _, block in blocks),
            "block": spread(block["block"] for _, block in blocks),
            "step": np.concatenate([np.arange(length) for length in lengths]),
            "warmup": spread(block["warmup"] for _, block in blocks),
            "start_ns": joined("start_ns"),
            "duration_ns": joined("duration_ns"),
            "images": spread(block["images_per_step"] for _, block in blocks),
        }
    )


def _host(records: RankRecords) -> str:
    return str(records.header["host"]) if records.header else ""


def _blocks_frame(ranks: Sequence[RankRecords]) -> pd.DataFrame:
    rows = [
        {
            "rank": records.rank,
            "host": _host(records),
            "phase": block["phase"],
            "group": block["group"],
            "block": block["block"],
            "warmup": block["warmup"],
            "start_ns": block["start_ns"][0],
            "end_ns": block["start_ns"][-1] + block["duration_ns"][-1],
            **_telemetry(block.get("telemetry")),
        }
        for records in ranks
        for block in records.blocks
    ]
    return pd.DataFrame(rows)


def _waits_frame(ranks: Sequence[RankRecords]) -> pd.DataFrame:
    rows = [
        {
            "rank": records.rank,
            "host": _host(records),
            "wall_s": records.waits.wall_ns / 1e9,
            "cpu_s": records.waits.cpu_ns / 1e9,
        }
        for records in ranks
        if records.waits.count
    ]
    return pd.DataFrame(rows, columns=["rank", "host", "wall_s", "cpu_s"])


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
